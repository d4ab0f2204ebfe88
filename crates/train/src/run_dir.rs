//! The folder that a run leaves behind.
//!
//! ```text
//! runs/lenet_bn-1/
//!   config.toml       the config with every key, as it was resolved   } written at the start
//!   environment.json  versions, device, source of the images          }
//!   metrics.jsonl     one line per epoch, as it ends
//!   checkpoints/      model-N.bpk, optimizer-N.bpk, schedule-N.bpk after epoch N: the last two
//!                     epochs and the one with the lowest validation loss
//!   model.bpk         the weights that were tested   } written at the end
//!   result.json       how well they did              }
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{Config, Error};

/// A run's folder.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
}

/// What can be known before a run begins.
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    /// Version of this program.
    pub train: &'static str,
    /// Version of Burn.
    pub burn: &'static str,
    /// Operating system.
    pub os: &'static str,
    /// Processor architecture.
    pub arch: &'static str,
    /// Threads that the machine runs at once.
    pub threads: usize,
    /// The device's name in a config.
    pub device: String,
    /// What computes on it.
    pub backend: &'static str,
    /// What the device calls itself.
    pub device_model: Option<String>,
    /// Where the images come from.
    pub data_source: String,
}

/// How a run ended.
#[derive(Clone, Debug, Serialize)]
pub struct RunResult {
    /// The network's name.
    pub network: String,
    /// What the network is made for.
    pub preset: String,
    /// Number of trainable parameters.
    pub parameters: usize,
    /// The device's name in a config.
    pub device: String,
    /// What computes on it.
    pub backend: &'static str,
    /// What the device calls itself.
    pub device_model: Option<String>,
    /// Where the images come from.
    pub data_source: String,
    /// Epochs trained.
    pub epochs: usize,
    /// The seed of the run.
    pub seed: u64,
    /// The epoch whose weights were tested, counted from 1.
    pub tested_epoch: usize,
    /// Share of the test images whose class was predicted, from 0 to 1.
    pub test_accuracy: f64,
    /// Mean cross entropy of the test images.
    pub test_loss: f64,
    /// Images trained on per second, over all epochs; validation is not counted.
    pub train_images_per_second: f64,
    /// Seconds from the first epoch's start to the end of the test.
    pub seconds: f64,
}

/// The pinned version of Burn, as the workspace's manifest has it.
const BURN: &str = "0.22.1";

impl RunDir {
    /// Makes the folder: `path`, or without one the first free number of `runs/NETWORK-NUMBER`.
    /// Writes the config into it.
    ///
    /// # Errors
    ///
    /// If the folder is there already and not empty, or cannot be written.
    pub fn create(path: Option<&Path>, config: &Config) -> Result<Self, Error> {
        let path = match path {
            Some(path) => {
                let used = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
                if used {
                    return Err(Error::Usage(format!(
                        "the run folder {} is not empty: choose a new one",
                        path.display()
                    )));
                }
                fs::create_dir_all(path).map_err(|source| cannot_write(path, source))?;
                path.to_owned()
            }
            None => create_numbered(Path::new("runs"), config.network.name())?,
        };
        let run = Self { path };
        let text = toml::to_string(config).map_err(|error| Error::Training(error.to_string()))?;
        run.write("config.toml", &text)?;
        Ok(run)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the folder away again, for a run that cannot begin.
    pub fn discard(&self) {
        // What else is there is not the run's, and keeps the folder.
        fs::remove_file(self.path.join("config.toml")).ok();
        fs::remove_dir(&self.path).ok();
    }

    /// Where the checkpoints go.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Where the network stands as it was after `epoch`, counted from 1.
    pub fn checkpoint(&self, epoch: usize) -> PathBuf {
        self.checkpoints().join(format!("model-{epoch}.bpk"))
    }

    /// Writes what is known before the run begins.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write_environment(&self, environment: &Environment) -> Result<(), Error> {
        self.write("environment.json", &pretty(environment))
    }

    /// Writes how the run ended.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write_result(&self, result: &RunResult) -> Result<(), Error> {
        self.write("result.json", &pretty(result))
    }

    /// The file is there whole or not at all.
    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.path.join(name);
        let part = self.path.join(format!("{name}.part"));
        let written = fs::write(&part, text).and_then(|()| fs::rename(&part, &path));
        written.map_err(|source| cannot_write(&path, source))
    }
}

impl Environment {
    /// The machine and the program, with what was chosen for this run.
    pub fn new(device: &crate::device::Found, data_source: String) -> Self {
        Self {
            train: env!("CARGO_PKG_VERSION"),
            burn: BURN,
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            device: device.name.clone(),
            backend: device.backend,
            device_model: device.model(),
            data_source,
        }
    }
}

fn create_numbered(parent: &Path, network: &str) -> Result<PathBuf, Error> {
    fs::create_dir_all(parent).map_err(|source| cannot_write(parent, source))?;
    for number in 1.. {
        let path = parent.join(format!("{network}-{number}"));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(source) => return Err(cannot_write(&path, source)),
        }
    }
    unreachable!("there is always a next number")
}

fn cannot_write(path: &Path, source: io::Error) -> Error {
    Error::RunFolder { path: path.to_owned(), source }
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("plain values are JSON") + "\n"
}

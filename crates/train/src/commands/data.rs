use std::path::{Path, PathBuf};

use fashion_mnist::{BatchLoader, FashionMnist, Images, Split};

use burn::tensor::Device;

use crate::{Config, Error, config::SourceConfig};

/// What is said, loudly, before a run on the stand-in that nobody asked for.
const STAND_IN: &str = "\
*********************************************************************
* WARNING: Fashion-MNIST is not here and could not be downloaded.   *
* This run trains on SYNTHETIC images, shapes drawn by the program. *
* Its accuracy says nothing about Fashion-MNIST.                    *
*********************************************************************";

/// The images that the config asks for, in their three parts.
pub(crate) fn load(config: &Config, dir: Option<&Path>) -> Result<FashionMnist, Error> {
    let data = match config.data.source {
        SourceConfig::Synthetic => FashionMnist::synthetic(),
        SourceConfig::FashionMnist => FashionMnist::find(dir)?,
        SourceConfig::Auto => match FashionMnist::find(dir) {
            Err(error) if error.is_unavailable() => {
                eprintln!("{error}\n\n{STAND_IN}\n");
                FashionMnist::synthetic()
            }
            found => found?,
        },
    };
    Ok(data.hold_out(config.data.validation.get(), config.data.split_seed))
}

/// Batches of these images, as the config's network takes them.
pub(crate) fn loader(config: &Config, images: &Images, device: &Device) -> BatchLoader {
    BatchLoader::new(images, config.batch_size.get(), &device.clone().inner())
        .resized(config.side())
        .normalized(config.data.normalization.values())
}

/// Whether a part of a config's images is new to the weights of a file.
pub(crate) enum HeldOut {
    /// It is.
    Yes,
    /// Some images may not be: the folder of the run that trained on them, with its config.
    No(PathBuf, Box<Config>),
    /// This file does not tell.
    Unknown(PathBuf),
}

/// Runs that began with the weights of a run that began with the weights of a run; a folder that was
/// edited by hand may go round in a circle.
const MOST_RUNS: usize = 100;

impl HeldOut {
    /// What the folder of a run, in which the weights lie, tells of them, and of the weights that the
    /// run began with.
    pub(crate) fn of(config: &Config, part: Split, weights: &Path) -> Self {
        let mut weights = weights.to_owned();
        for _ in 0..MOST_RUNS {
            let folder = weights.parent().unwrap_or(Path::new("")).to_owned();
            let run = match folder.join("environment.json").exists() {
                true => Config::of_run(&folder, &[]),
                false => break,
            };
            let Ok(run) = run else { break };
            // No run trains on the test images.
            if part != Split::Test && run.data.split() != config.data.split() {
                return Self::No(folder, Box::new(run));
            }
            match run.initial {
                Some(initial) => weights = initial.weights,
                None => return Self::Yes,
            }
        }
        Self::Unknown(weights)
    }
}

/// Says so if the weights that a run starts from may know its validation images.
pub(crate) fn check_initial(config: &Config, weights: &Path) {
    match HeldOut::of(config, Split::Validation, weights) {
        HeldOut::Yes => {}
        HeldOut::No(run, trained) => {
            let run = run.display();
            eprintln!(
                "warning: the weights to start from may have been trained on some of the validation \
                 images, which then tell little: {run} has {}, this run has {}",
                split(&trained),
                split(config)
            );
        }
        HeldOut::Unknown(file) => eprintln!(
            "note: {} does not tell which images it was trained on: if it was Fashion-MNIST's, the \
             validation images may be among them",
            file.display()
        ),
    }
}

/// What decides on the validation images, as a config has it.
pub(crate) fn split(config: &Config) -> String {
    let (validation, seed) = config.data.split();
    format!("data.validation = {validation} and data.split_seed = {seed}")
}

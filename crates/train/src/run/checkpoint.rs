//! Checkpoints: the complete state of a run after an epoch, to resume it exactly.
//!
//! The order of the images and their augmentation need no state: they are functions of the seed and
//! the epoch.
//!
//! A checkpoint is a folder `epoch-N` with checksums. It has another name while it is written or
//! removed, so that `epoch-N` is always complete; a folder that a killed run left under another
//! name is removed at the next start.

use std::{
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use burn::{
    module::Module,
    optim::{ModuleOptimizer, OptimizerRecord},
    store::ModuleRecord,
    tensor::Device,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    folder::{PART, RunDir, cannot_write, with_ending, write_to_disk},
    journal::Lengths,
};
use crate::{
    Config, Error,
    config::WeightsConfig,
    training::{Classifier, Ema, Model, State, optimizer::optimizer},
};

/// The folder with the state of a run after an epoch.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: PathBuf,
    /// The state, without tensors.
    pub state: State,
    /// The lengths of the files that grow line by line.
    pub(crate) lengths: Lengths,
}

/// The content of `state.toml`; `S` is a [`State`], borrowed to write and owned to read.
#[derive(Serialize, Deserialize)]
struct Saved<S> {
    #[serde(flatten)]
    state: S,
    lengths: Lengths,
}

const CLASSIFIER: &str = "classifier.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
/// Only if the run has an EMA of the weights.
const EMA: &str = "ema.bpk";
/// TOML, because it keeps every bit of a number and supports NaN.
const STATE: &str = "state.toml";
/// The SHA-256 of each other file, in the format of `sha256sum --check`.
const CHECKSUMS: &str = "SHA256SUMS";

/// The suffix of a checkpoint that is being removed.
const OLD: &str = ".old";

/// The folder of the checkpoint after `epoch`, counted from 1.
pub fn path(run: &Path, epoch: usize) -> PathBuf {
    run.join("checkpoints").join(format!("epoch-{epoch}"))
}

/// Writes a checkpoint atomically, then removes the earlier ones except the last and the best.
///
/// # Errors
///
/// If it cannot be written; the earlier ones are then kept.
pub(crate) fn save(
    run: &RunDir,
    state: &State,
    lengths: Lengths,
    model: &Model,
) -> Result<(), Error> {
    let path = path(run.path(), state.epochs.len());
    let part = with_ending(&path, PART);
    let write = || -> io::Result<()> {
        if part.exists() {
            fs::remove_dir_all(&part)?;
        }
        fs::create_dir_all(&part)?;
        let mut checksums = String::new();
        let mut keep = |name: &str, bytes: &[u8]| {
            checksums += &format!("{}  {name}\n", sha256(bytes));
            write_to_disk(&part.join(name), bytes)
        };
        let Model { classifier, optimizer, ema } = model;
        let record = classifier.clone().into_record();
        keep(CLASSIFIER, &record.into_bytes().map_err(io::Error::other)?)?;
        keep(OPTIMIZER, &optimizer.to_record().into_bytes().map_err(io::Error::other)?)?;
        if let Some(ema) = ema {
            let record = ema.classifier.clone().into_record();
            keep(EMA, &record.into_bytes().map_err(io::Error::other)?)?;
        }
        let saved = Saved { state, lengths };
        keep(STATE, toml::to_string(&saved).map_err(io::Error::other)?.as_bytes())?;
        write_to_disk(&part.join(CHECKSUMS), checksums.as_bytes())?;
        if path.exists() {
            // From an earlier attempt, from which the run could not resume.
            fs::remove_dir_all(&path)?;
        }
        fs::rename(&part, &path)?;
        // The name must also reach the disk before older checkpoints are removed. On Windows a
        // folder cannot be opened for that.
        File::open(path.parent().expect("a folder")).and_then(|folder| folder.sync_all()).ok();
        Ok(())
    };
    write().map_err(|source| {
        fs::remove_dir_all(&part).ok();
        cannot_write(&path, source)
    })?;
    prune(run.path(), state);
    Ok(())
}

/// Removes all checkpoints before the state's, except the last and the best.
fn prune(run: &Path, state: &State) {
    let best = state.best_epoch();
    for (epoch, path) in list(run) {
        if epoch != best && epoch + 1 < state.epochs.len() {
            let old = with_ending(&path, OLD);
            fs::remove_dir_all(&old).ok();
            fs::rename(&path, &old).and_then(|()| fs::remove_dir_all(&old)).ok();
        }
    }
}

/// Removes what a killed run may have left before this state was reached: checkpoints that were
/// being written or removed.
pub(crate) fn tidy(run: &Path, state: &State) {
    for entry in fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let whole = name
            .to_str()
            .and_then(|name| [PART, OLD].iter().find_map(|end| name.strip_suffix(end)));
        if whole.and_then(epoch_of).is_some() {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
    prune(run, state);
}

/// Returns the last intact checkpoint of a run, with a warning for each damaged one after it;
/// `None` if the run has no checkpoints.
///
/// # Errors
///
/// If there are checkpoints, but none is intact.
pub fn latest(run: &Path) -> Result<Option<Checkpoint>, Error> {
    let paths: Vec<_> = list(run).into_iter().rev().map(|(_, path)| path).collect();
    if paths.is_empty() { Ok(None) } else { first_sound(run, paths).map(Some) }
}

/// Returns the checkpoint with the weights that a run in this state ends with. If it is damaged,
/// returns the next best intact one, with a warning.
///
/// # Errors
///
/// If none is intact.
pub fn to_keep(run: &Path, state: &State, weights: WeightsConfig) -> Result<Checkpoint, Error> {
    let epochs = match weights {
        WeightsConfig::Best => state.ranking(),
        WeightsConfig::Last => (1..=state.epochs.len()).rev().collect(),
    };
    let wanted = epochs.first().copied();
    // Most of the others were removed.
    let paths = epochs.into_iter().map(|epoch| (epoch, path(run, epoch)));
    let paths = paths.filter(|(epoch, path)| Some(*epoch) == wanted || path.exists());
    first_sound(run, paths.map(|(_, path)| path))
}

fn first_sound(run: &Path, paths: impl IntoIterator<Item = PathBuf>) -> Result<Checkpoint, Error> {
    let mut damaged = false;
    for path in paths {
        match open(&path) {
            Ok(checkpoint) => {
                if damaged {
                    eprintln!("warning: {} is used instead", path.display());
                }
                return Ok(checkpoint);
            }
            Err(error) => eprintln!("warning: {error}"),
        }
        damaged = true;
    }
    Err(Error::Usage(format!(
        "no checkpoint of the run {} is intact: restore one from a copy, or start a new run",
        run.display()
    )))
}

/// Opens a checkpoint after checking the checksums of its files.
fn open(path: &Path) -> Result<Checkpoint, Error> {
    let damaged = |name: &str, why: &dyn std::fmt::Display| {
        Error::Usage(format!("the checkpoint {} is damaged: {name}: {why}", path.display()))
    };
    let read = |name: &str| fs::read(path.join(name)).map_err(|error| damaged(name, &error));
    let checksums = String::from_utf8(read(CHECKSUMS)?);
    let checksums = checksums.map_err(|error| damaged(CHECKSUMS, &error))?;
    let checksum =
        |name: &str| checksums.lines().find_map(|line| line.strip_suffix(name)?.strip_suffix("  "));
    let sound = |name: &str| {
        let bytes = read(name)?;
        if checksum(name) == Some(&*sha256(&bytes)) {
            Ok(bytes)
        } else {
            Err(damaged(name, &"its content does not match its checksum"))
        }
    };
    sound(CLASSIFIER)?;
    sound(OPTIMIZER)?;
    if checksum(EMA).is_some() || path.join(EMA).exists() {
        sound(EMA)?;
    }
    let Saved { state, lengths } =
        toml::from_slice(&sound(STATE)?).map_err(|error| damaged(STATE, &error))?;
    Ok(Checkpoint { path: path.to_owned(), state, lengths })
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The epoch of a checkpoint's folder.
fn epoch_of(name: &str) -> Option<usize> {
    name.strip_prefix("epoch-")?.parse().ok()
}

/// The epochs with checkpoints, in ascending order, and their folders.
fn list(run: &Path) -> Vec<(usize, PathBuf)> {
    let Ok(entries) = fs::read_dir(run.join("checkpoints")) else { return Vec::new() };
    let mut found: Vec<(usize, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| Some((epoch_of(entry.file_name().to_str()?)?, entry.path())))
        .collect();
    found.sort_unstable();
    found
}

impl Checkpoint {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Loads the weights into the classifier.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    fn classifier(&self, fresh: Classifier) -> Result<Classifier, Error> {
        let record = ModuleRecord::load(self.path.join(CLASSIFIER));
        let record = record.map_err(|error| self.damaged(&error))?;
        fresh.try_load_record(record).map_err(|error| self.damaged(&error))
    }

    /// Loads the EMA of the weights; `None` if the run has none.
    fn ema(&self, config: &Config, fresh: &Classifier) -> Result<Option<Ema>, Error> {
        let Some(ema) = config.ema else { return Ok(None) };
        let record = ModuleRecord::load(self.path.join(EMA));
        let record = record.map_err(|error| self.damaged(&error))?;
        let mut ema = Ema::new(fresh, ema.decay);
        let loaded = ema.classifier.clone().try_load_record(record);
        ema.classifier = loaded.map_err(|error| self.damaged(&error))?;
        Ok(Some(ema))
    }

    /// Loads everything that the training changes.
    ///
    /// # Errors
    ///
    /// If a file cannot be read.
    pub fn model(&self, config: &Config, device: &Device) -> Result<Model, Error> {
        let fresh = Classifier::new(config, device);
        let ema = self.ema(config, &fresh)?;
        let classifier = self.classifier(fresh)?;
        // The state of an optimizer belongs to the loaded weights.
        let optimizer = self.optimizer(optimizer(&config.optimizer, &classifier))?;
        Ok(Model { classifier, optimizer, ema })
    }

    /// Loads the state of the optimizer.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    fn optimizer(&self, fresh: ModuleOptimizer) -> Result<ModuleOptimizer, Error> {
        let record = OptimizerRecord::load(self.path.join(OPTIMIZER));
        let record = record.map_err(|error| self.damaged(&error))?;
        // Burn panics if a tensor belongs to no parameter.
        catch_unwind(AssertUnwindSafe(|| fresh.load_record(record)))
            .map_err(|_| self.damaged(&"it does not fit the optimizer"))
    }

    /// Loads the weights that were validated: their EMA if the run has one.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn validated(&self, config: &Config, fresh: Classifier) -> Result<Classifier, Error> {
        match self.ema(config, &fresh)? {
            Some(ema) => Ok(ema.classifier),
            None => Ok(self.classifier(fresh)?.valid()),
        }
    }

    fn damaged(&self, error: &dyn std::fmt::Display) -> Error {
        Error::Training(format!(
            "the checkpoint {} does not fit this run's config.toml: {error}",
            self.path.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_of_no_parameter_are_no_optimizers_memory() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = burn_pack::Bytes::from_bytes_vec(vec![0; 4]);
        let (dtype, shape) = (burn_pack::DType::F32, burn_pack::Shape::from([1]));
        let tensor = burn_pack::Tensor::new("velocity".to_owned(), dtype, shape, None, bytes);
        burn_pack::Writer::new(vec![tensor]).write_to_file(folder.path().join(OPTIMIZER)).unwrap();

        let config = Config::load(None, &[]).unwrap();
        let fresh = optimizer(&config.optimizer, &Classifier::new(&config, &Device::flex()));
        let path = folder.path().to_owned();
        let checkpoint = Checkpoint { path, state: State::default(), lengths: Lengths::default() };
        let error = checkpoint.optimizer(fresh).err().unwrap().to_string();
        assert!(error.ends_with("it does not fit the optimizer"), "{error}");
    }
}

//! All that a run is made of after an epoch, so that it can go on as if nothing had happened.
//!
//! The order of the images and their augmentation need no state: they are functions of the seed and
//! the epoch.

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
};
use serde::{Deserialize, Serialize};

use crate::{
    Config, Error,
    average::Average,
    classifier::Classifier,
    journal::Lengths,
    record::Epoch,
    run_dir::{RunDir, cannot_write, write_to_disk},
};

/// What a run is made of beside tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The epochs that have ended.
    pub epochs: Vec<Epoch>,
    /// Training steps taken.
    pub step: usize,
    /// Seconds of training and validation.
    pub seconds: f64,
    /// Why there is no further epoch though not all are trained.
    pub stopped: Option<String>,
    /// Mean length of each weight's gradient over the last epoch's steps.
    pub gradient_norms: Vec<f64>,
    /// How long the files are that grow line by line.
    pub lengths: Lengths,
}

impl State {
    /// The epoch with the lowest validation loss, counted from 1: the first of equals, or the last
    /// of all if none has a loss that is a number. 0 if none has ended.
    pub fn best_epoch(&self) -> usize {
        let numbers = self.epochs.iter().filter(|epoch| epoch.validation_loss.is_finite());
        // As precise as the losses are: a number that was written down and read again may be another
        // in its last bit.
        let loss = |epoch: &Epoch| epoch.validation_loss as f32;
        let best = numbers.min_by(|a, b| loss(a).total_cmp(&loss(b)));
        best.or(self.epochs.last()).map_or(0, |epoch| epoch.epoch)
    }
}

/// A folder of a run with what it was after an epoch.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: PathBuf,
    /// What is in it beside tensors.
    pub state: State,
}

const CLASSIFIER: &str = "classifier.bpk";
const AVERAGE: &str = "average.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const STATE: &str = "state.json";

/// Where the state of a run after `epoch`, counted from 1, is kept.
pub fn path(run: &Path, epoch: usize) -> PathBuf {
    run.join("checkpoints").join(format!("epoch-{epoch}"))
}

/// Writes a checkpoint: it is there whole or not at all. Those before it are taken away, but for the
/// last and the best.
///
/// # Errors
///
/// If it cannot be written; those before it are then still there.
pub fn save(
    run: &RunDir,
    state: &State,
    classifier: &Classifier,
    optimizer: &ModuleOptimizer,
    average: Option<&Average>,
) -> Result<(), Error> {
    let epoch = state.epochs.len();
    let path = path(run.path(), epoch);
    let part = path.with_extension("part");
    let write = || -> io::Result<()> {
        if part.exists() {
            fs::remove_dir_all(&part)?;
        }
        fs::create_dir_all(&part)?;
        let bytes = classifier.clone().into_record().into_bytes().map_err(io::Error::other)?;
        write_to_disk(&part.join(CLASSIFIER), &bytes)?;
        let bytes = optimizer.to_record().into_bytes().map_err(io::Error::other)?;
        write_to_disk(&part.join(OPTIMIZER), &bytes)?;
        if let Some(average) = average {
            let record = average.classifier.clone().into_record();
            write_to_disk(&part.join(AVERAGE), &record.into_bytes().map_err(io::Error::other)?)?;
        }
        let state = serde_json::to_vec(state).expect("plain values are JSON");
        write_to_disk(&part.join(STATE), &state)?;
        if path.exists() {
            // Of an earlier attempt to which a run could not go back.
            fs::remove_dir_all(&path)?;
        }
        fs::rename(&part, &path)?;
        // The name too reaches the disk before older checkpoints go, where a folder can be opened;
        // on Windows it cannot.
        File::open(path.parent().expect("a folder")).and_then(|folder| folder.sync_all()).ok();
        Ok(())
    };
    write().map_err(|source| {
        fs::remove_dir_all(&part).ok();
        cannot_write(&path, source)
    })?;

    let best = state.best_epoch();
    for (old, path) in list(run.path()) {
        if old != best && old + 1 < epoch {
            // Renamed first, so that one that is half gone is never taken for a whole one.
            let gone = path.with_extension("old");
            fs::remove_dir_all(&gone).ok();
            fs::rename(&path, &gone).and_then(|()| fs::remove_dir_all(&gone)).ok();
        }
    }
    Ok(())
}

/// The last checkpoint of a run that can be read; `None` if there is none at all.
///
/// # Errors
///
/// If there are some, and none can be read.
pub fn latest(run: &Path) -> Result<Option<Checkpoint>, Error> {
    let mut first = None;
    for (_, path) in list(run).into_iter().rev() {
        match open(&path) {
            Ok(checkpoint) => return Ok(Some(checkpoint)),
            Err(error) => {
                eprintln!("warning: {error}");
                first.get_or_insert(error);
            }
        }
    }
    first.map_or(Ok(None), Err)
}

/// The checkpoint of one epoch.
///
/// # Errors
///
/// If there is none, or it is damaged.
pub fn of_epoch(run: &Path, epoch: usize) -> Result<Checkpoint, Error> {
    open(&path(run, epoch))
}

fn open(path: &Path) -> Result<Checkpoint, Error> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Error::Usage(format!("cannot read the checkpoint {}: {error}", path.display()))
    };
    let text = fs::read(path.join(STATE)).map_err(|error| unreadable(&error))?;
    let state = serde_json::from_slice(&text).map_err(|error| unreadable(&error))?;
    // The parts must be readable before anything relies on them.
    let average = Some(AVERAGE).filter(|name| path.join(name).exists());
    for part in [CLASSIFIER, OPTIMIZER].into_iter().chain(average) {
        burn_pack::Reader::from_file(path.join(part)).map_err(|error| unreadable(&error))?;
    }
    Ok(Checkpoint { path: path.to_owned(), state })
}

/// The epochs with checkpoints, in their order, and where they are.
fn list(run: &Path) -> Vec<(usize, PathBuf)> {
    let Ok(entries) = fs::read_dir(run.join("checkpoints")) else { return Vec::new() };
    let mut found: Vec<(usize, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name();
            let epoch = name.to_str()?.strip_prefix("epoch-")?.parse().ok()?;
            Some((epoch, entry.path()))
        })
        .collect();
    found.sort_unstable();
    found
}

impl Checkpoint {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The classifier with the weights as they were.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn classifier(&self, fresh: Classifier) -> Result<Classifier, Error> {
        let record = ModuleRecord::load(self.path.join(CLASSIFIER));
        let record = record.map_err(|error| self.damaged(&error))?;
        fresh.try_load_record(record).map_err(|error| self.damaged(&error))
    }

    /// The average of the weights as it was; `None` if the run keeps none.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn average(&self, config: &Config, fresh: &Classifier) -> Result<Option<Average>, Error> {
        let Some(average) = config.average else { return Ok(None) };
        let record = ModuleRecord::load(self.path.join(AVERAGE));
        let record = record.map_err(|error| self.damaged(&error))?;
        let mut average = Average::new(fresh, average.decay);
        let loaded = average.classifier.clone().try_load_record(record);
        average.classifier = loaded.map_err(|error| self.damaged(&error))?;
        Ok(Some(average))
    }

    /// The optimizer with its memory of earlier gradients.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn optimizer(&self, fresh: ModuleOptimizer) -> Result<ModuleOptimizer, Error> {
        let record = OptimizerRecord::load(self.path.join(OPTIMIZER));
        let record = record.map_err(|error| self.damaged(&error))?;
        // Burn panics where a tensor belongs to no parameter.
        catch_unwind(AssertUnwindSafe(|| fresh.load_record(record)))
            .map_err(|_| self.damaged(&"it is not the optimizer's"))
    }

    /// The weights that were validated: their average where the run keeps one.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn validated(&self, config: &Config, fresh: Classifier) -> Result<Classifier, Error> {
        match self.average(config, &fresh)? {
            Some(average) => Ok(average.classifier),
            None => Ok(self.classifier(fresh)?.valid()),
        }
    }

    fn damaged(&self, error: &dyn std::fmt::Display) -> Error {
        Error::Training(format!(
            "the checkpoint {} is not one of this run's config.toml: {error}",
            self.path.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::optimizer::optimizer;

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
        let checkpoint = Checkpoint { path, state: State::default() };
        let error = checkpoint.optimizer(fresh).err().unwrap().to_string();
        assert!(error.ends_with("it is not the optimizer's"), "{error}");
    }
}

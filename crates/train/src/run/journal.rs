//! Writes the measurements of a run during the training: JSON lines, and the same for TensorBoard.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    folder::{cannot_write, open_to_grow},
    tensorboard::EventFile,
};
use crate::{
    Error,
    training::{Epoch, Step},
};

/// The files of a run that grow line by line.
pub(crate) struct Journal {
    path: PathBuf,
    steps: Lines,
    epochs: Lines,
    events: EventFile,
}

/// How many bytes of each file belong to completed epochs: an interrupted run may have written
/// more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lengths {
    steps: u64,
    epochs: u64,
    events: u64,
}

impl Journal {
    /// Opens the files of a run and truncates them to these lengths, 0 for a new run.
    pub fn open(run: &Path, lengths: Lengths) -> Result<Self, Error> {
        let open = || -> io::Result<Self> {
            Ok(Self {
                path: run.to_owned(),
                steps: Lines::open(&run.join("steps.jsonl"), lengths.steps)?,
                epochs: Lines::open(&run.join("metrics.jsonl"), lengths.epochs)?,
                events: EventFile::open(run, lengths.events)?,
            })
        };
        open().map_err(|source| cannot_write(run, source))
    }

    /// Writes a step.
    pub fn step(&mut self, step: &Step) -> Result<(), Error> {
        let values = [
            ("train/loss", step.loss),
            ("train/learning_rate", step.learning_rate),
            ("train/gradient_norm", step.gradient_norm),
        ];
        let written = self.steps.push(step).and_then(|()| self.events.scalars(step.step, &values));
        self.checked(written)
    }

    /// Writes an epoch, and flushes all files to the disk.
    pub fn epoch(&mut self, epoch: &Epoch) -> Result<(), Error> {
        let values = [
            ("epoch/train_loss", epoch.train_loss),
            ("epoch/train_accuracy", epoch.train_accuracy),
            ("epoch/validation_loss", epoch.validation_loss),
            ("epoch/validation_accuracy", epoch.validation_accuracy),
            ("epoch/weight_norm", epoch.weight_norm),
            ("epoch/images_per_second", epoch.images_per_second),
        ];
        let written = self.epochs.push(epoch).and_then(|()| {
            self.events.scalars(epoch.step, &values)?;
            self.steps.sync()?;
            self.epochs.sync()?;
            self.events.flush()
        });
        self.checked(written)
    }

    /// Flushes what was written, so that other programs can read it during the training.
    pub fn flush(&mut self) -> Result<(), Error> {
        let written = self.steps.flush().and_then(|()| self.events.flush());
        self.checked(written)
    }

    /// The lengths of the files.
    pub fn lengths(&self) -> Lengths {
        Lengths {
            steps: self.steps.length,
            epochs: self.epochs.length,
            events: self.events.position(),
        }
    }

    fn checked(&self, written: io::Result<()>) -> Result<(), Error> {
        written.map_err(|source| cannot_write(&self.path, source))
    }
}

/// A file of JSON lines.
struct Lines {
    file: BufWriter<File>,
    length: u64,
}

impl Lines {
    fn open(path: &Path, length: u64) -> io::Result<Self> {
        let whole =
            |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let (file, length) = open_to_grow(path, length, whole)?;
        Ok(Self { file: BufWriter::new(file), length })
    }

    fn push(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.length += line.len() as u64;
        self.file.write_all(&line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.get_ref().sync_data()
    }
}

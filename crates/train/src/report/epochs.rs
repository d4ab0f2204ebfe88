use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex},
};

use burn::train::{
    logger::MetricLogger,
    metric::{
        MetricDefinition, MetricId, NumericEntry,
        store::{EpochSummary, MetricsUpdate, Split},
    },
};
use serde::Serialize;

use super::{Stop, images_per_second, say};

/// One epoch, as a line of `metrics.jsonl` has it. Losses are means over the batches, accuracies
/// over the images.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Epoch {
    pub epoch: usize,
    pub train_loss: f64,
    /// From 0 to 1.
    pub train_accuracy: f64,
    pub validation_loss: f64,
    /// From 0 to 1.
    pub validation_accuracy: f64,
    pub learning_rate: f64,
    pub images_per_second: f64,
}

/// burn-train's name of it.
const LEARNING_RATE: &str = "Learning Rate";

/// The epochs that have ended, shared between the log and its reader.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    epochs: Vec<Epoch>,
    error: Option<io::Error>,
}

impl History {
    /// The epochs that have ended.
    pub fn epochs(&self) -> Vec<Epoch> {
        self.lock().epochs.clone()
    }

    /// The epoch with the lowest validation loss, counted from 1: the first of equals, or the last
    /// of all if none has a loss that is a number.
    ///
    /// # Panics
    ///
    /// If no epoch has ended.
    pub fn best_epoch(&self) -> usize {
        let epochs = self.epochs();
        let numbers = epochs.iter().filter(|epoch| epoch.validation_loss.is_finite());
        let best = numbers.min_by(|a, b| a.validation_loss.total_cmp(&b.validation_loss));
        best.or(epochs.last()).expect("an epoch that has ended").epoch
    }

    /// Why an epoch could not be written, if one could not.
    pub fn take_error(&self) -> Option<io::Error> {
        self.lock().error.take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Gathers burn-train's metrics into epochs: each becomes a line of `metrics.jsonl` as it ends, and
/// where no terminal shows it otherwise, a line to read.
pub(crate) struct EpochLog {
    file: File,
    print: bool,
    total: usize,
    stop: Stop,
    names: HashMap<MetricId, String>,
    /// The latest value of each metric of the epoch under way.
    latest: BTreeMap<(&'static str, String), f64>,
    history: History,
}

impl EpochLog {
    /// # Errors
    ///
    /// If the file cannot be made.
    pub fn create(
        path: &Path,
        print: bool,
        total: usize,
        stop: Stop,
    ) -> io::Result<(Self, History)> {
        let history = History::default();
        let log = Self {
            file: File::create(path)?,
            print,
            total,
            stop,
            names: HashMap::new(),
            latest: BTreeMap::new(),
            history: history.clone(),
        };
        Ok((log, history))
    }

    fn value(&self, split: &'static str, name: &str) -> f64 {
        self.latest.get(&(split, name.to_owned())).copied().unwrap_or(f64::NAN)
    }
}

impl MetricLogger for EpochLog {
    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        self.names.insert(definition.metric_id, definition.name.to_string());
    }

    fn log(&mut self, update: MetricsUpdate, _epoch: usize, split: &Split) {
        self.stop.heed_curves();
        for numeric in update.entries_numeric {
            let name = self.names.get(&numeric.entry.metric_id);
            let (Some(name), Some(value)) = (name, numeric.numeric_entry) else { continue };
            // At the end of a split, burn-train sends the mean over its steps. A learning rate is
            // that of the last one.
            if name != LEARNING_RATE || !matches!(value, NumericEntry::Final(_)) {
                self.latest.insert((split.clone().into(), name.clone()), value.current());
            }
        }
    }

    fn log_epoch_summary(&mut self, summary: EpochSummary) {
        // An epoch that was stopped has no checkpoint, and its validation may be half done.
        if summary.split != Split::Valid || self.stop.is_asked() {
            return;
        }
        let epoch = Epoch {
            epoch: summary.epoch_number,
            train_loss: self.value("train", "Loss"),
            train_accuracy: self.value("train", "Accuracy") / 100.0,
            validation_loss: self.value("valid", "Loss"),
            validation_accuracy: self.value("valid", "Accuracy") / 100.0,
            learning_rate: self.value("train", LEARNING_RATE),
            images_per_second: self.value("train", images_per_second::NAME),
        };
        if self.print {
            say(format_args!("{}", epoch.line(self.total)));
        }
        let line = serde_json::to_string(&epoch).expect("plain values are JSON");
        let written = writeln!(self.file, "{line}").and_then(|()| self.file.flush());
        let mut state = self.history.lock();
        state.epochs.push(epoch);
        state.error = state.error.take().or(written.err());
    }

    /// burn-train asks for the validation loss of an epoch, to keep the best checkpoint.
    fn read_numeric(
        &mut self,
        name: &str,
        epoch: usize,
        split: &Split,
    ) -> Result<Vec<NumericEntry>, String> {
        let epochs = self.history.epochs();
        let epoch = epochs.iter().find(|ended| ended.epoch == epoch);
        Ok(match (name, split) {
            ("Loss", Split::Valid) => {
                epoch.map(|ended| NumericEntry::Final(ended.validation_loss)).into_iter().collect()
            }
            _ => Vec::new(),
        })
    }
}

impl Epoch {
    /// The epoch for people, as one of `total`.
    pub fn line(&self, total: usize) -> String {
        format!(
            "epoch {:>width$}/{total}  train loss {:.4} accuracy {:.4}  validation loss {:.4} \
             accuracy {:.4}  learning rate {}  {:.0} images/s",
            self.epoch,
            self.train_loss,
            self.train_accuracy,
            self.validation_loss,
            self.validation_accuracy,
            self.learning_rate,
            self.images_per_second,
            width = total.to_string().len(),
        )
    }
}

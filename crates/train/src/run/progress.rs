//! The progress of a run on the terminal.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    format::{duration, number},
    output::say,
    training::{Epoch, Step},
};

/// A progress bar at the bottom of a terminal, with the remaining time. Without a terminal, only
/// the lines of the epochs are printed.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// The number of epochs of the run, if it is known.
    epochs: Option<usize>,
    start: Instant,
    /// The share of the run that was done at the start, from 0 to 1.
    done: f64,
}

impl Progress {
    /// For a run of `epochs` epochs with `steps` steps each, of which the share `done` is done.
    pub fn new(epochs: Option<usize>, steps: usize, done: f64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len}  {msg}");
        bar.set_style(style.expect("a valid template"));
        Self { bar, epochs, start: Instant::now(), done }
    }

    /// Begins an epoch, counted from 1.
    pub fn epoch(&self, epoch: usize) {
        let of = self.epochs.map(|epochs| format!("/{epochs}")).unwrap_or_default();
        self.bar.set_prefix(format!("epoch {epoch}{of}"));
        self.bar.set_position(0);
    }

    /// Shows a step of the epoch, counted from 1; `done` is the share of the run that is done.
    pub fn step(&self, position: usize, step: &Step, done: f64) {
        if self.bar.is_hidden() {
            return;
        }
        self.bar.set_position(position as u64);
        let left = match done - self.done {
            new if new > 0.0 => self.start.elapsed().as_secs_f64() * ((1.0 - done) / new).max(0.0),
            _ => 0.0,
        };
        self.bar.set_message(format!("loss {:.4}  {} left", step.loss, duration(left)));
    }

    /// Prints an epoch's line above the bar.
    pub fn end_of_epoch(&self, epoch: &Epoch) {
        self.bar.suspend(|| say(format_args!("{}", line(epoch, self.epochs))));
    }

    /// Removes the bar.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// The printed line of an epoch, as one of `total`.
fn line(epoch: &Epoch, total: Option<usize>) -> String {
    let of = total.map(|total| format!("/{total}")).unwrap_or_default();
    let width = total.map_or(1, |total| total.to_string().len());
    format!(
        "epoch {:>width$}{of}  train loss {:.4} accuracy {:.4}  validation loss {:.4} accuracy \
         {:.4}  learning rate {}  {:.0} images/s",
        epoch.epoch,
        epoch.train_loss,
        epoch.train_accuracy,
        epoch.validation_loss,
        epoch.validation_accuracy,
        number(epoch.learning_rate),
        epoch.images_per_second,
    )
}

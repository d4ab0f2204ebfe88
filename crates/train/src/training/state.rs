//! How far a training is.

use serde::{Deserialize, Serialize};

use super::metrics::Epoch;
use crate::Config;

/// The state of a training, without its tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The completed epochs.
    pub epochs: Vec<Epoch>,
    /// Training steps taken.
    pub step: usize,
    /// Seconds of training and validation.
    pub seconds: f64,
    /// Why the training ended before its last epoch, if it did.
    pub stopped: Option<String>,
    /// Mean gradient norm of each weight over the last epoch's steps.
    pub gradient_norms: Vec<f64>,
}

impl State {
    /// The state after another epoch, with the gradient norms of its weights.
    pub(crate) fn after(&self, epoch: &Epoch, gradient_norms: &[f64], config: &Config) -> Self {
        let mut epochs = self.epochs.clone();
        epochs.push(epoch.clone());
        let mut state = Self {
            epochs,
            step: epoch.step,
            seconds: self.seconds + epoch.seconds.training + epoch.seconds.validation,
            stopped: None,
            gradient_norms: gradient_norms.to_vec(),
        };
        state.stopped = state.reason_to_stop(config);
        state
    }

    /// Whether the training has ended.
    pub fn is_over(&self, config: &Config) -> bool {
        self.stopped.is_some()
            || config.epochs.is_some_and(|epochs| self.epochs.len() >= epochs.get())
    }

    /// The share of the training that is done, from 0 to 1, by steps or by time: those of this state
    /// and `steps` and `seconds` after it.
    pub(crate) fn done(&self, config: &Config, steps: usize, seconds: f64) -> f64 {
        match (config.epochs, config.minutes) {
            (Some(epochs), _) => {
                let all = epochs.get() as f64 * config.steps_per_epoch() as f64;
                (self.step + steps) as f64 / all
            }
            (None, Some(minutes)) => ((self.seconds + seconds) / (60.0 * minutes)).min(1.0),
            (None, None) => unreachable!("checked when the config was loaded"),
        }
    }

    /// The epoch with the lowest validation loss, counted from 1: the first one of several, or the
    /// last epoch if no loss is finite. 0 if no epoch has ended.
    pub fn best_epoch(&self) -> usize {
        self.ranking().first().copied().unwrap_or(0)
    }

    /// The epochs, counted from 1, sorted by validation loss, the lowest first. Epochs whose loss
    /// is not finite come last.
    pub(crate) fn ranking(&self) -> Vec<usize> {
        let (mut ranked, rest): (Vec<&Epoch>, _) =
            self.epochs.iter().partition(|epoch| epoch.validation_loss.is_finite());
        ranked.sort_by(|a, b| a.validation_loss.total_cmp(&b.validation_loss));
        ranked.into_iter().chain(rest.into_iter().rev()).map(|epoch| epoch.epoch).collect()
    }

    /// The reason to end the training before its last epoch, if there is one.
    fn reason_to_stop(&self, config: &Config) -> Option<String> {
        if let Some(minutes) = config.minutes
            && self.seconds >= 60.0 * minutes
        {
            return Some(format!("the limit of {minutes} minutes was reached"));
        }
        if config.epochs.is_some_and(|epochs| self.epochs.len() >= epochs.get()) {
            return None;
        }
        let since_best = self.epochs.len() - self.best_epoch();
        let patience = config.early_stopping.as_ref()?.patience.get();
        (since_best >= patience).then(|| format!("no lower validation loss in {patience} epochs"))
    }
}

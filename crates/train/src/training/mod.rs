//! The training: everything between a config with its images and the trained weights. It knows
//! nothing of the run's folder; an `Observer` receives the measurements as they are made.
//!
//! | module | contents |
//! |---|---|
//! | `trainer` | the training loop |
//! | `pass` | forward and backward pass over a batch, on one device or several |
//! | [`classifier`] | a network with its loss |
//! | [`optimizer`], `schedule`, `ema` | optimizers, learning-rate schedules, EMA of the weights |
//! | [`evaluate`](mod@evaluate) | accuracy, loss and predictions of a network |
//! | `metrics`, `weights`, `clock` | the measurements of steps and epochs; names and norms of the weights; the time |
//! | `state` | how far the training is |
//! | `health` | errors for values that are not finite and for failed devices |

pub mod classifier;
mod clock;
mod ema;
pub mod evaluate;
mod health;
mod metrics;
pub mod optimizer;
mod pass;
mod schedule;
mod state;
mod trainer;
mod weights;

pub use classifier::Classifier;
pub use ema::Ema;
pub(crate) use health::{broken_batch, describe};
pub(crate) use metrics::Observer;
pub use metrics::{Epoch, Seconds, Step};
pub use state::State;
pub use trainer::Model;
pub(crate) use trainer::{Inputs, Trainer};
pub use weights::Filters;
pub(crate) use weights::{first_filters, read_values, weight_norms};

#[cfg(test)]
pub(crate) use self::schedule::Schedule;
#[cfg(test)]
pub(crate) use self::weights::{squared_gradients, squared_weights};

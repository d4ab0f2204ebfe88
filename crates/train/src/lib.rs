//! # Trains the networks of the `models` crate from a config file
//!
//! The program `train` is a thin wrapper around this library:
//!
//! | module | contents |
//! |---|---|
//! | [`cli`] | the arguments |
//! | [`config`] | the config of a run: a strict TOML file |
//! | [`device`] | the backends of this build and the devices of this machine |
//! | [`classifier`] | a network with its loss: one forward and backward pass |
//! | [`optimizer`], `schedule`, `average` | optimizers, learning-rate schedules, EMA of weights |
//! | `fit` | the training loop |
//! | [`evaluate`](mod@evaluate) | accuracy, loss and predictions of a network |
//! | [`checkpoint`] | the complete state of a run after an epoch, to resume from |
//! | [`record`], [`run_dir`], `journal`, `tensorboard` | the files of a run |
//! | `health`, `stop`, `progress` | failures, requests to stop, the progress on the terminal |
//! | [`allocator`] | an allocator that keeps freed memory |
//! | `program` | the command line of the program, for messages |
//! | `report` | the page about a run |
//! | `sweep` | the runs of a sweep, their names and their combined results |
//! | `commands` | what each command does |

#![warn(missing_docs)]

pub mod allocator;
mod average;
pub mod checkpoint;
pub mod classifier;
pub mod cli;
mod commands;
pub mod config;
mod description;
pub mod device;
mod error;
pub mod evaluate;
mod fit;
mod health;
mod journal;
pub mod optimizer;
mod program;
mod progress;
pub mod record;
mod report;
pub mod run_dir;
mod schedule;
mod stop;
mod sweep;
mod tensorboard;

pub use commands::report_page;
pub use config::Config;
pub use device::DeviceName;
pub use error::Error;

#[cfg(test)]
mod tests;

//! # Trains the networks of the `models` crate from a config file
//!
//! The program `train` is a thin shell around this library:
//!
//! | module | knows |
//! |---|---|
//! | [`cli`] | the arguments |
//! | [`config`] | what a run does: a strict TOML file |
//! | [`device`] | the backends of this build and the devices of this machine |
//! | [`classifier`] | a network with its loss: one forward and backward pass |
//! | [`optimizer`], `schedule`, `average` | how the weights follow their gradients |
//! | `fit` | the training loop |
//! | [`evaluate`](mod@evaluate) | how well a network predicts |
//! | [`checkpoint`] | all that a run is made of after an epoch, so that it can go on |
//! | [`record`], [`run_dir`], `journal`, `tensorboard` | what a run writes down, and where |
//! | `health`, `stop`, `progress` | what goes wrong, who ends it, what a person sees meanwhile |
//! | [`allocator`] | why freed memory is kept |
//! | `program` | how the program is called, for messages |
//! | `report` | the page about a run |
//! | `sweep` | which runs a sweep is made of, what they are called, what they come to together |
//! | `commands` | what each command does: the place where the others meet |

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

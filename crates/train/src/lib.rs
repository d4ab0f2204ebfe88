//! # Trains the networks of the `models` crate from a config file
//!
//! The program `train` is a thin shell around this library:
//!
//! | module | knows |
//! |---|---|
//! | [`cli`] | the arguments |
//! | [`config`] | what a run does: a strict TOML file |
//! | [`device`] | the backends of this build and the devices of this machine |
//! | [`fit`] | a network as burn-train's learner, and its evaluation |
//! | [`run_dir`] | the folder that a run leaves behind |
//! | `report` | what is measured on the way, and how it is shown |
//! | `commands` | what each command does: the place where the others meet |

#![warn(missing_docs)]

pub mod cli;
mod commands;
pub mod config;
pub mod device;
mod error;
pub mod fit;
mod report;
pub mod run_dir;

pub use config::Config;
pub use device::DeviceName;
pub use error::Error;

#[cfg(test)]
mod tests;

//! # Trains the networks of the `models` crate from a config file
//!
//! The program `train` is a thin wrapper around this library. Its modules, each of which uses only
//! those below it:
//!
//! | module | contents |
//! |---|---|
//! | [`cli`] | the command line: which command, and the exit code |
//! | `commands` | the commands, each with its arguments |
//! | `report` | the page about a run, or comparing several |
//! | `sweep` | the runs of a sweep, their names and their combined results |
//! | `diagram` | drawings of networks |
//! | [`run`] | a run: its life, its folder, its files, its checkpoints |
//! | [`training`] | the training: the loop, optimizers, schedules, EMA, evaluation |
//! | [`config`] | the config of a run: a strict TOML file |
//! | [`device`] | the backends of this build and the devices of this machine |
//! | `output`, `stop`, `program` | printed lines, requests to stop, this program's command line |
//! | [`loopback`] | a small web server for this machine only |
//! | `format`, `encoding` | numbers for display, and in files |
//! | [`allocator`] | an allocator that keeps freed memory |

#![warn(missing_docs)]

pub mod allocator;
pub mod cli;
mod commands;
pub mod config;
pub mod device;
mod diagram;
mod encoding;
mod error;
mod format;
pub mod loopback;
mod output;
mod program;
mod report;
pub mod run;
mod stop;
mod sweep;
pub mod training;

pub use config::Config;
pub use device::DeviceName;
pub use diagram::diagram;
pub use error::Error;
pub use report::report_page;

#[cfg(test)]
mod tests;

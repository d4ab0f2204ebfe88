//! # Training in a web page
//!
//! The networks of [`models`] that train at a sensible pace on one thread, compiled to WebAssembly.
//! `cargo xtask web` builds the page; the folder `page` has its HTML and JavaScript.
//!
//! [`Data`] holds the images, [`Session`] a network that trains, and [`Snapshot`] what the page
//! shows of it. They do not depend on a browser, and are tested without one. `bindings` is what
//! JavaScript calls, from a worker, so that the page always answers.

#![warn(missing_docs)]

#[cfg(target_family = "wasm")]
mod bindings;
mod data;
mod session;
mod snapshot;

pub use data::Data;
pub use session::{Scores, Session, Settings};
pub use snapshot::{Features, Snapshot, Statistics};

#[cfg(test)]
mod tests;

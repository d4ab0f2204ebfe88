//! Loading and saving of weights.
//!
//! `formats` reads the files, `names` finds the names that a network's parameters have in them,
//! `load` compares and copies, `save` writes, `error` is what may go wrong.

mod error;
mod formats;
mod load;
mod names;
mod save;

pub use error::{Hint, Mismatch, WeightsError};
pub use formats::Metadata;
pub use load::{LoadOptions, read_metadata, read_metadata_bytes};
pub(crate) use load::{load, load_bytes};
pub(crate) use names::parameters;
#[cfg(test)]
pub(crate) use names::{Walk, pytorch_name};
pub(crate) use save::{save, to_safetensors};

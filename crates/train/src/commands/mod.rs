//! What each command does.

mod devices;
mod train;

pub(crate) use devices::devices;
pub(crate) use train::train;

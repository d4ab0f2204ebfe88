//! What each command does.

mod devices;
mod networks;
mod predict;
mod summary;
mod train;

pub(crate) use devices::devices;
pub(crate) use networks::networks;
pub(crate) use predict::predict;
pub(crate) use summary::summary;
pub(crate) use train::train;

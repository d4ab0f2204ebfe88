//! What each command does.

mod data;
mod devices;
mod evaluate;
mod export;
mod networks;
mod predict;
mod report;
mod resume;
mod serve;
mod summary;
mod sweep;
mod train;

pub(crate) use devices::devices;
pub(crate) use evaluate::evaluate;
pub(crate) use export::export;
pub(crate) use networks::networks;
pub(crate) use predict::predict;
pub(crate) use report::report;
pub use report::report_page;
pub(crate) use resume::resume;
pub(crate) use serve::serve;
pub(crate) use summary::summary;
pub(crate) use sweep::sweep;
pub(crate) use train::train;

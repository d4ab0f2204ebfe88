//! A run: a training with its folder. The files in the folder make it possible to resume the run,
//! and to see later what was trained, how, and with which result.
//!
//! | module | contents |
//! |---|---|
//! | `execute` | a run from its start, or from a checkpoint, to its end |
//! | `images` | the images of a run |
//! | `progress` | the progress of a run on the terminal |
//! | `folder` | the folder, and how its files are written |
//! | `journal`, `tensorboard` | the files that grow during the training |
//! | [`checkpoint`] | the complete state of a run after an epoch, to resume from |
//! | `description` | what a weights file says about its weights |
//! | [`record`], `test_report`, `scores` | the files written at the start and at the end |
//! | `files` | reads all of them |

pub mod checkpoint;
pub(crate) mod description;
pub(crate) mod execute;
pub(crate) mod files;
pub(crate) mod folder;
pub(crate) mod images;
mod inside;
mod journal;
mod progress;
pub mod record;
pub(crate) mod scores;
mod tensorboard;
mod test_report;

pub use files::RunFiles;

//! What is measured on the way, and how it is shown.

mod epochs;
mod images_per_second;
mod stop;
mod terminal;

pub(crate) use epochs::{EpochLog, History};
pub(crate) use images_per_second::ImagesPerSecond;
pub(crate) use stop::Stop;
pub(crate) use terminal::{renderer, say, shows_plain_lines};

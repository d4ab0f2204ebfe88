//! What both kinds of pages have.

use maud::{Markup, html};

use crate::{format::UNKNOWN, run::RunFiles, training::Epoch};

/// One value of each epoch, as the points of a line.
pub fn by_epoch(run: &RunFiles, value: impl Fn(&Epoch) -> f64) -> Vec<(usize, f64)> {
    run.epochs.iter().map(|epoch| (epoch.epoch, value(epoch))).collect()
}

/// A table that scrolls sideways in its own frame where the screen is too narrow.
pub fn scroll(label: &str, table: Markup) -> Markup {
    html! { div.scroll role="group" aria-label=(label) tabindex="0" { (table) } }
}

/// The name of a class.
pub fn class(classes: &[String], label: usize) -> &str {
    classes.get(label).map_or(UNKNOWN, String::as_str)
}

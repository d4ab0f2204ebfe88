//! The report of a run, or the comparison of several: one self-contained HTML page, without network
//! access or scripts.

mod charts;
mod comparison;
pub(crate) mod format;
mod pictures;
mod single;
#[cfg(test)]
mod tests;

use fashion_mnist::Source;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{
    record::{Environment, Epoch, RunResult, Step, TestReport},
    sweep::Mean,
};

/// A run as read from its folder; what does not exist yet (a run in progress has no result) is
/// `None` or empty.
pub(crate) struct Run {
    /// The folder's name.
    pub name: String,
    /// The text of `config.toml`.
    pub config: String,
    /// From `environment.json`.
    pub environment: Option<Environment>,
    /// From `metrics.jsonl`.
    pub epochs: Vec<Epoch>,
    /// From `steps.jsonl`.
    pub steps: Vec<Step>,
    /// From `result.json`.
    pub result: Option<RunResult>,
    /// From `test.json`.
    pub test: Option<TestReport>,
}

/// One self-contained page about one run, or comparing several; for a sweep, with means over seeds.
pub(crate) fn page(runs: &[Run], means: &[Mean]) -> String {
    let (title, body) = match runs {
        [run] if means.is_empty() => (single::title(run), single::body(run)),
        runs => (comparison::title(runs), comparison::body(runs, means)),
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Whatever a config holds, the page loads nothing and runs nothing.
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; img-src data:; style-src 'unsafe-inline'";
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body { main { (body) } }
        }
    }
    .into_string()
}

impl Run {
    fn device(&self) -> Option<&str> {
        let result = self.result.as_ref().map(|result| &result.device);
        let device = result.or_else(|| Some(&self.environment.as_ref()?.device))?;
        Some(device)
    }

    fn data_source(&self) -> Option<&Source> {
        let result = self.result.as_ref().map(|result| &result.data_source);
        let source = result.or_else(|| Some(&self.environment.as_ref()?.data_source))?;
        Some(source)
    }

    fn is_synthetic(&self) -> bool {
        self.data_source() == Some(&Source::Synthetic)
    }

    /// One value of each epoch, as the points of a line.
    fn by_epoch(&self, value: impl Fn(&Epoch) -> f64) -> Vec<(usize, f64)> {
        self.epochs.iter().map(|epoch| (epoch.epoch, value(epoch))).collect()
    }
}

/// A table that scrolls sideways in its own frame where the screen is too narrow.
fn scroll(label: &str, table: Markup) -> Markup {
    html! { div.scroll role="group" aria-label=(label) tabindex="0" { (table) } }
}

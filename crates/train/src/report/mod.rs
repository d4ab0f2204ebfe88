//! The report of a run, or the comparison of several: one self-contained HTML page, without network
//! access or scripts.

mod charts;
mod comparison;
mod inside;
mod parts;
mod pictures;
mod single;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use maud::{DOCTYPE, PreEscaped, html};

use crate::{
    Error,
    run::{RunFiles, execute::Ended, folder::write_whole},
    sweep::Mean,
};

/// A live page loads itself again after this many seconds.
pub(crate) const REFRESH: u64 = 5;

/// Writes the page about a run into its folder.
pub(crate) fn write_run(run: &Path) -> Result<(), Error> {
    write_comparison(&[run.to_owned()], &[], &run.join("report.html"))
}

/// Writes the page about a run that has ended, and prints its results.
pub(crate) fn finish(run: &Ended) -> Result<(), Error> {
    write_run(run.folder.path())?;
    run.announce();
    Ok(())
}

/// Writes the page that compares runs; for a sweep, with means over seeds.
pub(crate) fn write_comparison(runs: &[PathBuf], means: &[Mean], out: &Path) -> Result<(), Error> {
    let runs = runs.iter().map(|path| RunFiles::read(path)).collect::<Result<Vec<_>, _>>()?;
    write_whole(out, page(&runs, means, false).as_bytes())
}

/// One self-contained page about one run, or comparing several; for a sweep, with means over seeds.
/// A live page loads itself again.
fn page(runs: &[RunFiles], means: &[Mean], is_live: bool) -> String {
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
                @if is_live { meta http-equiv="refresh" content=(REFRESH); }
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body { main { (body) } }
        }
    }
    .into_string()
}

/// The HTML page of `train report` about a run, or comparing several.
pub fn report_page(runs: &[RunFiles]) -> String {
    page(runs, &[], false)
}

/// The page about a run, which a browser loads again every few seconds until the run ends.
pub(crate) fn live_page(run: &RunFiles) -> String {
    page(std::slice::from_ref(run), &[], run.result.is_none())
}

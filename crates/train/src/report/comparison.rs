//! The page that compares runs.

use maud::{Markup, html};

use super::{
    Run,
    charts::{self, Line},
    format::{self, UNKNOWN},
    scroll,
};
use crate::record::{Epoch, RunResult};

/// How many runs there are.
pub fn title(runs: &[Run]) -> String {
    format!("Comparison of {} runs", runs.len())
}

/// The runs in one table, one line each in the charts, and their configs.
pub fn body(runs: &[Run]) -> Markup {
    let synthetic: Vec<_> =
        runs.iter().filter(|run| run.is_synthetic()).map(|run| run.name.as_str()).collect();
    html! {
        header { h1 { (title(runs)) } }
        @if !synthetic.is_empty() {
            p.banner {
                strong { "Synthetic images. " }
                "Runs on images drawn by this program in place of Fashion-MNIST say nothing about \
                 it. Here: "
                @if synthetic.len() == runs.len() { "all." } @else { (synthetic.join(", ")) "." }
            }
        }
        h2 { "Summary" }
        (table(runs))
        h2 { "Training" }
        div.charts {
            (chart("Validation accuracy by epoch, in %", runs, |epoch| {
                100.0 * epoch.validation_accuracy
            }))
            (chart("Validation loss by epoch", runs, |epoch| epoch.validation_loss))
            (chart("Training loss by epoch", runs, |epoch| epoch.train_loss))
            (chart("Learning rate by epoch", runs, |epoch| epoch.learning_rate))
        }
        h2 { "Configs" }
        @for run in runs {
            details { summary { (run.name) } pre tabindex="0" { (run.config) } }
        }
    }
}

fn chart(caption: &str, runs: &[Run], value: fn(&Epoch) -> f64) -> Markup {
    let lines = runs.iter().map(|run| Line { name: &run.name, points: run.by_epoch(value) });
    charts::figure(caption, &lines.collect::<Vec<_>>())
}

fn table(runs: &[Run]) -> Markup {
    let sources_differ = runs.iter().any(|run| run.data_source() != runs[0].data_source());
    scroll(
        "Summary",
        html! {
            table.numbers {
                caption {
                    "Each run with its line in the charts; one without a test is under way, or \
                     ended before it"
                }
                thead {
                    tr {
                        th scope="col" { "Run" }
                        th scope="col" { "Test accuracy" }
                        th scope="col" { "Test loss" }
                        th scope="col" { "Epochs" }
                        th scope="col" { "Parameters" }
                        th scope="col" { "Images/s" }
                        th scope="col" { "Time" }
                        th.text scope="col" { "Network" }
                        th.text scope="col" { "Device" }
                        @if sources_differ { th.text scope="col" { "Images" } }
                    }
                }
                tbody {
                    @for (index, run) in runs.iter().enumerate() {
                        @let of = |value: fn(&RunResult) -> String| {
                            run.result.as_ref().map_or(UNKNOWN.to_owned(), value)
                        };
                        tr {
                            th.name scope="row" { (charts::swatch(index)) (run.name) }
                            td { (of(|result| format::percent(result.test_accuracy))) }
                            td { (of(|result| format::number(result.test_loss))) }
                            td { (run.epochs.len()) }
                            td { (of(|result| format::grouped(result.parameters))) }
                            td { (of(|result| format::rounded(result.train_images_per_second))) }
                            td { (of(|result| format::duration(result.seconds))) }
                            td.text { (of(|result| result.network.clone())) }
                            td.text { (run.device().unwrap_or(UNKNOWN)) }
                            @if sources_differ {
                                td.text {
                                    @if let Some(source) = run.data_source() { (source) }
                                    @else { (UNKNOWN) }
                                }
                            }
                        }
                    }
                }
            }
        },
    )
}

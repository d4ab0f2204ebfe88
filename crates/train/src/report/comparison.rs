//! The page that compares runs.

use maud::{Markup, html};

use super::{
    charts::{self, Line},
    parts::{by_epoch, scroll},
};
use crate::{
    format::{self, UNKNOWN},
    run::{RunFiles, record::RunResult},
    sweep::{Mean, Spread},
    training::Epoch,
};

/// How many runs there are.
pub fn title(runs: &[RunFiles]) -> String {
    format!("Comparison of {} runs", runs.len())
}

/// The runs in one table, their means over seeds, charts with one line per run, and their configs.
pub fn body(runs: &[RunFiles], means: &[Mean]) -> Markup {
    let synthetic: Vec<_> =
        runs.iter().filter(|run| run.is_synthetic()).map(|run| run.name.as_str()).collect();
    html! {
        header { h1 { (title(runs)) } }
        @if !synthetic.is_empty() {
            p.banner {
                strong { "Synthetic images. " }
                "Results on images drawn by this program say nothing about Fashion-MNIST. Affected \
                 runs: "
                @if synthetic.len() == runs.len() { "all." } @else { (synthetic.join(", ")) "." }
            }
        }
        h2 { "Summary" }
        (table(runs))
        @if !means.is_empty() { h2 { "Means over seeds" } (means_table(means)) }
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

fn chart(caption: &str, runs: &[RunFiles], value: fn(&Epoch) -> f64) -> Markup {
    let lines = runs.iter().map(|run| Line { name: &run.name, points: by_epoch(run, value) });
    charts::figure(caption, &lines.collect::<Vec<_>>())
}

fn table(runs: &[RunFiles]) -> Markup {
    let sources_differ = runs.iter().any(|run| run.data_source() != runs[0].data_source());
    let tested = runs
        .iter()
        .any(|run| run.result.as_ref().is_some_and(|result| result.test_accuracy.is_some()));
    scroll(
        "Summary",
        html! {
            table.numbers {
                caption {
                    "Each run with its line in the charts; a run without results is in progress or \
                     was interrupted"
                }
                thead {
                    tr {
                        th scope="col" { "Run" }
                        th scope="col" { "Validation accuracy" }
                        th scope="col" { "Validation loss" }
                        @if tested {
                            th scope="col" { "Test accuracy" }
                            th scope="col" { "Test loss" }
                        }
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
                        @let of = |value: fn(&RunResult) -> Option<String>| {
                            run.result.as_ref().and_then(value).unwrap_or(UNKNOWN.to_owned())
                        };
                        tr {
                            th.name scope="row" { (charts::swatch(index)) (run.name) }
                            td { (of(|result| Some(format::percent(result.validation_accuracy)))) }
                            td { (of(|result| Some(format::number(result.validation_loss)))) }
                            @if tested {
                                td { (of(|result| result.test_accuracy.map(format::percent))) }
                                td { (of(|result| result.test_loss.map(format::number))) }
                            }
                            td { (run.epochs.len()) }
                            td { (of(|result| Some(format::grouped(result.parameters)))) }
                            td {
                                (of(|result| Some(format::rounded(result.train_images_per_second))))
                            }
                            td { (of(|result| Some(format::duration(result.seconds)))) }
                            td.text { (of(|result| Some(result.network.clone()))) }
                            td.text { (run.device().map_or(UNKNOWN, |(name, _)| name)) }
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

fn means_table(means: &[Mean]) -> Markup {
    let tested = means.iter().any(|mean| mean.test_accuracy.is_some());
    let spread = |spread: &Spread, format: fn(f64) -> String| match spread.deviation {
        Some(deviation) => format!("{} ± {}", format(spread.mean), format(deviation)),
        None => format(spread.mean),
    };
    let or_none = |value: &Option<Spread>, format| {
        value.as_ref().map_or(UNKNOWN.to_owned(), |value| spread(value, format))
    };
    scroll(
        "Means over seeds",
        html! {
            table.numbers {
                caption { "Mean and standard deviation over runs that differ only in their seed" }
                thead {
                    tr {
                        th scope="col" { "Runs" }
                        th scope="col" { "Seeds" }
                        th scope="col" { "Validation accuracy" }
                        th scope="col" { "Validation loss" }
                        @if tested {
                            th scope="col" { "Test accuracy" }
                            th scope="col" { "Test loss" }
                        }
                    }
                }
                tbody {
                    @for mean in means {
                        tr {
                            th.name scope="row" { (mean.name) }
                            td { (mean.runs) }
                            td { (spread(&mean.validation_accuracy, format::percent)) }
                            td { (spread(&mean.validation_loss, format::number)) }
                            @if tested {
                                td { (or_none(&mean.test_accuracy, format::percent)) }
                                td { (or_none(&mean.test_loss, format::number)) }
                            }
                        }
                    }
                }
            }
        },
    )
}

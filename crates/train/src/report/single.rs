//! The page about one run.

use maud::{Markup, html};

use super::{
    charts::{self, Line},
    inside,
    parts::{by_epoch, class, scroll},
};
use crate::{
    format::{self, UNKNOWN},
    run::{
        RunFiles,
        record::{Environment, RunResult, TestReport, Weight},
        scores::{Scores, scores},
    },
    training::{Epoch, Seconds, Step},
};

/// A longer table of weights is collapsed.
const WEIGHTS: usize = 24;

/// The run's name, with its accuracy if it has one.
pub fn title(run: &RunFiles) -> String {
    match &run.result {
        Some(result) => format!("{}: {}", run.name, format::percent(main_accuracy(result).1)),
        None => run.name.clone(),
    }
}

/// All that is known about the run.
pub fn body(run: &RunFiles) -> Markup {
    html! {
        (header(run))
        @if run.is_synthetic() {
            p.banner {
                strong { "Synthetic images. " }
                "This run used images drawn by this program in place of Fashion-MNIST. Its results \
                 say nothing about Fashion-MNIST."
            }
        }
        @if run.result.is_none() {
            p.banner {
                strong { "No result yet. " }
                "The run is in progress, or was interrupted before its test. "
                @match run.epochs.len() {
                    0 => "No epoch has ended.",
                    1 => "One epoch has ended.",
                    epochs => { (epochs) " epochs have ended." }
                }
            }
        }
        (summary(run))
        (training(run))
        @if let Some(test) = &run.test { (tested(test)) }
        (cost(&run.epochs))
        @if let Some(environment) = &run.environment { (machine(environment)) }
        h2 { "Config" }
        pre tabindex="0" { (run.config) }
    }
}

/// The test accuracy if the run was tested, else the validation accuracy.
fn main_accuracy(result: &RunResult) -> (&'static str, f64) {
    match result.test_accuracy {
        Some(accuracy) => ("Test accuracy", accuracy),
        None => ("Validation accuracy", result.validation_accuracy),
    }
}

fn header(run: &RunFiles) -> Markup {
    let last = run.epochs.last();
    let accuracy = match (&run.result, last) {
        (Some(result), _) => Some(main_accuracy(result)),
        (None, Some(last)) => Some(("Validation accuracy so far", last.validation_accuracy)),
        (None, None) => None,
    };
    html! {
        header {
            h1 { (run.name) }
            dl.key {
                @if let Some((name, share)) = accuracy {
                    div { dt { (name) } dd.large { (format::percent(share)) } }
                }
                @if let Some(result) = &run.result {
                    div { dt { "Network" } dd { (result.network) } }
                }
                @if let Some((device, _)) = run.device() { div { dt { "Device" } dd { (device) } } }
                @if let Some(source) = run.data_source() { div { dt { "Images" } dd { (source) } } }
            }
        }
    }
}

fn summary(run: &RunFiles) -> Markup {
    let (caption, mut rows) = match &run.result {
        Some(result) => ("The run and its result", result_rows(result)),
        None => ("The run so far", vec![("Epochs", run.epochs.len().to_string())]),
    };
    let finite = run.epochs.iter().filter(|epoch| epoch.validation_accuracy.is_finite());
    let best = finite.max_by(|a, b| a.validation_accuracy.total_cmp(&b.validation_accuracy));
    if let Some(Epoch { epoch, validation_accuracy, .. }) = best {
        let accuracy = format::percent(*validation_accuracy);
        rows.push(("Best validation accuracy", format!("{accuracy}, after epoch {epoch}")));
    }
    if let Some(last) = run.epochs.last() {
        rows.push(("Last validation loss", format::number(last.validation_loss)));
        rows.push(("Last training loss", format::number(last.train_loss)));
    }
    html! { h2 { "Summary" } (facts(caption, &rows)) }
}

fn result_rows(result: &RunResult) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("Network", result.network.clone()),
        ("Preset", result.preset.clone()),
        ("Parameters", format::grouped(result.parameters)),
        ("Weights", format!("those of epoch {}", result.tested_epoch)),
        ("Validation accuracy", format::percent(result.validation_accuracy)),
        ("Validation loss", format::number(result.validation_loss)),
        ("Epochs trained", result.epochs.to_string()),
        ("Images per second", format::rounded(result.train_images_per_second)),
        ("Time", format::duration(result.seconds)),
        ("Seed", result.seed.to_string()),
    ];
    if let Some(accuracy) = result.test_accuracy {
        rows.push(("Test accuracy", format::percent(accuracy)));
    }
    if let Some(loss) = result.test_loss {
        rows.push(("Test loss", format::number(loss)));
    }
    if let Some(reason) = &result.stopped {
        rows.push(("Ended early", reason.clone()));
    }
    rows
}

fn training(run: &RunFiles) -> Markup {
    let by_step = |value: fn(&Step) -> f64| -> Vec<_> {
        run.steps.iter().map(|step| (step.step, value(step))).collect()
    };
    let one = |caption, name, points| charts::figure(caption, &[Line { name, points }]);
    html! {
        h2 { "Training" }
        @if run.epochs.is_empty() && run.steps.is_empty() { p { "Nothing is recorded yet." } }
        div.charts {
            (charts::figure("Loss by epoch", &[
                Line { name: "Training", points: by_epoch(run, |epoch| epoch.train_loss) },
                Line { name: "Validation", points: by_epoch(run, |epoch| epoch.validation_loss) },
            ]))
            (charts::figure("Accuracy by epoch, in %", &[
                Line {
                    name: "Training",
                    points: by_epoch(run, |epoch| 100.0 * epoch.train_accuracy),
                },
                Line {
                    name: "Validation",
                    points: by_epoch(run, |epoch| 100.0 * epoch.validation_accuracy),
                },
            ]))
            @if run.steps.is_empty() {
                (one("Learning rate by epoch", "Learning rate",
                    by_epoch(run, |epoch| epoch.learning_rate)))
                (one("Gradient norm by epoch", "Gradient norm",
                    by_epoch(run, |epoch| epoch.gradient_norm)))
            } @else {
                (one("Training loss by step", "Training loss", by_step(|step| step.loss)))
                (one("Learning rate by step", "Learning rate",
                    by_step(|step| step.learning_rate)))
                (one("Gradient norm by step", "Gradient norm",
                    by_step(|step| step.gradient_norm)))
            }
            (one("Weight norm by epoch", "Weight norm",
                by_epoch(run, |epoch| epoch.weight_norm)))
        }
    }
}

fn tested(test: &TestReport) -> Markup {
    html! {
        h2 { "Test" }
        div.pair { (confusion(test)) (classes(test)) }
        @if !test.mistakes.is_empty() { (inside::mistakes(&test.mistakes, &test.classes)) }
        @if let Some(maps) = &test.feature_maps { (inside::feature_maps(maps, &test.classes)) }
        h2 { "Weights" }
        @if let Some(filters) = &test.filters { (inside::first_layer(filters)) }
        (weights(&test.weights))
    }
}

fn confusion(test: &TestReport) -> Markup {
    let wrong = test.confusion.iter().enumerate().flat_map(|(label, row)| {
        row.iter().enumerate().filter(move |(class, _)| *class != label).map(|(_, count)| *count)
    });
    let most = f64::from(wrong.max().unwrap_or(0).max(1));
    scroll(
        "Confusion matrix",
        html! {
            table.confusion {
                caption {
                    "Confusion matrix: number of images by class (row) and predicted class (column)"
                }
                thead {
                    tr { td; @for class in &test.classes { th scope="col" { span { (class) } } } }
                }
                tbody {
                    @for (label, row) in test.confusion.iter().enumerate() {
                        @let images = f64::from(row.iter().sum::<u32>().max(1));
                        tr {
                            th scope="row" { (class(&test.classes, label)) }
                            @for (class, &count) in row.iter().enumerate() {
                                // The square root keeps rare mistakes visible.
                                @let (kind, shade) = match f64::from(count) {
                                    0.0 => ("none", 0.0),
                                    count if class == label => ("right", count / images),
                                    count => ("wrong", (count / most).sqrt()),
                                };
                                td class=(kind) style=(format!("--shade:{shade:.2}")) { (count) }
                            }
                        }
                    }
                }
            }
        },
    )
}

fn classes(test: &TestReport) -> Markup {
    let scores = scores(&test.confusion);
    // Unknown if it is unknown for one class.
    let mean = |score: fn(&Scores) -> Option<f64>| -> Option<f64> {
        Some(scores.iter().map(score).sum::<Option<f64>>()? / scores.len() as f64)
    };
    let share = |share: Option<f64>| share.map_or(UNKNOWN.to_owned(), format::percent);
    let loss = |loss: Option<f64>| loss.map_or(UNKNOWN.to_owned(), format::number);
    scroll(
        "Scores of each class",
        html! {
            table.numbers {
                caption { "Precision, recall, F1 and loss of each class" }
                thead {
                    tr {
                        th scope="col" { "Class" }
                        th scope="col" { "Precision" }
                        th scope="col" { "Recall" }
                        th scope="col" { "F1" }
                        th scope="col" { "Loss" }
                        th scope="col" { "Images" }
                    }
                }
                tbody {
                    @for (label, scores) in scores.iter().enumerate() {
                        tr {
                            th scope="row" { (class(&test.classes, label)) }
                            td { (share(scores.precision)) }
                            td { (share(scores.recall)) }
                            td { (share(scores.f1)) }
                            td { (loss(test.losses.get(label).copied().flatten())) }
                            td { (format::grouped(scores.images as usize)) }
                        }
                    }
                }
                tfoot {
                    tr {
                        th scope="row" { "Mean" }
                        td { (share(mean(|scores| scores.precision))) }
                        td { (share(mean(|scores| scores.recall))) }
                        td { (share(mean(|scores| scores.f1))) }
                        td {}
                        td {}
                    }
                }
            }
        },
    )
}

fn weights(weights: &[Weight]) -> Markup {
    let table = scroll(
        "Weights",
        html! {
            table.numbers {
                caption {
                    "The norm of each weight, and the mean norm of its gradient over the last epoch"
                }
                thead {
                    tr {
                        th scope="col" { "Weight" }
                        th scope="col" { "Norm" }
                        th scope="col" { "Gradient norm" }
                    }
                }
                tbody {
                    @for weight in weights {
                        tr {
                            th scope="row" { code { (weight.name) } }
                            td { (format::number(weight.norm)) }
                            td { (format::number(weight.gradient_norm)) }
                        }
                    }
                }
            }
        },
    );
    html! {
        @if weights.len() > WEIGHTS {
            details { summary { "All " (weights.len()) " weights" } (table) }
        } @else if !weights.is_empty() {
            (table)
        }
    }
}

fn cost(epochs: &[Epoch]) -> Markup {
    let memory = epochs.iter().filter_map(|epoch| {
        Some((epoch.epoch, epoch.resident_memory? as f64 / f64::from(1 << 30)))
    });
    let memory = Line { name: "Memory", points: memory.collect() };
    html! {
        @if !epochs.is_empty() {
            h2 { "Time and memory" }
            div.charts {
                (time(epochs))
                (charts::figure("Memory of the program by epoch, in GiB", &[memory]))
            }
        }
    }
}

fn time(epochs: &[Epoch]) -> Markup {
    let mean = |seconds: fn(&Seconds) -> f64| {
        let sum: f64 = epochs.iter().map(|epoch| seconds(&epoch.seconds)).sum();
        sum / epochs.len() as f64
    };
    let measured = [
        ("Data", mean(|seconds| seconds.data)),
        ("Forward", mean(|seconds| seconds.forward)),
        ("Backward", mean(|seconds| seconds.backward)),
        ("Optimizer", mean(|seconds| seconds.optimizer)),
    ];
    // On a GPU the parts are estimates, and their sum can exceed the whole.
    let sum: f64 = measured.iter().map(|part| part.1).sum();
    let rest = (mean(|seconds| seconds.training) - sum).max(0.0);
    let parts: Vec<_> = measured
        .into_iter()
        .chain([("Rest of training", rest), ("Validation", mean(|seconds| seconds.validation))])
        .collect();
    let total: f64 = parts.iter().map(|part| part.1).sum();
    if !(total > 0.0 && total.is_finite()) {
        return html! {};
    }
    let starts = parts.iter().scan(0.0, |end, part| {
        let start = *end;
        *end += part.1;
        Some(start)
    });
    let width = |seconds: f64| format!("{:.2}", 1000.0 * seconds / total);
    html! {
        table.numbers {
            caption {
                "Time of an epoch by part, mean of all epochs"
                svg.bar viewBox="0 0 1000 50" preserveAspectRatio="none" aria-hidden="true" {
                    @for (index, (start, part)) in starts.zip(&parts).enumerate() {
                        rect x=(width(start)) width=(width(part.1)) height="50"
                            fill=(format!("var(--line-{index})")) {}
                    }
                }
            }
            thead {
                tr {
                    th scope="col" { "Part" }
                    th scope="col" { "Seconds" }
                    th scope="col" { "Share" }
                }
            }
            tbody {
                @for (index, (name, seconds)) in parts.iter().enumerate() {
                    tr {
                        th scope="row" {
                            span.square style=(format!("background:var(--line-{index})")) {} (name)
                        }
                        td { (format!("{seconds:.3}")) }
                        td { (format::round_percent(seconds / total)) }
                    }
                }
            }
            tfoot {
                tr {
                    th scope="row" { "Epoch" }
                    td { (format!("{total:.3}")) }
                    td { (format::round_percent(1.0)) }
                }
            }
        }
    }
}

fn machine(environment: &Environment) -> Markup {
    let model = environment.device_model.clone();
    let rows = [
        ("Device", environment.device.clone()),
        ("Device model", model.unwrap_or(UNKNOWN.to_owned())),
        ("Backend", environment.backend.clone()),
        ("System", format!("{}, {}", environment.os, environment.arch)),
        ("Threads", environment.threads.to_string()),
        ("Images", environment.data_source.to_string()),
        ("Version of this program", environment.train.clone()),
        ("Version of Burn", environment.burn.clone()),
    ];
    html! { h2 { "Environment" } (facts("The machine and the program", &rows)) }
}

fn facts(caption: &str, rows: &[(&str, String)]) -> Markup {
    html! {
        table.facts {
            caption { (caption) }
            tbody {
                @for (name, value) in rows { tr { th scope="row" { (name) } td { (value) } } }
            }
        }
    }
}

//! The page made from the parts' JSON files.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use train::Error;

use super::{
    losses::{Losses, TOLERANCE},
    part::Part,
};
use crate::{
    bench::{batch_norm, train::Row},
    performance,
};

/// The page in Markdown: what there is in the folder, and why the other parts are missing.
pub fn page(folder: &Path, parts: &[Part], failed: &[(&str, String)]) -> Result<String, Error> {
    let mut text = String::from("# This project on a GPU\n\nMade by `cargo xtask gpu`.\n");
    let losses: Vec<Losses> = read(folder, parts, "losses-")?;
    if let Some(first) = losses.first() {
        write!(
            text,
            "\n## Losses\n\n{} training steps on {}, and on the CPU with the same weights and \
             images. *Difference* is the largest one between two losses of a step, relative to the \
             first loss; up to {TOLERANCE} is rounding.\n\n\
             | network | first loss | last loss | on the CPU | difference | first step, s | others, s |\n\
             |---|---|---|---|---|---|---|\n",
            first.found.len(),
            first.device
        )
        .expect("a string");
    }
    for losses in &losses {
        let last = |all: &[f64]| all.last().copied().unwrap_or(f64::NAN);
        let verdict = if losses.agree() { "" } else { " **(too large)**" };
        writeln!(
            text,
            "| {} | {:.4} | {:.4} | {:.4} | {:.5}{verdict} | {:.1} | {:.4} |",
            losses.network,
            losses.expected[0],
            last(&losses.found),
            last(&losses.expected),
            losses.difference(),
            losses.first_step_seconds,
            losses.step_seconds
        )
        .expect("a string");
    }
    let rows: Vec<Vec<batch_norm::Row>> = read(folder, parts, "batch-norm")?;
    if !rows.is_empty() {
        text += "\n## Batch normalization\n\nBandwidth of the fewest passes over memory, and its \
                 share of a copy's.\n\n\
                 | shape | layout | pass | ms | Burn's ms | GB/s | share |\n|---|---|---|---|---|---|---|\n";
    }
    for row in rows.iter().flatten() {
        let shape: Vec<_> = row.shape.iter().map(usize::to_string).collect();
        let number = |value: Option<f64>| value.map(|it| format!("{it:.2}")).unwrap_or_default();
        writeln!(
            text,
            "| {} | {} | {} | {:.3} | {} | {:.0} | {} |",
            shape.join("x"),
            row.layout,
            row.pass,
            row.kernel_ms,
            number(row.reference_ms),
            row.gbps,
            number(row.copy_share)
        )
        .expect("a string");
    }
    let speed: Vec<Vec<Row>> = read(folder, parts, "speed-")?;
    let rows: Vec<Row> = speed.into_iter().flatten().collect();
    if let Some(row) = rows.first() {
        write!(
            text,
            "\n## Speed\n\nImages per second, best of three. {}\n",
            performance::versions(row)
        )
        .expect("a string");
        text += &performance::table(&rows);
    }
    if !failed.is_empty() {
        text += "\n## Failed or not measured\n\n";
        for (name, why) in failed {
            writeln!(text, "- {name}: {why}").expect("a string");
        }
    }
    Ok(text)
}

/// Fails if the part compared losses and they differ.
pub fn check_losses(part: &Part, folder: &Path) -> Result<(), String> {
    let losses: Vec<Losses> =
        read(folder, std::slice::from_ref(part), "losses-").map_err(|error| error.to_string())?;
    match losses.iter().find(|losses| !losses.agree()) {
        Some(losses) => Err(format!(
            "the losses differ by {:.4} of the first from those of the CPU",
            losses.difference()
        )),
        None => Ok(()),
    }
}

/// The results of the parts whose names begin like this.
fn read<T: DeserializeOwned>(folder: &Path, parts: &[Part], name: &str) -> Result<Vec<T>, Error> {
    let named = parts.iter().filter(|part| part.name.starts_with(name));
    let files: Vec<PathBuf> = named.map(|part| part.file(folder)).collect();
    files
        .iter()
        .filter(|file| file.exists())
        .map(|file| {
            let unreadable = |why: String| Error::Usage(format!("{}: {why}", file.display()));
            let text = fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
            serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))
        })
        .collect()
}

//! The page made from the parts' JSON files.

use std::{
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

/// The page in Markdown: what there is in the folder, and which parts failed.
pub fn page(folder: &Path, parts: &[Part], failed: &[(&str, String)]) -> Result<String, Error> {
    let mut text = String::from("# This project on a GPU\n\nMade by `cargo xtask gpu`.\n");
    let compared: Vec<Losses> = read(folder, parts, "losses-")?;
    if !compared.is_empty() {
        text += &losses(&compared);
    }
    let bandwidth: Vec<Vec<batch_norm::Row>> = read(folder, parts, "batch-norm")?;
    if !bandwidth.is_empty() {
        text += &batch_norm(&bandwidth.concat());
    }
    let rows: Vec<Vec<Row>> = read(folder, parts, "speed-")?;
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    if let Some(row) = rows.first() {
        let versions = performance::versions(row);
        text += &format!("\n## Speed\n\nImages per second, best of three. {versions}\n");
        text += &performance::table(&rows);
    }
    if !failed.is_empty() {
        text += "\n## Failed or not measured\n\n";
        failed.iter().for_each(|(name, why)| text += &format!("- {name}: {why}\n"));
    }
    Ok(text)
}

/// The table of the losses.
fn losses(all: &[Losses]) -> String {
    let mut text = format!(
        "\n## Losses\n\n{} training steps on {}, and on the CPU with the same weights and images. \
         *Difference* is the largest one between two losses of a step, relative to the first loss; \
         up to {TOLERANCE} is rounding.\n\n\
         | network | first loss | last loss | on the CPU | difference | first step, s | others, s |\n\
         |---|---|---|---|---|---|---|\n",
        all[0].found.len(),
        all[0].device
    );
    for losses in all {
        let last = |all: &[f64]| all.last().copied().unwrap_or(f64::NAN);
        let verdict = if losses.agree() { "" } else { " **(too large)**" };
        text += &format!(
            "| {} | {:.4} | {:.4} | {:.4} | {:.5}{verdict} | {:.1} | {:.4} |\n",
            losses.network,
            losses.expected[0],
            last(&losses.found),
            last(&losses.expected),
            losses.difference(),
            losses.first_step_seconds,
            losses.step_seconds
        );
    }
    text
}

/// The table of batch norm's bandwidth.
fn batch_norm(rows: &[batch_norm::Row]) -> String {
    let mut text = String::from(
        "\n## Batch normalization\n\nBandwidth of the fewest passes over memory, and its share of a \
         copy's.\n\n\
         | shape | layout | pass | ms | Burn's ms | GB/s | share |\n|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let shape: Vec<_> = row.shape.iter().map(usize::to_string).collect();
        let number = |value: Option<f64>| value.map(|it| format!("{it:.2}")).unwrap_or_default();
        text += &format!(
            "| {} | {} | {} | {:.3} | {} | {:.0} | {} |\n",
            shape.join("x"),
            row.layout,
            row.pass,
            row.kernel_ms,
            number(row.reference_ms),
            row.gbps,
            number(row.copy_share)
        );
    }
    text
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

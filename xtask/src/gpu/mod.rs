//! Checks and measures a GPU with one command.
//!
//! Each part runs in a process of its own, the most valuable first, and its result is written to a
//! JSON file when it ends: a part that crashes, or the end of the time, costs only what is missing.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use models::{Architecture, Preset};
use train::{DeviceName, Error};

use crate::assets::cannot_write;
use part::Part;

mod losses;
mod page;
mod part;

/// The command's arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The device to check and measure.
    #[arg(long, default_value = "wgpu")]
    device: DeviceName,
    /// Also measures PyTorch on the same device, with this Python interpreter.
    #[arg(long, value_name = "PYTHON")]
    python: Option<PathBuf>,
    /// The time for all parts; those that did not begin or end are listed on the page.
    #[arg(long, default_value = "25", value_parser = clap::value_parser!(u16).range(1..))]
    minutes: u16,
    /// The folder for the results: a JSON file for each part, and README.md made from them.
    #[arg(long, value_name = "FOLDER", required_unless_present = "losses")]
    output: Option<PathBuf>,
    /// Two steps of LeNet-BN only: tests the command itself, on a software adapter too.
    #[arg(long)]
    quick: bool,
    /// Prints the losses of this network as JSON: one of the parts.
    #[arg(long, hide = true)]
    losses: Option<Architecture>,
    /// The number of steps for --losses.
    #[arg(long, hide = true, default_value = "50")]
    steps: usize,
}

/// Runs all parts, and writes the page after each.
pub fn run(arguments: &Arguments) -> Result<(), Error> {
    if let Some(network) = arguments.losses {
        return losses::run(network, &arguments.device, arguments.steps);
    }
    let folder = arguments.output.as_deref().expect("clap requires it");
    fs::create_dir_all(folder).map_err(|source| cannot_write(folder, source))?;
    let parts = parts(arguments);
    let end = Instant::now() + Duration::from_secs(60 * u64::from(arguments.minutes));
    let mut failed = Vec::new();
    for part in &parts {
        let left = end.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            println!("{} ({} s left)", part.name, left.as_secs());
        }
        let result = part.run(folder, end).and_then(|()| page::check_losses(part, folder));
        if let Err(why) = result {
            if !left.is_zero() {
                println!("  {why}");
            }
            failed.push((part.name.as_str(), why));
        }
        let (page, content) = (folder.join("README.md"), page::page(folder, &parts, &failed)?);
        fs::write(&page, content).map_err(|source| cannot_write(&page, source))?;
    }
    println!("results: {}", folder.join("README.md").display());
    match &failed[..] {
        [] => Ok(()),
        [(name, why), ..] => {
            Err(Error::Training(format!("{} parts failed; {name}: {why}", failed.len())))
        }
    }
}

/// All parts, the most valuable first.
fn parts(Arguments { device, python, quick, .. }: &Arguments) -> Vec<Part> {
    let part = |name: String, arguments: String| Part {
        name,
        arguments: arguments.split(' ').map(str::to_owned).collect(),
    };
    let losses = |network: Architecture, steps: usize| {
        part(
            format!("losses-{network}"),
            format!("gpu --device {device} --losses {network} --steps {steps}"),
        )
    };
    if *quick {
        return vec![losses(Architecture::LeNetBn, 2)];
    }
    let bench = |network: Architecture, preset: Preset, work: &str| {
        let mut part = part(
            format!("speed-{network}-{preset}"),
            format!(
                "bench train --device {device} --json --rounds 3 --seconds 1 --network {network} \
                 --preset {preset}{work}"
            ),
        );
        if let Some(python) = python {
            part.arguments.extend(["--against".to_owned(), python.display().to_string()]);
        }
        part
    };
    let with = |preset| {
        let all = Architecture::ALL.into_iter();
        all.filter(move |network| network.image(preset).is_ok())
    };
    let first = [Architecture::LeNetBn, Architecture::ResNet18];
    let others: Vec<_> = with(Preset::D2l).filter(|network| !first.contains(network)).collect();
    let mut parts: Vec<_> = first.map(|network| losses(network, 50)).into();
    parts.push(part("batch-norm".to_owned(), format!("bench batch-norm --device {device} --json")));
    parts.extend(first.map(|network| bench(network, Preset::D2l, "")));
    parts.extend(others.iter().map(|&network| losses(network, 50)));
    parts.extend(others.iter().map(|&network| bench(network, Preset::D2l, "")));
    parts.extend(with(Preset::Small).map(|network| bench(network, Preset::Small, "")));
    parts.push(bench(Architecture::ResNet50, Preset::Imagenet, " --work prediction"));
    parts
}

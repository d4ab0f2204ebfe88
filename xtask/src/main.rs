//! Developer tasks; `cargo xtask help` lists them.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use train::{
    DeviceName, Error,
    allocator::{MiMalloc, keep_freed_memory},
    device,
};

mod assets;
mod bench;
mod child;
mod docs;
mod fuzz;
mod gpu;
mod imports;
#[cfg(unix)]
mod kills;
mod performance;
mod reproduce;
mod torchvision;
mod web;

/// The same allocator as in `train`; the fuzzer counts its memory.
#[global_allocator]
static ALLOCATOR: fuzz::memory::Counting<MiMalloc> = fuzz::memory::Counting(MiMalloc);

/// Developer tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Chore {
    /// Measures the speed of a part of the project.
    Bench {
        #[command(subcommand)]
        part: Part,
        /// Where to compute, as for `train`.
        #[arg(long, global = true, default_value = "auto")]
        device: DeviceName,
        /// Prints a JSON array.
        #[arg(long, global = true)]
        json: bool,
    },
    /// Writes the parts of assets that come from the code and from runs: the drawings of the
    /// networks, and the excerpts and results in the notes.
    Docs,
    /// Feeds damaged files to every reader of untrusted input.
    Fuzz(fuzz::Arguments),
    /// Checks and measures a GPU: losses beside those of the CPU, batch norm's bandwidth, training
    /// and prediction of each network.
    Gpu(gpu::Arguments),
    /// Prints which files of each crate import which, and fails if they do so in a cycle.
    Imports,
    /// Kills runs and sweeps at random moments, resumes them, and checks that each ends with the
    /// same bits as an uninterrupted one. Takes a few minutes. Unix only, because it uses signals.
    #[cfg(unix)]
    Kills(kills::Arguments),
    /// Writes assets/performance.md and its chart from the files in assets/performance; with
    /// --against, measures again first.
    Performance(performance::Arguments),
    /// Trains the configs of configs/d2l, configs/cpu and configs/best, the cheapest first, and writes
    /// the results to assets/reproduce.md. Skips finished runs and resumes interrupted ones.
    Reproduce(reproduce::Arguments),
    /// Compares the networks with torchvision's, through weight files, in both directions. Needs
    /// torch, torchvision and safetensors.
    Torchvision {
        /// The Python interpreter that has these packages.
        #[arg(long, default_value = "python3")]
        python: PathBuf,
        /// The networks, by torchvision's names; if none is given, all that torchvision has.
        networks: Vec<String>,
    },
    /// Builds the web page that trains in a browser. Needs the target wasm32-unknown-unknown and
    /// wasm-bindgen-cli.
    Web(web::Arguments),
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Batch loading, compared with the training step that uses the batches.
    Data,
    /// ResNet-18 and ResNet-50 with folded batch normalization, compared with unfolded.
    Prediction,
    /// Training steps and prediction of whole networks; with --against, compared with PyTorch.
    Train(bench::train::Arguments),
    /// The batch norm kernels, compared with Burn's own operation and a plain copy.
    BatchNorm {
        /// Leaves out Burn's operation and the copy, which evict the kernels' data from the caches:
        /// for a comparison with another program that has the caches to itself.
        #[arg(long)]
        alone: bool,
        /// Adds a ReLU after the normalization, fused into the kernels' passes.
        #[arg(long)]
        relu: bool,
    },
    /// The convolution kernels, layer by layer, compared with the processor's peak FLOP/s.
    Convolution {
        /// Only layers whose name contains this text.
        #[arg(long, value_name = "NAME", default_value = "")]
        shape: String,
    },
}

fn main() -> ExitCode {
    keep_freed_memory();
    match run(Chore::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.exit_code()
        }
    }
}

fn run(chore: Chore) -> Result<(), Error> {
    match chore {
        Chore::Bench { part: Part::Data, device, json } => {
            bench::data::run(&device::choose(device)?.found, json)
        }
        Chore::Bench { part: Part::Prediction, device, json } => {
            bench::prediction::run(&device::choose(device)?.found, json);
            Ok(())
        }
        Chore::Bench { part: Part::Train(arguments), device, json } => {
            bench::train::run(&arguments, &device, json)
        }
        Chore::Bench { part: Part::Convolution { shape }, device, json } => {
            bench::convolution::run(&device::choose(device)?.found, &shape, json)
        }
        Chore::Docs => docs::run(),
        Chore::Fuzz(arguments) => fuzz::run(&arguments),
        Chore::Gpu(arguments) => gpu::run(&arguments),
        Chore::Imports => imports::run(),
        #[cfg(unix)]
        Chore::Kills(arguments) => kills::run(&arguments),
        Chore::Performance(arguments) => performance::run(&arguments),
        Chore::Reproduce(arguments) => reproduce::run(&arguments),
        Chore::Torchvision { python, networks } => torchvision::run(&python, networks),
        Chore::Web(arguments) => web::run(&arguments),
        Chore::Bench { part: Part::BatchNorm { alone, relu }, device, json } => {
            let what = bench::batch_norm::What { alone, relu };
            bench::batch_norm::run(&device::choose(device)?.found, what, json);
            Ok(())
        }
    }
}

//! Developer chores: `cargo xtask help` lists them.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use train::{
    DeviceName, Error,
    allocator::{MiMalloc, keep_freed_memory},
    device,
};

mod bench;
mod fuzz;
#[cfg(unix)]
mod kills;
mod reproduce;
mod torchvision;

/// As in `train`, counted for the fuzzing.
#[global_allocator]
static ALLOCATOR: fuzz::memory::Counting<MiMalloc> = fuzz::memory::Counting(MiMalloc);

/// Developer chores.
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
    /// Feeds damaged files to all that reads what it cannot trust.
    Fuzz(fuzz::Arguments),
    /// Kills runs and sweeps at random moments, and sees that each goes on and ends with the bits of one
    /// that was not killed. A few minutes; on Unix alone, for its signals.
    #[cfg(unix)]
    Kills(kills::Arguments),
    /// Trains the configs of configs/d2l and configs/best, the cheapest first, and writes the results
    /// to assets/reproduce.md. A run that has ended is not trained again, one that was broken off goes
    /// on.
    Reproduce(reproduce::Arguments),
    /// Compares every network that torchvision has with torchvision, through files of weights, both
    /// ways. Needs torch, torchvision and safetensors.
    Torchvision {
        /// The Python that has them.
        #[arg(long, default_value = "python3")]
        python: PathBuf,
        /// The networks, by torchvision's names; all without any.
        networks: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Making batches, beside the training step that they are made for.
    Data,
    /// ResNet-18 and ResNet-50 with their batch normalization folded, beside what they were.
    Prediction,
    /// Training steps and prediction of whole networks, beside PyTorch's if asked.
    Train(bench::train::Arguments),
    /// The batch norm kernels, beside Burn's own operation and a plain copy.
    BatchNorm {
        /// Leaves out Burn's operation and the copy, which empty the caches: for a comparison with
        /// another program, which has them for itself.
        #[arg(long)]
        alone: bool,
        /// With a ReLU after the normalization, in the kernels' own passes.
        #[arg(long)]
        relu: bool,
    },
    /// The convolution kernels, layer by layer, beside the most that the processor multiplies and adds.
    Convolution {
        /// Only layers with this in their name.
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
        Chore::Fuzz(arguments) => fuzz::run(&arguments),
        #[cfg(unix)]
        Chore::Kills(arguments) => kills::run(&arguments),
        Chore::Reproduce(arguments) => reproduce::run(&arguments),
        Chore::Torchvision { python, networks } => torchvision::run(&python, networks),
        Chore::Bench { part: Part::BatchNorm { alone, relu }, device, json } => {
            let what = bench::batch_norm::What { alone, relu };
            bench::batch_norm::run(&device::choose(device)?.found, what, json);
            Ok(())
        }
    }
}

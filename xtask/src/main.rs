//! Developer chores: `cargo xtask help` lists them.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use train::{DeviceName, Error, device};

mod bench;

/// Keeps freed memory, where the system's allocator gives large pieces back and the next use of them
/// would be timed as the work of whoever comes first.
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Making batches, beside the training step that they are made for.
    Data,
    /// The batch norm kernels, beside Burn's own operation and a plain copy.
    BatchNorm {
        /// Leaves out Burn's operation and the copy, which empty the caches: for a comparison with
        /// another program, which has them for itself.
        #[arg(long)]
        alone: bool,
        /// With a rectifier after the normalization, in the kernels' own passes.
        #[arg(long)]
        relu: bool,
    },
}

fn main() -> ExitCode {
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
        Chore::Bench { part: Part::BatchNorm { alone, relu }, device, json } => {
            let what = bench::batch_norm::What { alone, relu };
            bench::batch_norm::run(&device::choose(device)?.found, what, json);
            Ok(())
        }
    }
}

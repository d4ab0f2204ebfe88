//! The arguments of the program, and what its end tells the shell.

use std::{
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};

use crate::{Error, commands};

/// Trains convolutional networks on Fashion-MNIST, and predicts with them.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    train: TrainArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the devices of this machine that this build can use.
    Devices {
        /// Prints a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Lists the networks, with their presets, parameters and multiply-adds.
    Networks {
        /// Prints a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Lists the layers of a network: output, parameters, multiply-adds.
    Summary(SummaryArgs),
    /// Tells what images show.
    Predict(PredictArgs),
}

/// Which network to describe, and for which images.
#[derive(Debug, Args)]
pub(crate) struct SummaryArgs {
    /// The network, by a name that `train networks` prints.
    pub network: String,

    /// d2l, imagenet or small [default: the first that has the network].
    #[arg(long)]
    pub preset: Option<String>,

    /// The image, CHANNELSxHEIGHTxWIDTH [default: what the preset is made for].
    #[arg(long, value_name = "CxHxW")]
    pub input: Option<String>,

    /// Images in the batch whose memory is told.
    #[arg(long, default_value = "1")]
    pub batch: NonZeroUsize,

    /// Prints a JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Which network predicts, with which weights, on which images.
#[derive(Debug, Args)]
pub(crate) struct PredictArgs {
    /// The network, by a name that `train networks` prints.
    #[arg(long)]
    pub network: String,

    /// d2l, imagenet or small [default: imagenet where it has the network].
    #[arg(long)]
    pub preset: Option<String>,

    /// The weights: .pth or .pt of PyTorch, .safetensors, or .bpk of a run.
    #[arg(long, value_name = "FILE")]
    pub weights: PathBuf,

    /// The names of the classes, one a line [default: those of ImageNet or Fashion-MNIST].
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,

    /// How many classes to print for each image.
    #[arg(long, default_value = "5")]
    pub top: NonZeroUsize,

    /// Where to compute: auto, or a name that `train devices` prints.
    #[arg(long)]
    pub device: Option<String>,

    /// Prints a JSON array.
    #[arg(long)]
    pub json: bool,

    /// Image files: JPEG, PNG, GIF, WebP or BMP.
    #[arg(required = true)]
    pub images: Vec<PathBuf>,
}

/// What to train, and how.
#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// The config file [default: configs/quickstart.toml, built in].
    pub config: Option<PathBuf>,

    /// Changes one key of the config; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,

    /// Where to compute: auto, or a name that `train devices` prints.
    #[arg(long)]
    pub device: Option<String>,

    /// How often to go through the training images.
    #[arg(long)]
    pub epochs: Option<String>,

    /// A new folder for this run [default: runs/NETWORK-NUMBER].
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,

    /// The folder with Fashion-MNIST's four files [default: FASHION_MNIST_DIR, or the user's cache,
    /// where they are downloaded to].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl TrainArgs {
    /// All that changes the config: each argument as it was given, and as `KEY=VALUE`.
    pub fn overrides(&self) -> Vec<(String, String)> {
        let set = self.overrides.iter().map(|set| (format!("--set {set}"), set.clone()));
        let option = |name: &'static str, value: &Option<String>| {
            value.clone().map(|value| (format!("--{name} {value}"), format!("{name}={value}")))
        };
        set.chain(option("device", &self.device)).chain(option("epochs", &self.epochs)).collect()
    }
}

/// Runs the program with the arguments of its process: 0 if it did what it was asked, 2 if it was
/// asked for what cannot be, 130 if it was stopped, 1 if it failed.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        // A sentence at the end says it.
        std::panic::set_hook(Box::new(|_| {}));
    }
    let result = catch_unwind(AssertUnwindSafe(|| match cli.command {
        Some(Command::Devices { json }) => {
            commands::devices(json);
            Ok(())
        }
        Some(Command::Networks { json }) => {
            commands::networks(json);
            Ok(())
        }
        Some(Command::Summary(args)) => commands::summary(&args),
        Some(Command::Predict(args)) => commands::predict(&args),
        None => commands::train(&cli.train),
    }));
    let result = result.unwrap_or_else(|panic| Err(describe(&*panic)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.exit_code()
        }
    }
}

/// A panic below, as a sentence: a backend's way to report what it cannot do.
fn describe(panic: &(dyn std::any::Any + Send)) -> Error {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    // How burn-train's curves end the program at a key.
    if message.starts_with("Killing training") {
        return Error::Stopped(
            "stopped at once; checkpoints of earlier epochs are kept".to_owned(),
        );
    }
    Error::Training(format!("the computation failed: {message}"))
}

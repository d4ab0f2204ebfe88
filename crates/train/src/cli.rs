//! The program's arguments and exit code.

use std::{
    ffi::OsString,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};

use crate::{Error, commands, health::advise};

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
    /// Resumes an interrupted run.
    Resume(ResumeArgs),
    /// Tests the weights of a run, or of a file.
    Evaluate(EvaluateArgs),
    /// Predicts the classes of images.
    Predict(PredictArgs),
    /// Writes an HTML page about a run, or one that compares several.
    Report(ReportArgs),
    /// Writes the weights of a run in another format.
    Export(ExportArgs),
    /// Trains with every combination of some values, one run after the other; the same command
    /// resumes an interrupted sweep.
    Sweep(SweepArgs),
    /// Lets other machines compute on the devices of this one.
    ///
    /// A client needs a token: the one in the environment variable TRAIN_TOKEN or, if this is not
    /// set, a new one, which is printed with the command to run on the other machine.
    ///
    /// Serve only in a network that you trust. Nothing is encrypted, not even the token. Burn's
    /// server checks the token after the first message of a connection, which may have up to 1 GiB
    /// and may take any time: anyone who can connect can fill the memory. It does not check
    /// `Origin`, so a page in a browser on a machine that reaches the address can connect too, but
    /// cannot compute, because it does not know the token.
    #[command(verbatim_doc_comment)]
    Serve(ServeArgs),
}

/// Which run to resume.
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The run's folder.
    pub run_dir: PathBuf,

    /// The device [default: the one in the run's config].
    #[arg(long)]
    pub device: Option<String>,

    /// The folder of Fashion-MNIST's four files [default: FASHION_MNIST_DIR, or the user's cache].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Which weights to test, on which images.
#[derive(Debug, Args)]
pub(crate) struct EvaluateArgs {
    /// The folder of a run that has ended.
    #[arg(required_unless_present = "weights", conflicts_with_all = ["weights", "network"])]
    pub run_dir: Option<PathBuf>,

    /// Instead of a run: a weights file, .pth or .pt of PyTorch, .safetensors, or .bpk.
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,

    /// With --weights: the network, a name that the command `networks` prints [default: the one
    /// stored in a file of this program].
    #[arg(long)]
    pub network: Option<String>,

    /// Changes one key of the run's config, such as data.normalization; without a VALUE, removes
    /// it. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,

    /// The images: test or validation.
    #[arg(long, default_value = "test")]
    pub split: String,

    /// The device [default: the one in the run's config].
    #[arg(long)]
    pub device: Option<String>,

    /// The folder of Fashion-MNIST's four files [default: FASHION_MNIST_DIR, or the user's cache].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Prints a JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Which runs to report on.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The runs' folders.
    #[arg(required = true)]
    pub run_dirs: Vec<PathBuf>,

    /// The file to write [default: report.html, in the folder of a single run, otherwise here].
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Which weights to write, and where.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The folder of a run that has ended.
    pub run_dir: PathBuf,

    /// The file: .safetensors with PyTorch's names, or .bpk of Burn [default: model.safetensors in
    /// the run's folder].
    pub out: Option<PathBuf>,
}

/// What to train, and what to vary.
#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// The config file.
    pub config: PathBuf,

    /// The values of one key, such as optimizer.learning_rate=0.1,0.5 or seed=0,1,2; an empty value
    /// removes the key. A value may be a section, for example to give each optimizer its own
    /// learning rate:
    /// 'optimizer={name="sgd",learning_rate=0.1},{name="adamw",learning_rate=0.002}'. May be
    /// repeated.
    #[arg(long = "set", value_name = "KEY=VALUE,...", required = true)]
    pub overrides: Vec<String>,

    /// The folder for the runs: a new one, or that of this sweep to resume it [default:
    /// runs/sweep-NUMBER].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Tests the setting with the best validation accuracy, with all of its seeds; otherwise
    /// nothing is tested.
    #[arg(long)]
    pub test_best: bool,

    /// The folder of Fashion-MNIST's four files [default: FASHION_MNIST_DIR, or the user's cache].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// What to serve, and at which address.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The address to listen on; 0.0.0.0:3000 lets other machines connect.
    #[arg(long, default_value = "127.0.0.1:3000")]
    pub bind: std::net::SocketAddr,

    /// The device: auto, or a name that the command `devices` prints; a backend's name means all of
    /// its devices.
    #[arg(long)]
    pub device: Option<String>,
}

/// Which network to describe, and for which images.
#[derive(Debug, Args)]
pub(crate) struct SummaryArgs {
    /// The network, a name that the command `networks` prints.
    pub network: String,

    /// d2l, imagenet or small [default: the first that has the network].
    #[arg(long)]
    pub preset: Option<String>,

    /// The image's shape, CHANNELSxHEIGHTxWIDTH [default: the preset's].
    #[arg(long, value_name = "CxHxW")]
    pub input: Option<String>,

    /// The batch size for which the memory is printed.
    #[arg(long, default_value = "1")]
    pub batch: NonZeroUsize,

    /// Prints a JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Which network predicts, with which weights, on which images.
#[derive(Debug, Args)]
pub(crate) struct PredictArgs {
    /// The folder of a run that has ended, to use its network and weights.
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "weights",
        conflicts_with_all = ["weights", "network", "preset"]
    )]
    pub run: Option<PathBuf>,

    /// With --weights: the network, a name that the command `networks` prints [default: the one
    /// stored in a file of this program].
    #[arg(long)]
    pub network: Option<String>,

    /// d2l, imagenet or small [default: the one stored in the file, or imagenet if it has the
    /// network].
    #[arg(long)]
    pub preset: Option<String>,

    /// Instead of a run: a weights file, .pth or .pt of PyTorch, .safetensors, or .bpk of a run.
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,

    /// A file with the names of the classes, one per line [default: those stored in the weights
    /// file, or those of ImageNet or Fashion-MNIST].
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,

    /// How many classes to print for each image.
    #[arg(long, default_value = "5")]
    pub top: NonZeroUsize,

    /// The device: auto, or a name that the command `devices` prints.
    #[arg(long)]
    pub device: Option<String>,

    /// Prints a JSON array.
    #[arg(long)]
    pub json: bool,

    /// The folder of Fashion-MNIST's four files [default: FASHION_MNIST_DIR, or the user's cache].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Image files (JPEG, PNG, GIF, WebP, BMP), or numbers of Fashion-MNIST's test images, from 0.
    #[arg(required = true)]
    pub images: Vec<PathBuf>,
}

/// What to train, and how.
#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// The config file [default: configs/quickstart.toml, built in].
    pub config: Option<PathBuf>,

    /// Changes one key of the config, such as optimizer.learning_rate=0.05; without a VALUE,
    /// removes it, as in optimizer.momentum=. A different optimizer.name or schedule.name also
    /// removes the keys that it does not use. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,

    /// The device: auto, or a name that the command `devices` prints.
    #[arg(long)]
    pub device: Option<String>,

    /// The number of epochs.
    #[arg(long)]
    pub epochs: Option<String>,

    /// A new folder for this run [default: runs/NETWORK-NUMBER].
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,

    /// The folder of Fashion-MNIST's four files [default: FASHION_MNIST_DIR, or the user's cache,
    /// into which they are downloaded].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl TrainArgs {
    /// All changes to the config: each argument as given, and as `KEY=VALUE`.
    pub fn overrides(&self) -> Vec<(String, String)> {
        let set = self.overrides.iter().map(|set| (format!("--set {set}"), set.clone()));
        let option = |name: &'static str, value: &Option<String>| {
            value.clone().map(|value| (format!("--{name} {value}"), format!("{name}={value}")))
        };
        set.chain(option("device", &self.device)).chain(option("epochs", &self.epochs)).collect()
    }
}

/// Runs the program with the arguments of the process. The exit code is 0 for success, 2 for an
/// error that the user can fix, 130 after a requested stop, 1 for other failures.
pub fn run() -> ExitCode {
    run_with(std::env::args_os())
}

/// [`run`] with these arguments, the first of which is the program's name. Invalid arguments end
/// the process.
pub fn run_with(arguments: impl IntoIterator<Item: Into<OsString> + Clone>) -> ExitCode {
    let cli = Cli::parse_from(arguments);
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        // The error message at the end reports the panic.
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
        Some(Command::Resume(args)) => commands::resume(&args),
        Some(Command::Evaluate(args)) => commands::evaluate(&args),
        Some(Command::Predict(args)) => commands::predict(&args),
        Some(Command::Report(args)) => commands::report(&args),
        Some(Command::Export(args)) => commands::export(&args),
        Some(Command::Sweep(args)) => commands::sweep(&args),
        Some(Command::Serve(args)) => commands::serve(&args),
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

/// The error for a panic. Backends panic when an operation fails.
pub(crate) fn describe(panic: &(dyn std::any::Any + Send)) -> Error {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    Error::Training(format!("the computation failed: {}", advise(message)))
}

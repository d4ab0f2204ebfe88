//! Without a command: trains a network.

use std::path::PathBuf;

use clap::Args;

use super::values::changes;
use crate::{Config, Error, report, run::execute::start, stop::Stop};

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
    fn overrides(&self) -> Vec<(String, String)> {
        let mut all = changes(&self.overrides, self.device.as_deref());
        let epochs = self.epochs.iter();
        all.extend(epochs.map(|value| (format!("--epochs {value}"), format!("epochs={value}"))));
        all
    }
}

/// Trains a network and tests it.
pub(crate) fn train(args: &TrainArgs) -> Result<(), Error> {
    let config = Config::load(args.config.as_deref(), &args.overrides())?;
    let stop = Stop::at_ctrl_c();
    let run = start(&config, args.run_dir.as_deref(), args.data_dir.as_deref(), &stop)?;
    report::finish(&run)
}

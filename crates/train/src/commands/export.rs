//! The command `export`: writes the weights of a run in another format.

use std::path::PathBuf;

use burn::tensor::Device;
use clap::Args;
use models::{ConvNet, WeightsError, read_metadata};

use crate::{Config, Error, output::say, run::files};

/// Which weights to write, and where.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The folder of a run that has ended.
    pub run_dir: PathBuf,

    /// The file: .safetensors with PyTorch's names, or .bpk of Burn [default: model.safetensors in
    /// the run's folder].
    pub out: Option<PathBuf>,
}

/// Writes the weights of a run, with their description, to a separate file.
pub(crate) fn export(args: &ExportArgs) -> Result<(), Error> {
    let run = &args.run_dir;
    let weights = files::weights(run)?;
    let out = args.out.clone().unwrap_or_else(|| run.join("model.safetensors"));
    let config = Config::of_run(run, &[])?;
    let usage = |error: WeightsError| Error::Usage(error.to_string());
    let network = config.network_config().init(&Device::flex()).load(&weights).map_err(usage)?;
    // The description that the run stored with the weights.
    let metadata = read_metadata(&weights).map_err(usage)?;
    network.save_with(&out, &metadata).map_err(usage)?;
    say(format_args!("{}", out.display()));
    Ok(())
}

use burn::tensor::Device;
use models::{ConvNet, WeightsError, read_metadata};

use crate::{Config, Error, cli::ExportArgs, program, progress::say, run_dir::is_run};

/// Writes the weights of a run, with their description, to a separate file.
pub(crate) fn export(args: &ExportArgs) -> Result<(), Error> {
    let run = &args.run_dir;
    is_run(run)?;
    let weights = ended(run)?;
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

/// The weights of a run that has ended.
pub(crate) fn ended(run: &std::path::Path) -> Result<std::path::PathBuf, Error> {
    let weights = run.join("model.bpk");
    match weights.is_file() {
        true => Ok(weights),
        false => Err(Error::Usage(format!(
            "the run {} has not ended: `{}` resumes it",
            run.display(),
            program::resume(run)
        ))),
    }
}

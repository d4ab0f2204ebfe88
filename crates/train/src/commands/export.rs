use models::ConvNet;

use burn::tensor::Device;

use crate::{
    Config, Error,
    cli::ExportArgs,
    program,
    progress::say,
    run_dir::{cannot_write, is_run},
};

/// Writes the weights of a run in another format.
pub(crate) fn export(args: &ExportArgs) -> Result<(), Error> {
    let run = &args.run_dir;
    is_run(run)?;
    let weights = ended(run)?;
    let out = args.out.clone().unwrap_or_else(|| run.join("model.safetensors"));
    match out.extension().and_then(|end| end.to_str()) {
        Some("safetensors") => {
            let config = Config::load(Some(&run.join("config.toml")), &[])?;
            let network = config.network_config().init(&Device::flex());
            let usage = |error: models::WeightsError| Error::Usage(error.to_string());
            network.load(&weights).map_err(usage)?.save(&out).map_err(usage)?;
        }
        Some("bpk") => {
            std::fs::copy(&weights, &out).map_err(|source| cannot_write(&out, source))?;
        }
        _ => {
            return Err(Error::Usage(format!(
                "{}: the file's name must end in .safetensors or .bpk",
                out.display()
            )));
        }
    }
    say(format_args!("{}", out.display()));
    Ok(())
}

/// The weights of a run that has ended.
pub(crate) fn ended(run: &std::path::Path) -> Result<std::path::PathBuf, Error> {
    let weights = run.join("model.bpk");
    match weights.is_file() {
        true => Ok(weights),
        false => Err(Error::Usage(format!(
            "the run {} has not ended: `{}` goes on with it",
            run.display(),
            program::resume(run)
        ))),
    }
}

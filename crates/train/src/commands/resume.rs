use std::path::Path;

use fashion_mnist::Source;

use super::{data::load, report::write_report, train::Run};
use crate::{
    Config, Error, checkpoint,
    cli::ResumeArgs,
    device,
    progress::say,
    record::{Environment, RunResult},
    run_dir::{self, RunDir},
    stop::Stop,
};

/// Resumes an interrupted run.
pub(crate) fn resume(args: &ResumeArgs) -> Result<(), Error> {
    let path = &args.run_dir;
    if path.join("result.json").exists() {
        let _held = RunDir::open(path)?;
        // The run may have been killed while it wrote the page.
        write_report(path, &path.join("report.html"))?;
        return Err(Error::Usage(format!("the run {} has ended", path.display())));
    }
    let device = args.device.iter();
    let device: Vec<_> =
        device.map(|name| (format!("--device {name}"), format!("device={name}"))).collect();
    go_on(path, &device, args.data_dir.as_deref(), &Stop::at_ctrl_c())?;
    Ok(())
}

/// Resumes a run from its last intact checkpoint, with some changes to its config, until it ends.
/// If it has ended before, only its end is repeated.
pub(crate) fn go_on(
    path: &Path,
    changes: &[(String, String)],
    data_dir: Option<&Path>,
    stop: &Stop,
) -> Result<RunResult, Error> {
    let run = RunDir::open(path)?;
    let config = Config::of_run(path, changes)?;
    let devices = device::choose_all(&config)?;
    let data = load(&config, data_dir)?;
    let environment = run_dir::read::<Environment>(path, "environment.json")?;
    if let Some(before) = &environment
        && (before.data_source == Source::Synthetic) != (*data.source() == Source::Synthetic)
    {
        return Err(Error::Usage(format!(
            "the run began on {}, but would continue on {}: give the images with --data-dir",
            before.data_source,
            data.source()
        )));
    }
    let checkpoint = checkpoint::latest(path)?;
    if checkpoint.is_none() {
        say(format_args!("no epoch was complete: the run starts again"));
    }
    let run = Run { config: &config, run: &run, devices: &devices, data: &data, stop };
    if environment.is_none() {
        run.write_environment()?;
    }
    run.go_on(checkpoint)
}

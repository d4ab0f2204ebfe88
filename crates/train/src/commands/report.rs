use std::path::{Path, PathBuf};

use crate::{
    Error,
    cli::ReportArgs,
    progress::say,
    record::TestReport,
    report::{Run, page},
    run_dir::{is_run, read, read_lines, write_whole},
    sweep::Mean,
};

/// Writes a page about a run, or one that compares several.
pub(crate) fn report(args: &ReportArgs) -> Result<(), Error> {
    let runs = args.run_dirs.iter().map(|path| of(path)).collect::<Result<Vec<_>, _>>()?;
    let out = match (&args.out, &args.run_dirs[..]) {
        (Some(out), _) => out.clone(),
        (None, [run]) => run.join("report.html"),
        (None, _) => PathBuf::from("report.html"),
    };
    write_whole(&out, page(&runs, &[]).as_bytes())?;
    say(format_args!("{}", out.display()));
    Ok(())
}

/// Writes the page about one run.
pub(crate) fn write_report(run: &Path, out: &Path) -> Result<(), Error> {
    write_whole(out, page(&[of(run)?], &[]).as_bytes())
}

/// Writes the page that compares these runs of a sweep.
pub(crate) fn write_sweep(runs: &[PathBuf], means: &[Mean], out: &Path) -> Result<(), Error> {
    let runs = runs.iter().map(|path| of(path)).collect::<Result<Vec<_>, _>>()?;
    write_whole(out, page(&runs, means).as_bytes())
}

const TEST: &str = "test.json";

/// Reads the folder of a run.
fn of(path: &Path) -> Result<Run, Error> {
    is_run(path)?;
    let config = path.join("config.toml");
    let config = std::fs::read_to_string(&config)
        .map_err(|error| Error::Usage(format!("cannot read {}: {error}", config.display())))?;
    let test: Option<TestReport> = read(path, TEST)?;
    if let Some(Err(why)) = test.as_ref().map(TestReport::check) {
        return Err(Error::Usage(format!("{}: {why}", path.join(TEST).display())));
    }
    let name = path.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_owned()));
    Ok(Run {
        name: name.unwrap_or_else(|| path.into()).to_string_lossy().into_owned(),
        config,
        environment: read(path, "environment.json")?,
        epochs: read_lines(path, "metrics.jsonl")?,
        steps: read_lines(path, "steps.jsonl")?,
        result: read(path, "result.json")?,
        test,
    })
}

/// The HTML page of `train report` about a run, or comparing several, made from the runs' folders.
///
/// # Errors
///
/// If one is not the folder of a run, or a file in it cannot be read.
pub fn report_page(runs: &[PathBuf]) -> Result<String, Error> {
    let runs = runs.iter().map(|path| of(path)).collect::<Result<Vec<_>, _>>()?;
    Ok(page(&runs, &[]))
}

//! The command `report`: writes a page about runs.

use std::path::PathBuf;

use clap::Args;

use crate::{Error, output::say, report::write_comparison};

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

/// Writes a page about a run, or one that compares several.
pub(crate) fn report(args: &ReportArgs) -> Result<(), Error> {
    let out = match (&args.out, &args.run_dirs[..]) {
        (Some(out), _) => out.clone(),
        (None, [run]) => run.join("report.html"),
        (None, _) => PathBuf::from("report.html"),
    };
    write_comparison(&args.run_dirs, &[], &out)?;
    say(format_args!("{}", out.display()));
    Ok(())
}

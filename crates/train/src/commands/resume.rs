//! The command `resume`: resumes a run.

use std::path::PathBuf;

use clap::Args;

use super::values::changes;
use crate::{
    Error, report,
    run::{execute, files, folder::RunDir},
    stop::Stop,
};

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

/// Resumes an interrupted run.
pub(crate) fn resume(args: &ResumeArgs) -> Result<(), Error> {
    let path = &args.run_dir;
    let folder = RunDir::open(path)?;
    if files::result(path)?.is_some() {
        // The run may have been killed while it wrote the page.
        report::write_run(path)?;
        return Err(Error::Usage(format!("the run {} has ended", path.display())));
    }
    let device = changes(&[], args.device.as_deref());
    let run = execute::resume(folder, &device, args.data_dir.as_deref(), &Stop::at_ctrl_c())?;
    report::finish(&run)
}

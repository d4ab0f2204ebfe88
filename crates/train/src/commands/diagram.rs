//! The command `diagram`: draws a network.

use std::path::PathBuf;

use clap::Args;

use super::values::NetworkArgs;
use crate::{Error, output::say, run::folder::write_whole};

/// Which network to draw, and where to.
#[derive(Debug, Args)]
pub(crate) struct DiagramArgs {
    #[command(flatten)]
    pub network: NetworkArgs,

    /// The file to write [default: NETWORK.svg].
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Writes the drawing of a network.
pub(crate) fn diagram(args: &DiagramArgs) -> Result<(), Error> {
    let (preset, summary) = args.network.summary()?;
    let network = args.network.network;
    let drawing = crate::diagram::diagram(&format!("{network} ({preset})"), &summary);
    let path = args.output.clone().unwrap_or_else(|| format!("{network}.svg").into());
    write_whole(&path, drawing.as_bytes())?;
    say(format_args!("{}", path.display()));
    Ok(())
}

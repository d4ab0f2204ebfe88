//! The command `completions`: prints a script for a shell.

use std::io::Write;

use clap::{Args, Command};
use clap_complete::{Shell, generate};

/// For which shell.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    pub shell: Shell,
}

/// Prints the script that completes this program's arguments in a shell.
pub(crate) fn completions(args: &CompletionsArgs, mut program: Command) {
    let name = program.get_name().to_owned();
    let mut script = Vec::new();
    generate(args.shell, &mut program, name, &mut script);
    // As for all output, a closed standard output is no error.
    std::io::stdout().write_all(&script).ok();
}

//! Output of the program.

use std::{fmt, io::Write};

/// Prints a line. A closed standard output, such as a broken pipe, does not end a run.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    writeln!(std::io::stdout(), "{line}").ok();
}

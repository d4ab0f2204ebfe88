//! Programs that this one starts.

use std::{
    env,
    fs::{self, File},
    io,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Waits for a process to end, at most until the deadline; `None` if it has not ended by then.
pub fn wait_until(child: &mut Child, deadline: Option<Instant>) -> io::Result<Option<ExitStatus>> {
    loop {
        let status = child.try_wait()?;
        if status.is_some() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Runs this program with other arguments and writes what it prints into a file, which changes only
/// if the program succeeds. At the deadline the program is killed.
///
/// # Errors
///
/// If it fails or is killed, or the file cannot be written; the text says why.
pub fn write_output(
    arguments: &[String],
    environment: &[(&str, &str)],
    file: &Path,
    deadline: Option<Instant>,
) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", file.display());
    let unfinished = file.with_extension("part");
    let output = File::create(&unfinished).map_err(failed)?;
    let program = env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().copied());
    let mut child = command.stdin(Stdio::null()).stdout(output).spawn().map_err(failed)?;
    match wait_until(&mut child, deadline).map_err(failed)? {
        Some(status) if status.success() => fs::rename(&unfinished, file).map_err(failed),
        Some(status) => Err(format!("failed ({status})")),
        None => {
            child.kill().and_then(|()| child.wait()).map_err(failed)?;
            Err("no time left".to_owned())
        }
    }
}

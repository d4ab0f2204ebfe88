//! A part, in a process of its own.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use train::Error;

use crate::assets::cannot_write;

/// One of the checks and measurements.
pub struct Part {
    /// The name of its JSON file, without the extension.
    pub name: String,
    /// The arguments of this program.
    pub arguments: Vec<String>,
}

impl Part {
    /// The file with the result.
    pub fn file(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.json", self.name))
    }

    /// Runs the part for at most this time. `Err` in the result says why it failed.
    pub fn run(&self, folder: &Path, left: Duration) -> Result<Result<(), String>, Error> {
        let file = self.file(folder);
        if file.exists() {
            fs::remove_file(&file).map_err(|source| cannot_write(&file, source))?;
        }
        if left.is_zero() {
            return Ok(Err("no time left".to_owned()));
        }
        let unfinished = file.with_extension("part");
        let output =
            File::create(&unfinished).map_err(|source| cannot_write(&unfinished, source))?;
        let program = env::current_exe().map_err(|error| Error::Usage(error.to_string()))?;
        let mut command = Command::new(program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(output);
        let status = match wait(command, left) {
            Ok(status) => status,
            Err(error) => return Ok(Err(error.to_string())),
        };
        Ok(match status {
            Some(status) if status.success() => {
                fs::rename(&unfinished, &file).map_err(|source| cannot_write(&file, source))?;
                Ok(())
            }
            Some(status) => Err(format!("failed ({status})")),
            None => Err("no time left".to_owned()),
        })
    }
}

/// Waits for the command's end, for at most this time; then kills it and returns `None`.
fn wait(mut command: Command, left: Duration) -> std::io::Result<Option<ExitStatus>> {
    let end = Instant::now() + left;
    let mut child = command.spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_with_its_time() {
        let sleep = |seconds: &str| {
            let mut command = Command::new("sleep");
            command.arg(seconds);
            command
        };
        let start = Instant::now();
        assert!(wait(sleep("60"), Duration::from_millis(100)).unwrap().is_none());
        assert!(start.elapsed() < Duration::from_secs(30));
        assert!(wait(sleep("0"), Duration::from_secs(60)).unwrap().unwrap().success());
    }
}

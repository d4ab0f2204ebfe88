//! The folder of a run.
//!
//! ```text
//! runs/lenet_bn-1/
//!   config.toml       the config with every key                       } written at the start
//!   environment.json  versions, device, source of the images          }
//!   steps.jsonl       one line per training step     }
//!   metrics.jsonl     one line per epoch             } written during the training
//!   events.out.…      the same for TensorBoard       }
//!   checkpoints/      epoch-N/ after epoch N: the last two epochs and the one with the lowest
//!                     validation loss, each with its checksums
//!   model.bpk         the weights that the run ends with    }
//!   test.json         the test report, if tested            } written at the end
//!   result.json       the results                           }
//!   report.html       a page that shows all of it           }
//! ```

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    files::check_is_run,
    record::{Environment, RunResult, TestReport},
};
use crate::{Config, Error, program};

/// The folder of a run. While this value exists, no other program trains in the folder.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Locked. The system releases the lock however the program ends.
    _lock: File,
}

/// The file that is locked.
pub(crate) const LOCK: &str = ".lock";

/// The suffix of a file that is not complete yet.
pub(crate) const PART: &str = ".part";

impl RunDir {
    /// Creates the folder: `path`, or `runs/NETWORK-NUMBER` with the first free number. Writes the
    /// config into it.
    ///
    /// # Errors
    ///
    /// If the folder exists and is not empty, or cannot be written.
    pub fn create(path: Option<&Path>, config: &Config) -> Result<Self, Error> {
        let path = match path {
            Some(path) => {
                // A run that was killed at its start may have left these.
                if holds_other_than(path, &[LOCK, "config.toml.part"]) {
                    return Err(Error::Usage(format!(
                        "the run folder {} is not empty: choose a new one, or resume the run in it \
                         with `{}`",
                        path.display(),
                        program::resume(path)
                    )));
                }
                fs::create_dir_all(path).map_err(|source| cannot_write(path, source))?;
                path.to_owned()
            }
            None => create_numbered(Path::new("runs"), config.network.name())?,
        };
        let lock = lock(&path)?;
        let run = Self { path, _lock: lock };
        let text = toml::to_string(config).map_err(|error| Error::Training(error.to_string()))?;
        run.write("config.toml", text.as_bytes())?;
        Ok(run)
    }

    /// Opens the folder of an existing run.
    ///
    /// # Errors
    ///
    /// If there is no run, or another program is training in it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        check_is_run(path)?;
        let lock = lock(path)?;
        remove_leftovers(path);
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder of a run that cannot begin.
    pub fn discard(self) {
        let Self { path, _lock } = self;
        // On Windows, a folder with an open file cannot be removed.
        drop(_lock);
        // Other files are not the run's; if there are any, the folder stays.
        for file in ["config.toml", LOCK] {
            fs::remove_file(path.join(file)).ok();
        }
        fs::remove_dir(&path).ok();
    }

    /// Writes what is known before the run begins.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write_environment(&self, environment: &Environment) -> Result<(), Error> {
        self.write("environment.json", pretty(environment).as_bytes())
    }

    /// Writes the test report.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write_test(&self, test: &TestReport) -> Result<(), Error> {
        self.write("test.json", (json(test) + "\n").as_bytes())
    }

    /// Writes the results of the run.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write_result(&self, result: &RunResult) -> Result<(), Error> {
        self.write("result.json", pretty(result).as_bytes())
    }

    /// Writes a file atomically.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        write_whole(&self.path.join(name), content)
    }
}

/// Removes what a run that was killed while it wrote its weights has left: Burn writes them to a
/// file with a temporary name of its own.
fn remove_leftovers(run: &Path) {
    for entry in fs::read_dir(run).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("model.bpk.") && name.ends_with(".tmp") {
            fs::remove_file(entry.path()).ok();
        }
    }
}

/// Whether the folder has files other than these.
pub(crate) fn holds_other_than(folder: &Path, names: &[&str]) -> bool {
    let is_other = |entry: fs::DirEntry| names.iter().all(|name| entry.file_name() != *name);
    fs::read_dir(folder).is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(is_other)))
}

/// Writes a file. Its content has reached the disk when this returns.
pub(crate) fn write_to_disk(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Writes a file atomically: the path always has the complete old or the complete new file.
///
/// # Errors
///
/// If the file cannot be written.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<(), Error> {
    let part = with_ending(path, PART);
    let written = write_to_disk(&part, content).and_then(|()| fs::rename(&part, path));
    written.map_err(|source| {
        fs::remove_file(&part).ok();
        cannot_write(path, source)
    })
}

/// The path with a suffix after its name.
pub(crate) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Opens or creates a file, and truncates it to its first `length` bytes to append after them; to
/// fewer if some are missing, as after a power failure. `whole` returns how many of the given bytes
/// are complete lines or records. Returns the file at its new end, and its length.
pub(crate) fn open_to_grow(
    path: &Path,
    length: u64,
    whole: impl FnOnce(&[u8]) -> usize,
) -> io::Result<(File, u64)> {
    // Not `append`: on Windows, a file opened only for appending cannot be truncated.
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(length).read_to_end(&mut bytes)?;
    let found = whole(&bytes) as u64;
    if found < length {
        let missing = length - found;
        eprintln!("warning: {} has lost the last {missing} bytes", path.display());
    }
    file.set_len(found)?;
    file.seek(SeekFrom::Start(found))?;
    Ok((file, found))
}

/// Locks a folder until the file is dropped.
///
/// # Errors
///
/// If another program has locked it, or it cannot be written to.
pub(crate) fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join(LOCK);
    // Not truncated: Windows may refuse that while another program has locked it.
    let file = File::options().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|source| cannot_write(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::Usage(format!("another program is training in {}", folder.display())))
        }
        // Some file systems do not support locks.
        Err(TryLockError::Error(_)) => Ok(file),
    }
}

fn create_numbered(parent: &Path, network: &str) -> Result<PathBuf, Error> {
    fs::create_dir_all(parent).map_err(|source| cannot_write(parent, source))?;
    for number in 1.. {
        let path = parent.join(format!("{network}-{number}"));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(source) => return Err(cannot_write(&path, source)),
        }
    }
    unreachable!("there is always a next number")
}

pub(crate) fn cannot_write(path: &Path, source: io::Error) -> Error {
    Error::RunFolder { path: path.to_owned(), source }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain values are JSON")
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("plain values are JSON") + "\n"
}

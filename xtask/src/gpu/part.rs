//! A part, in a process of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use crate::child;

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

    /// Runs the part, at most until the deadline. The result of an earlier run is removed first.
    ///
    /// # Errors
    ///
    /// If there is no result; the text says why.
    pub fn run(&self, folder: &Path, deadline: Instant) -> Result<(), String> {
        let file = self.file(folder);
        if file.exists() {
            fs::remove_file(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        if Instant::now() >= deadline {
            return Err("no time left".to_owned());
        }
        child::write_output(&self.arguments, &[], &file, Some(deadline))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_part_without_time_leaves_no_result() {
        let folder = tempfile::tempdir().unwrap();
        let part = Part { name: "a".to_owned(), arguments: vec!["help".to_owned()] };
        fs::write(part.file(folder.path()), "of an earlier run").unwrap();
        let past = Instant::now() - Duration::from_millis(1);
        assert_eq!(part.run(folder.path(), past), Err("no time left".to_owned()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

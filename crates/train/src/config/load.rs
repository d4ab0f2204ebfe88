//! Reads a config.

use std::path::{Path, PathBuf};

use super::{
    message::{locate, readable},
    schema::Config,
    set::key_of,
};
use crate::Error;

/// The config of a run without a config file.
const QUICKSTART: &str = include_str!("../../../../configs/quickstart.toml");

impl Config {
    /// Reads `path`, or the built-in quickstart if it is `None`, then applies the overrides: the
    /// name of each for messages, and `KEY=VALUE`. An empty value removes the key.
    ///
    /// A different `optimizer.name` or `schedule.name` also removes the keys of the file that it
    /// does not use.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or the file or an override is not valid.
    pub fn load(path: Option<&Path>, overrides: &[(String, String)]) -> Result<Self, Error> {
        let (file, text) = match path {
            Some(path) => (path.to_owned(), read(path)?),
            None => (PathBuf::from("configs/quickstart.toml"), QUICKSTART.to_owned()),
        };
        let mut config: Self =
            toml::from_str(&text).map_err(|error| Error::Usage(locate(&file, &text, &error)))?;
        let asked: Vec<&str> = overrides.iter().map(|(_, assignment)| key_of(assignment)).collect();
        for (name, assignment) in overrides {
            config = config
                .with(assignment, &asked)
                .map_err(|why| Error::Usage(format!("{name}: {}", readable(&why))))?;
        }
        match config.check() {
            Ok(()) => Ok(config),
            // An override may be the cause, not a line of the file.
            Err((_, why)) if !overrides.is_empty() => Err(Error::Usage(why)),
            Err((key, why)) => {
                let line = text.lines().position(|line| line.trim_start().starts_with(key));
                let line = line.map(|index| format!(":{}", index + 1)).unwrap_or_default();
                Err(Error::Usage(format!("{}{line}: {why}", file.display())))
            }
        }
    }

    /// Reads the config of a run from the run's folder; see [`load`](Self::load).
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn of_run(run: &Path, overrides: &[(String, String)]) -> Result<Self, Error> {
        Self::load(Some(&run.join("config.toml")), overrides)
    }
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => {
                " (the configs that come with this program are in configs/)"
            }
            _ => "",
        };
        Error::Usage(format!("cannot read the config {}: {error}{hint}", path.display()))
    })
}

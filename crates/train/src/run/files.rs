//! Reads the files of a run.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use fashion_mnist::Source;
use serde::de::DeserializeOwned;

use super::record::{Environment, RunResult, TestReport};
use crate::{
    Error, program,
    training::{Epoch, Step},
};

/// The content of a run's folder. What does not exist yet is `None` or empty: a run in progress has
/// no result, for example.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFiles {
    /// The folder's name.
    pub name: String,
    /// The text of `config.toml`.
    pub config: String,
    /// From `environment.json`.
    pub environment: Option<Environment>,
    /// From `metrics.jsonl`.
    pub epochs: Vec<Epoch>,
    /// From `steps.jsonl`.
    pub steps: Vec<Step>,
    /// From `result.json`.
    pub result: Option<RunResult>,
    /// From `test.json`.
    pub test: Option<TestReport>,
}

const CONFIG: &str = "config.toml";
const TEST: &str = "test.json";

impl RunFiles {
    /// Reads the folder of a run.
    ///
    /// # Errors
    ///
    /// If it is not the folder of a run, or a file in it cannot be read.
    pub fn read(path: &Path) -> Result<Self, Error> {
        check_is_run(path)?;
        // First: if the run ends meanwhile, all other files are of the end too, or a later reading
        // finds the result.
        let result = result(path)?;
        let config = path.join(CONFIG);
        let config = fs::read_to_string(&config).map_err(|error| unreadable(&config, &error))?;
        let test: Option<TestReport> = read(path, TEST)?;
        if let Some(Err(why)) = test.as_ref().map(TestReport::check) {
            return Err(Error::Usage(format!("{}: {why}", path.join(TEST).display())));
        }
        let name = path.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_owned()));
        Ok(Self {
            name: name.unwrap_or_else(|| path.into()).to_string_lossy().into_owned(),
            config,
            environment: environment(path)?,
            epochs: read_lines(path, "metrics.jsonl")?,
            steps: read_lines(path, "steps.jsonl")?,
            result,
            test,
        })
    }

    /// The device on which the run ended or, if it has not, on which it began, and its own name.
    pub fn device(&self) -> Option<(&str, Option<&str>)> {
        if let Some(result) = &self.result {
            return Some((&result.device, result.device_model.as_deref()));
        }
        let environment = self.environment.as_ref()?;
        Some((&environment.device, environment.device_model.as_deref()))
    }

    /// Where the images come from.
    pub fn data_source(&self) -> Option<&Source> {
        let result = self.result.as_ref().map(|result| &result.data_source);
        result.or_else(|| Some(&self.environment.as_ref()?.data_source))
    }

    /// Whether the images are synthetic.
    pub fn is_synthetic(&self) -> bool {
        self.data_source() == Some(&Source::Synthetic)
    }
}

/// Whether this is the folder of a run.
pub(crate) fn is_run(path: &Path) -> bool {
    path.join(CONFIG).is_file()
}

/// Checks that this is the folder of a run.
///
/// # Errors
///
/// If it is not.
pub(crate) fn check_is_run(path: &Path) -> Result<(), Error> {
    if is_run(path) {
        return Ok(());
    }
    let path = path.display();
    Err(Error::Usage(format!("{path} is not the folder of a run: there is no config.toml in it")))
}

/// The weights of a run that has ended.
pub(crate) fn weights(run: &Path) -> Result<PathBuf, Error> {
    check_is_run(run)?;
    let weights = run.join("model.bpk");
    if weights.is_file() {
        Ok(weights)
    } else {
        Err(Error::Usage(format!(
            "the run {} has not ended: `{}` resumes it",
            run.display(),
            program::resume(run)
        )))
    }
}

/// What was known before the run began; `None` if it has not been written yet.
pub(crate) fn environment(run: &Path) -> Result<Option<Environment>, Error> {
    read(run, "environment.json")
}

/// The results of a run; `None` if it has not ended.
pub(crate) fn result(run: &Path) -> Result<Option<RunResult>, Error> {
    read(run, "result.json")
}

/// Reads a file of a folder; `None` if it does not exist.
///
/// # Errors
///
/// If it cannot be read.
pub(crate) fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<Option<T>, Error> {
    let path = folder.join(name);
    let Some(text) = read_text(&path)? else { return Ok(None) };
    let value = serde_json::from_str(&text);
    value.map(Some).map_err(|error| Error::Usage(format!("{}: {error}", path.display())))
}

/// Reads the complete lines of a run's file; none if the run has not written it yet.
fn read_lines<T: DeserializeOwned>(run: &Path, name: &str) -> Result<Vec<T>, Error> {
    let path = run.join(name);
    let text = read_text(&path)?.unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().enumerate().map(|(index, line)| {
        serde_json::from_str(line)
            .map_err(|error| Error::Usage(format!("{}:{}: {error}", path.display(), index + 1)))
    });
    lines.collect()
}

/// The text of a file; `None` if it does not exist.
fn read_text(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::Usage(format!("cannot read {}: {error}", path.display()))
}

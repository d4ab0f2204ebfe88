use std::{path::PathBuf, process::ExitCode};

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The person who called the program asked for what cannot be: a config, an option, a device.
    #[error("{0}")]
    Usage(String),

    /// The images cannot be had.
    #[error(transparent)]
    Data(#[from] fashion_mnist::Error),

    /// The run's folder cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    RunFolder {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },

    /// Training began and did not end well.
    #[error("{0}")]
    Training(String),

    /// The person who called the program stopped it.
    #[error("{0}")]
    Stopped(String),
}

impl Error {
    /// 2 for what the caller can mend, 130 for a stop at the caller's wish, 1 for the rest.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Data(_) | Self::RunFolder { .. } => ExitCode::from(2),
            Self::Training(_) => ExitCode::FAILURE,
            Self::Stopped(_) => ExitCode::from(130),
        }
    }
}

use std::{path::PathBuf, process::ExitCode};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is not possible, because of a config, an option or a device, for example.
    #[error("{0}")]
    Usage(String),

    /// The images are not available.
    #[error(transparent)]
    Data(#[from] fashion_mnist::Error),

    /// The run's folder cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    RunFolder {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },

    /// The training, or another computation, failed.
    #[error("{0}")]
    Training(String),

    /// The user stopped the program.
    #[error("{0}")]
    Stopped(String),
}

impl Error {
    /// 2 for an error that the user can fix, 130 for a requested stop, 1 for the rest.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Data(_) | Self::RunFolder { .. } => ExitCode::from(2),
            Self::Training(_) => ExitCode::FAILURE,
            Self::Stopped(_) => ExitCode::from(130),
        }
    }
}

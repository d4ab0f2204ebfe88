//! Why Fashion-MNIST is not available.

use std::{fmt, io, path::PathBuf};

use crate::idx::IdxError;

/// Environment variable that names the directory of the files.
pub(crate) const DIR_VARIABLE: &str = "FASHION_MNIST_DIR";

/// The web page with the files.
const HOMEPAGE: &str = "https://github.com/zalandoresearch/fashion-mnist";

/// Why Fashion-MNIST is not available. The message says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No directory was named, and this user has no cache directory.
    #[error(
        "no directory for Fashion-MNIST: this user has no cache directory. \
         Name one with FASHION_MNIST_DIR"
    )]
    NoDirectory,

    /// The given directory does not exist.
    #[error("there is no directory {} ({origin})", dir.display())]
    NoSuchDirectory {
        /// The directory.
        dir: PathBuf,
        /// Who chose it.
        origin: Origin,
    },

    /// Files are missing, in a directory that nothing is downloaded into.
    #[error("{} ({origin}) lacks {}. {}", dir.display(), files.join(", "), how_to_add(*origin))]
    Missing {
        /// The directory.
        dir: PathBuf,
        /// Who chose it.
        origin: Origin,
        /// Names of the missing files, without `.gz`.
        files: Vec<&'static str>,
    },

    /// No mirror delivered a file.
    #[error(
        "cannot download {file}:\n  {}\nPut the four files from {HOMEPAGE} into {}, or name their \
         directory with FASHION_MNIST_DIR",
        failures.join("\n  "), dir.display()
    )]
    Download {
        /// The directory for the download.
        dir: PathBuf,
        /// Name of the file.
        file: String,
        /// A line for each mirror: its address, and what went wrong.
        failures: Vec<String>,
    },

    /// The cache directory cannot be created or written to.
    #[error(
        "cannot save downloads in {}: {error}. \
         Name another directory with FASHION_MNIST_DIR",
        dir.display()
    )]
    Store {
        /// The cache directory.
        dir: PathBuf,
        /// What the system said.
        error: io::Error,
    },

    /// A file exists but cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },

    /// A file exists but is not the published one.
    #[error(
        "{} is not the published Fashion-MNIST file: {fault}. \
         Replace it with the file from {HOMEPAGE}",
        path.display()
    )]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The difference.
        fault: Fault,
    },
}

impl Error {
    /// Whether the data set is merely unavailable: no directory was named, and it could not be
    /// downloaded. A caller may then continue without it. Otherwise there is an error to fix: a
    /// named directory does not have the files, or a file is damaged.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::NoDirectory | Self::Download { .. } | Self::Store { .. } => true,
            Self::Missing { origin, .. } => *origin == Origin::Cache,
            Self::NoSuchDirectory { .. } | Self::Read { .. } | Self::Wrong { .. } => false,
        }
    }
}

/// How a file differs from the published one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The name ends in `.gz`, but the file is not a gzip file.
    #[error("it is not a gzip file, although its name ends in .gz")]
    NotGzip,
    /// The compressed stream ends early.
    #[error("the gzip file is cut short, perhaps after an interrupted copy")]
    TruncatedGzip,
    /// The compressed stream cannot be decoded, or does not match its own checksum.
    #[error("the gzip file is corrupt")]
    CorruptGzip,
    /// Not an IDX file with these contents.
    #[error(transparent)]
    Idx(#[from] IdxError),
    /// Another number of images or labels.
    #[error("its header claims {found} items, but the published file has {expected}")]
    Count {
        /// The number its header claims.
        found: u32,
        /// The number in the published file.
        expected: u32,
    },
    /// MNIST, whose files have the same names and sizes.
    #[error("it holds the handwritten digits of MNIST")]
    Digits,
    /// Well-formed, but different.
    #[error(
        "it differs from the published file, perhaps after a faulty copy: \
         unpacked, its SHA-256 is {found}, not {expected}"
    )]
    Digest {
        /// SHA-256 of the unpacked file, in hexadecimal digits.
        found: String,
        /// SHA-256 of the published file, unpacked.
        expected: &'static str,
    },
}

fn how_to_add(origin: Origin) -> String {
    let why = match origin {
        // Only a program built without downloads gets here.
        Origin::Cache => "This program was built without its feature `download`. ",
        Origin::Argument | Origin::Environment => "",
    };
    format!("{why}Put the files from {HOMEPAGE} there, packed (.gz) or unpacked")
}

/// Who chose a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The caller.
    Argument,
    /// The environment variable `FASHION_MNIST_DIR`.
    Environment,
    /// Nobody: it is the default, `fashion-mnist` in the user's cache directory.
    Cache,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument => f.write_str("the directory given"),
            Self::Environment => write!(f, "named by {DIR_VARIABLE}"),
            Self::Cache => f.write_str("the cache directory"),
        }
    }
}

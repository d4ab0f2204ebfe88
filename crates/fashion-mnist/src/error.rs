use std::{io, path::PathBuf};

use crate::{files::Origin, idx::IdxError};

/// Where people find the files.
const HOMEPAGE: &str = "https://github.com/zalandoresearch/fashion-mnist";

/// Why there is no Fashion-MNIST to be had. The message says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No directory was named, and this user has no cache directory.
    #[error(
        "no directory for Fashion-MNIST: this user has no cache directory. \
         Name one with FASHION_MNIST_DIR"
    )]
    NoDirectory,

    /// There is no directory of the name given.
    #[error("there is no directory {} ({origin})", dir.display())]
    NoSuchDirectory {
        /// The name.
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
        "cannot download {file}:\n  {}\nPut the four files of {HOMEPAGE} into {}, or name the \
         directory they are in with FASHION_MNIST_DIR",
        failures.join("\n  "), dir.display()
    )]
    Download {
        /// The directory it would have been put into.
        dir: PathBuf,
        /// Name of the file.
        file: String,
        /// A line for each mirror: its address, and what went wrong.
        failures: Vec<String>,
    },

    /// The cache directory cannot be made or written to.
    #[error(
        "cannot keep downloads in {}: {error}. \
         Name another directory with FASHION_MNIST_DIR",
        dir.display()
    )]
    Store {
        /// The cache directory.
        dir: PathBuf,
        /// What the system said.
        error: io::Error,
    },

    /// A file is there, and cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },

    /// A file is there, and is not the published one.
    #[error(
        "{} is not Fashion-MNIST's: {fault}. Replace it by the file of {HOMEPAGE}",
        path.display()
    )]
    Wrong {
        /// The file.
        path: PathBuf,
        /// In what it differs.
        fault: Fault,
    },
}

impl Error {
    /// Whether the data set is merely not there: nobody named a directory for it, and it could not
    /// be downloaded. A caller may then do without it. Otherwise there is something to mend: a
    /// directory was named that does not hold the files, or a file is broken.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::NoDirectory | Self::Download { .. } | Self::Store { .. } => true,
            Self::Missing { origin, .. } => *origin == Origin::Cache,
            Self::NoSuchDirectory { .. } | Self::Read { .. } | Self::Wrong { .. } => false,
        }
    }
}

/// In what a file differs from the published one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The name ends in `.gz`, the contents are something else.
    #[error("it is not a gzip file, as its name says")]
    NotGzip,
    /// The compressed stream ends early.
    #[error("the gzip file is cut short, as after an interrupted copy")]
    TruncatedGzip,
    /// The compressed stream does not decode, or not to its own checksum.
    #[error("the gzip file is corrupt")]
    CorruptGzip,
    /// Not an IDX file of this kind.
    #[error(transparent)]
    Idx(#[from] IdxError),
    /// Another number of images or labels.
    #[error("its header claims {found} items, and the published file holds {expected}")]
    Count {
        /// The number its header claims.
        found: u32,
        /// The number in the published file.
        expected: u32,
    },
    /// MNIST, whose files have the same names and sizes.
    #[error("it holds the handwritten digits of MNIST")]
    Digits,
    /// Well-formed, and yet different.
    #[error(
        "it differs from the published file, as after a faulty copy: \
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
        // Only a program that cannot download gets here.
        Origin::Cache => "This program was built without its feature `download`. ",
        Origin::Argument | Origin::Environment => "",
    };
    format!("{why}Put the files of {HOMEPAGE} there, packed (.gz) or unpacked")
}

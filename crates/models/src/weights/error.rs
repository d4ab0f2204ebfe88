//! What may go wrong.

use std::{fmt, path::PathBuf};

use super::formats::printable;

/// Why weights cannot be loaded or saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file does not exist, does not have the format of its name, or is damaged.
    #[error("cannot read the weights {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file's entries do not fit the network.
    #[error("the weights {} do not fit this network:{mismatch}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// All entries that do not fit.
        mismatch: Box<Mismatch>,
    },
    /// The file cannot be written.
    #[error("cannot write the weights {}: {reason}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
}

/// All entries of a file that do not fit a network. `Display` shortens long lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Entries that the network has and the file does not.
    pub missing: Vec<String>,
    /// Entries that the file has and the network does not.
    pub unexpected: Vec<String>,
    /// Entries with different shapes in file and network: name, shape in the file, in the network.
    pub shapes: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Entries that are not floating-point numbers, but should be.
    pub types: Vec<String>,
    /// Options that would make the file fit.
    pub hints: Vec<Hint>,
}

/// An option that would make a file fit a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// The classifier is for other classes: [`LoadOptions::with_new_classifier`](crate::LoadOptions::with_new_classifier).
    NewClassifier,
    /// The weights are for color images: [`LoadOptions::with_grayscale`](crate::LoadOptions::with_grayscale).
    Grayscale,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NewClassifier => {
                "the classifier is for other classes: to train a new one, load with \
                 `LoadOptions::with_new_classifier`"
            }
            Self::Grayscale => {
                "the weights are for color images: to use grayscale images, load with \
                 `LoadOptions::with_grayscale`"
            }
        })
    }
}

impl Mismatch {
    pub(super) fn is_empty(&self) -> bool {
        self.missing.is_empty()
            && self.unexpected.is_empty()
            && self.shapes.is_empty()
            && self.types.is_empty()
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 6;
        let mut list = |what: &str, items: &[String]| {
            if items.is_empty() {
                return Ok(());
            }
            let shown = items.iter().take(SHOWN).map(|item| printable(item));
            let shown = shown.collect::<Vec<_>>().join(", ");
            let more = match items.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            write!(f, "\n  {what} ({}): {shown}{more}", items.len())
        };
        let shapes = self.shapes.iter();
        let shapes = shapes.map(|(name, file, network)| {
            format!("{name} is {file:?} in the file, {network:?} in the network")
        });
        list("missing", &self.missing)?;
        list("unexpected", &self.unexpected)?;
        list("different shape", &shapes.collect::<Vec<_>>())?;
        list("not floating-point", &self.types)?;
        self.hints.iter().try_for_each(|hint| write!(f, "\n  {hint}"))
    }
}

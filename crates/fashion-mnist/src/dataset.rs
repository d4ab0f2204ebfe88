//! The data set.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::{Class, Error, Files, FilesInMemory, Images, RawData, Split, synthetic};

/// The data set in its three parts.
#[derive(Clone, Debug)]
pub struct FashionMnist {
    train: Images,
    validation: Images,
    test: Images,
    source: Source,
}

/// The source of images. Its displayed text can be parsed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The published files, their SHA-256 checked, in this directory, or `memory`.
    FashionMnist(PathBuf),
    /// Drawn by this crate.
    Synthetic,
}

impl FashionMnist {
    /// Reads the data set from `dir`, or from where [`Files::find`] finds or downloads it: 60,000
    /// images to train on, 10,000 to test on.
    ///
    /// # Errors
    ///
    /// If a file is missing and cannot be downloaded, or is not the published one.
    pub fn find(dir: Option<&Path>) -> Result<Self, Error> {
        let files = Files::find(dir)?;
        Ok(Self::new(files.read()?, files.directory().to_owned()))
    }

    /// The data set in four files that are in memory; `None` if one is missing.
    pub fn from_memory(files: FilesInMemory) -> Option<Self> {
        Some(Self::new(files.into_raw_data()?, "memory".into()))
    }

    fn new(raw: RawData, source: PathBuf) -> Self {
        Self {
            train: Images::new(raw.train_images, raw.train_labels),
            validation: Images::default(),
            test: Images::new(raw.test_images, raw.test_labels),
            source: Source::FashionMnist(source),
        }
    }

    /// Synthetic data of the same form: ten kinds of shapes, drawn with noise, in the same numbers.
    /// The same on every machine and in every call.
    pub fn synthetic() -> Self {
        Self {
            train: synthetic::draw(60_000, 0),
            validation: Images::default(),
            test: synthetic::draw(10_000, 1),
            source: Source::Synthetic,
        }
    }

    /// Holds out `count` of the training images for validation, as [`Images::hold_out`] does.
    ///
    /// # Panics
    ///
    /// If `count` is more than there are training images.
    pub fn hold_out(self, count: usize, seed: u64) -> Self {
        let (train, validation) = self.train.hold_out(count, seed);
        Self { train, validation, ..self }
    }

    /// The images of one part. There are none for validation before [`hold_out`](Self::hold_out).
    pub fn split(&self, split: Split) -> &Images {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        }
    }

    /// Where the images come from.
    pub fn source(&self) -> &Source {
        &self.source
    }
}

/// The displayed texts of a source.
const FASHION_MNIST: &str = "Fashion-MNIST from ";
const SYNTHETIC: &str = "synthetic data, not Fashion-MNIST";

impl Source {
    /// The names of the ten classes, by label.
    pub fn class_names(&self) -> [&'static str; 10] {
        match self {
            Self::FashionMnist(_) => Class::ALL.map(Class::name),
            Self::Synthetic => synthetic::SHAPES,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FashionMnist(dir) => write!(f, "{FASHION_MNIST}{}", dir.display()),
            Self::Synthetic => f.write_str(SYNTHETIC),
        }
    }
}

impl FromStr for Source {
    type Err = String;

    /// Parses the displayed text.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix(FASHION_MNIST) {
            Some(dir) => Ok(Self::FashionMnist(dir.into())),
            None if text == SYNTHETIC => Ok(Self::Synthetic),
            None => Err(format!("`{text}`: expected `{FASHION_MNIST}DIR` or `{SYNTHETIC}`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synthetic_data_is_the_same_each_time_balanced_and_never_called_fashion_mnist() {
        let images = synthetic::draw(100, 0);
        assert_eq!(images, synthetic::draw(100, 0));
        assert_ne!(images, synthetic::draw(100, 1));
        for label in 0..10 {
            assert_eq!(images.labels().iter().filter(|&&found| found == label).count(), 10);
        }
        assert!(Source::Synthetic.to_string().contains("synthetic"));
        for source in [Source::Synthetic, Source::FashionMnist("a/synthetic one".into())] {
            assert_eq!(source.to_string().parse(), Ok(source));
        }
        for name in Source::Synthetic.class_names() {
            assert!(name.starts_with("synthetic"), "{name}");
        }
    }
}

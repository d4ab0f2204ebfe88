//! The images.

use fashion_mnist::{FashionMnist, FilesInMemory, Images, Source, Split};

/// The number of images that are held out for validation, as in the desktop program's configs.
pub(crate) const VALIDATION: usize = 5000;
/// The seed that chooses them.
pub(crate) const SPLIT_SEED: u64 = 0;

/// Fashion-MNIST, or synthetic images in its place. The images of the validation split are those of
/// the desktop program.
pub struct Data(FashionMnist);

impl Data {
    /// Synthetic images, in the same numbers.
    pub fn synthetic() -> Self {
        Self::new(FashionMnist::synthetic())
    }

    /// Fashion-MNIST; `None` if one of its files is missing.
    pub fn from_files(files: FilesInMemory) -> Option<Self> {
        FashionMnist::from_memory(files).map(Self::new)
    }

    fn new(data: FashionMnist) -> Self {
        Self(data.hold_out(VALIDATION, SPLIT_SEED))
    }

    /// Whether the images are synthetic.
    pub fn is_synthetic(&self) -> bool {
        *self.0.source() == Source::Synthetic
    }

    /// The names of the ten classes.
    pub fn class_names(&self) -> [&'static str; 10] {
        self.0.source().class_names()
    }

    /// The images to train on.
    pub(crate) fn train(&self) -> &Images {
        self.0.split(Split::Train)
    }

    /// The images to validate on.
    pub(crate) fn validation(&self) -> &Images {
        self.0.split(Split::Validation)
    }

    /// The pixels and the label of a test image, to look at. `index` may be any number.
    pub fn test_image(&self, index: usize) -> (&[u8], u8) {
        let images = self.0.split(Split::Test);
        let index = index % images.images();
        (images.pixels(index), images.labels()[index])
    }
}

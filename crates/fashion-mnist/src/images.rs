//! Images in memory.

use std::sync::Arc;

use burn::data::dataset::{Dataset, DatasetError};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// Height and width of an image, in pixels.
pub const SIDE: usize = 28;

/// Number of pixels of an image.
pub const PIXELS: usize = SIDE * SIDE;

/// Grayscale images with their labels, in memory as bytes.
///
/// Cheap to clone. As Burn's [`Dataset`] it gives single [`Item`]s, for a custom batcher or to
/// inspect an image:
///
/// ```no_run
/// use burn::data::dataset::Dataset;
/// use fashion_mnist::{Class, FashionMnist, Item, Split};
///
/// let data = FashionMnist::find(None)?;
/// let Item { pixels, label } = data.split(Split::Test).get(0)?;
/// println!("{:?}, its middle is {}", Class::from_label(label), pixels[14 * 28 + 14]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    pixels: Arc<[u8]>,
    labels: Arc<[u8]>,
    /// The position of each image in its file.
    positions: Arc<[u32]>,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Row by row from the top left, from 0 (background) to 255.
    pub pixels: [u8; PIXELS],
    /// The class, from 0 to 9.
    pub label: u8,
}

impl Images {
    /// # Panics
    ///
    /// If the number of pixels does not match the number of labels.
    pub(crate) fn new(pixels: Vec<u8>, labels: Vec<u8>) -> Self {
        assert_eq!(pixels.len(), labels.len() * PIXELS, "pixels and labels do not match");
        let positions = (0..labels.len() as u32).collect();
        Self { pixels: pixels.into(), labels: labels.into(), positions }
    }

    /// The number of images.
    pub fn images(&self) -> usize {
        self.labels.len()
    }

    /// The labels, from 0 to 9, in order.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// The pixels of image `index`, row by row.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub fn pixels(&self, index: usize) -> &[u8] {
        &self.pixels[index * PIXELS..][..PIXELS]
    }

    /// The position of image `index` among all the images of its file, counted from 0, also in a
    /// part of the images.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub fn position(&self, index: usize) -> usize {
        self.positions[index] as usize
    }

    /// The first `count` images, or all if there are fewer.
    pub fn first(&self, count: usize) -> Self {
        self.select(&(0..count.min(self.images())).collect::<Vec<_>>())
    }

    /// Holds out `count` images for validation: `(the rest, those held out)`.
    ///
    /// The same share of each class, up to rounding, is drawn at random. The same seed gives the
    /// same images. Both parts keep the order of the whole.
    ///
    /// # Panics
    ///
    /// If `count` is more than there are images.
    pub fn hold_out(&self, count: usize, seed: u64) -> (Self, Self) {
        let n = self.images();
        assert!(count <= n, "cannot hold out {count} of {n} images");

        // Shuffled, then sorted by class (a stable sort), the images form ten rows, one per class,
        // each in random order. Images at equal distances are the same share of each row.
        let mut indices: Vec<usize> = (0..n).collect();
        indices.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        indices.sort_by_key(|&index| self.labels[index]);
        let mut held_out: Vec<usize> = (0..count).map(|i| indices[i * n / count]).collect();
        held_out.sort_unstable();

        let is_held_out = |index: &usize| held_out.binary_search(index).is_ok();
        let rest: Vec<usize> = (0..n).filter(|index| !is_held_out(index)).collect();
        (self.select(&rest), self.select(&held_out))
    }

    /// The images at these positions, in this order.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub fn select(&self, indices: &[usize]) -> Self {
        Self {
            pixels: indices.iter().flat_map(|&index| self.pixels(index)).copied().collect(),
            labels: indices.iter().map(|&index| self.labels[index]).collect(),
            positions: indices.iter().map(|&index| self.positions[index]).collect(),
        }
    }
}

impl Dataset<Item> for Images {
    fn get(&self, index: usize) -> Result<Item, DatasetError> {
        let mut pixels = [0; PIXELS];
        pixels.copy_from_slice(self.pixels(index));
        Ok(Item { pixels, label: self.labels[index] })
    }

    fn len(&self) -> usize {
        self.images()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One image per label, each filled with its own number.
    fn numbered(labels: Vec<u8>) -> Images {
        let pixels = (0..labels.len()).flat_map(|index| [index as u8; PIXELS]).collect();
        Images::new(pixels, labels)
    }

    fn numbers(images: &Images) -> Vec<u8> {
        (0..images.images()).map(|index| images.pixels(index)[0]).collect()
    }

    #[test]
    fn the_data_set_gives_items_and_says_their_number() {
        let images = numbered(vec![3, 1, 4]);
        let dataset: &dyn Dataset<Item> = &images;
        assert_eq!(dataset.len(), 3);
        assert_eq!(dataset.get(2).unwrap(), Item { pixels: [2; PIXELS], label: 4 });
        assert_eq!(numbers(&images.first(2)), [0, 1]);
        assert_eq!(images.first(9).images(), 3);
    }

    #[test]
    fn a_hold_out_takes_the_same_share_of_each_class_and_nothing_twice() {
        // 60, 30 and 10 images of three classes, mixed.
        let images = numbered((0..100).map(|i| [0, 0, 1, 0, 1, 0, 0, 1, 0, 2][i % 10]).collect());
        let (rest, held_out) = images.hold_out(20, 7);
        let count = |label| held_out.labels().iter().filter(|&&found| found == label).count();
        assert_eq!([count(0), count(1), count(2)], [12, 6, 2]);

        let mut all = [numbers(&rest), numbers(&held_out)].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<u8>>());
        assert!(numbers(&rest).is_sorted() && numbers(&held_out).is_sorted());
    }

    #[test]
    fn an_image_keeps_its_position_in_the_file() {
        let images = numbered((0..100).map(|i| i % 10).collect());
        let (rest, held_out) = images.hold_out(30, 1);
        let again = rest.hold_out(20, 2).0.first(40);
        for part in [&images, &rest, &held_out, &again] {
            let positions: Vec<usize> = (0..part.images()).map(|i| part.position(i)).collect();
            let numbers: Vec<usize> = numbers(part).into_iter().map(usize::from).collect();
            assert_eq!(positions, numbers);
        }
    }

    #[test]
    fn the_seed_decides_the_hold_out() {
        let images = numbered((0..200).map(|i| i % 10).collect());
        let held_out = |seed| numbers(&images.hold_out(50, seed).1);
        assert_eq!(held_out(1), held_out(1));
        assert_ne!(held_out(1), held_out(2));
    }

    #[test]
    fn a_hold_out_may_take_nothing_or_everything() {
        let images = numbered(vec![0, 1, 2]);
        assert_eq!(images.hold_out(0, 0).0.images(), 3);
        assert_eq!(images.hold_out(3, 0).0.images(), 0);
    }
}

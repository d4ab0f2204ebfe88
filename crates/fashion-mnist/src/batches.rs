use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderIterator, Progress},
        dataset::DatasetError,
    },
    tensor::{DType, Device, Int, Tensor, TensorData},
};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{Augment, Images, Normalization, PIXELS, SIDE, augment::Draws};

/// Images on the device, ready for a network.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Normalized pixels, `[batch, 1, side, side]`.
    pub images: Tensor<4>,
    /// Classes from 0 to 9, `[batch]`. For a mixed image, the class of the image itself, even if
    /// its share is small.
    pub labels: Tensor<1, Int>,
    /// The images mixed in by mixup or CutMix.
    pub mix: Option<Mix>,
}

/// The images mixed into those of a batch.
///
/// The target of a mixed image is `share * one_hot(batch.labels) + (1 - share) * one_hot(labels)`.
#[derive(Clone, Debug)]
pub struct Mix {
    /// Classes of the images mixed in, `[batch]`.
    pub labels: Tensor<1, Int>,
    /// Share of the images themselves, from 0 to 1; those mixed in have the rest.
    pub share: f64,
}

impl Batch {
    /// Splits the batch for several devices into `parts` parts, the first ones larger by one image
    /// if necessary, or into single images if there are fewer images than parts.
    ///
    /// # Panics
    ///
    /// If `parts` is 0.
    pub fn split(&self, parts: usize) -> Vec<Self> {
        assert!(parts > 0, "a batch cannot be split into 0 parts");
        let n = self.labels.dims()[0];
        let parts = parts.min(n);
        let start = |part: usize| part * (n / parts) + part.min(n % parts);
        let part = |range: Range<usize>| Self {
            images: self.images.clone().slice(range.clone()),
            labels: self.labels.clone().slice(range.clone()),
            mix: self.mix.clone().map(|mix| Mix { labels: mix.labels.slice(range), ..mix }),
        };
        (0..parts).map(|index| part(start(index)..start(index + 1))).collect()
    }

    /// The same batch on another device.
    pub fn to_device(self, device: &Device) -> Self {
        let mix = |mix: Mix| Mix { labels: mix.labels.to_device(device), ..mix };
        Self {
            images: self.images.to_device(device),
            labels: self.labels.to_device(device),
            mix: self.mix.map(mix),
        }
    }
}

/// Makes batches on the device.
///
/// The images are there as bytes from the start. A batch is gathered, converted to floats,
/// augmented and resized there, so that the host sends only the order of the images, once per
/// epoch, and the random choices of an augmentation.
///
/// It implements Burn's [`DataLoader`] for burn-train: every call of `iter` is the next epoch. The
/// order of an epoch depends only on the seed and its number; see [`epoch`](Self::epoch).
///
/// ```no_run
/// use std::sync::Arc;
///
/// use burn::{data::dataloader::DataLoader, tensor::Device};
/// use fashion_mnist::{Batch, BatchLoader, FashionMnist, Split};
///
/// let data = FashionMnist::find(None)?;
/// let device = Device::default();
/// let loader = BatchLoader::new(data.split(Split::Train), 256, &device).shuffled(0);
/// let loader: Arc<dyn DataLoader<Batch>> = Arc::new(loader); // for burn-train
///
/// // How burn-train splits it, for the second of two devices.
/// let images = loader.num_items();
/// let second = loader.slice(images / 2, images).to_device(&device);
/// # Ok::<(), fashion_mnist::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BatchLoader {
    /// `[images, PIXELS / 4]`: four pixels per integer, because not every GPU supports bytes.
    pixels: Tensor<2, Int>,
    /// `[images]`
    labels: Tensor<1, Int>,
    batch_size: usize,
    shuffle: Option<u64>,
    /// `[1, 1, side, SIDE]`, if the side differs from that of the images.
    resize: Option<Tensor<4>>,
    normalization: Normalization,
    /// With its seed.
    augment: Option<(Augment, u64)>,
    /// The range of the images in use.
    range: Range<usize>,
    /// Shared with copies on other devices, which continue with the next epoch of this one.
    next_epoch: Arc<AtomicU64>,
}

impl BatchLoader {
    /// Batches of `batch_size` images in the order of the data set, the last one smaller if
    /// necessary; images are 28 pixels wide, with values from 0 to 1.
    ///
    /// # Panics
    ///
    /// If the batch size is 0.
    pub fn new(images: &Images, batch_size: usize, device: &Device) -> Self {
        assert!(batch_size > 0, "a batch needs at least one image");
        let n = images.images();
        let words = (0..n).flat_map(|index| images.pixels(index).chunks_exact(4));
        let words: Vec<i32> = words
            .map(|bytes| i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect();
        let labels: Vec<i32> = images.labels().iter().map(|&label| label.into()).collect();
        Self {
            pixels: Tensor::from_data(
                TensorData::new(words, [n, PIXELS / 4]),
                (device, DType::I32),
            ),
            labels: Tensor::from_data(TensorData::new(labels, [n]), device),
            batch_size,
            shuffle: None,
            resize: None,
            normalization: Normalization::UNIT,
            augment: None,
            range: 0..n,
            next_epoch: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Shuffled differently in each epoch, from this seed.
    pub fn shuffled(mut self, seed: u64) -> Self {
        self.shuffle = Some(seed);
        self
    }

    /// Resized to `side` x `side` pixels: bilinear, without aligned corners, as in PyTorch.
    ///
    /// # Panics
    ///
    /// If the side is 0.
    pub fn resized(mut self, side: usize) -> Self {
        assert!(side > 0, "an image needs at least one pixel");
        let weights = TensorData::new(bilinear_weights(side), [1, 1, side, SIDE]);
        self.resize = (side != SIDE).then(|| Tensor::from_data(weights, &self.pixels.device()));
        self
    }

    /// Normalized with these values in place of [`Normalization::UNIT`].
    pub fn normalized(mut self, normalization: Normalization) -> Self {
        self.normalization = normalization;
        self
    }

    /// Augmented at random, differently in each epoch, from this seed.
    ///
    /// # Panics
    ///
    /// If the crop's padding is 28 pixels or more, a probability is not from 0 to 1, or an alpha is
    /// negative or not finite.
    pub fn augmented(mut self, augment: Augment, seed: u64) -> Self {
        augment.check();
        self.augment = Some((augment, seed));
        self
    }

    /// The batches of one epoch, counted from 0. The same epoch always gives the same batches.
    pub fn epoch(&self, epoch: u64) -> Batches {
        let mut order: Vec<usize> = self.range.clone().collect();
        if let Some(seed) = self.shuffle {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(epoch);
            order.shuffle(&mut rng);
        }
        let indices: Vec<i32> = order.iter().map(|&index| index as i32).collect();
        let n = indices.len();
        let device = self.pixels.device();
        Batches {
            loader: self.clone(),
            order,
            indices: Tensor::from_data(TensorData::new(indices, [n]), &device),
            // The first bit of each of an integer's four bytes.
            shifts: Tensor::from_data(
                TensorData::new(vec![0i32, 8, 16, 24], [1, 1, 4]),
                (&device, DType::I32),
            ),
            draws: self.augment.map(|(augment, seed)| Draws { augment, seed, epoch }),
            last: 0..0,
        }
    }
}

/// The weight of each of a row's `SIDE` pixels in each of the `side` pixels that it is resized to,
/// row by row: a resized image is this matrix, times the image, times the matrix transposed.
///
/// Burn's own `interpolate` (0.22.1) gives the same on the CPU, but darkens the borders on wgpu.
fn bilinear_weights(side: usize) -> Vec<f32> {
    let mut weights = vec![0.0; side * SIDE];
    for (index, row) in weights.chunks_exact_mut(SIDE).enumerate() {
        // Both rows have the same length, and positions are pixel centers.
        let center = (index as f32 + 0.5) * SIDE as f32 / side as f32 - 0.5;
        let center = center.clamp(0.0, (SIDE - 1) as f32);
        let left = center as usize;
        let share = center - left as f32;
        row[left] += 1.0 - share;
        row[(left + 1).min(SIDE - 1)] += share;
    }
    weights
}

impl DataLoader<Batch> for BatchLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        Box::new(self.epoch(self.next_epoch.fetch_add(1, Ordering::Relaxed)))
    }

    fn num_items(&self) -> usize {
        self.range.len()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(Self {
            pixels: self.pixels.clone().to_device(device),
            labels: self.labels.clone().to_device(device),
            resize: self.resize.clone().map(|weights| weights.to_device(device)),
            ..self.clone()
        })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Batch>> {
        let range = self.range.start + start..self.range.start + end;
        assert!(range.end <= self.range.end, "{start}..{end} of {} images", self.range.len());
        Arc::new(Self { range, next_epoch: Arc::new(AtomicU64::new(0)), ..self.clone() })
    }
}

/// The batches of one epoch; see [`BatchLoader::epoch`].
#[derive(Debug)]
pub struct Batches {
    loader: BatchLoader,
    order: Vec<usize>,
    /// The order, on the device.
    indices: Tensor<1, Int>,
    shifts: Tensor<3, Int>,
    draws: Option<Draws>,
    /// The range of the last batch in the order.
    last: Range<usize>,
}

impl Batches {
    /// The images of the last batch, as their positions in the loader's [`Images`]. There are none
    /// before the first batch.
    pub fn indices(&self) -> &[usize] {
        &self.order[self.last.clone()]
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let BatchLoader { pixels, labels, batch_size, resize, normalization, range, .. } =
            &self.loader;
        let start = self.last.end;
        let end = range.len().min(start + batch_size);
        if start == end {
            return None;
        }
        self.last = start..end;

        let indices = self.indices.clone().slice(start..end);
        let words = pixels.clone().select(0, indices.clone()); // [b, 196]
        let bytes = words.unsqueeze_dim::<3>(2).bitwise_right_shift(self.shifts.clone());
        let bytes = bytes.bitwise_and_scalar(0xff); // [b, 196, 4]
        let mut images = bytes.reshape([end - start, 1, SIDE, SIDE]).float();
        let labels = labels.clone().select(0, indices);

        let augment = self.draws.as_ref().map(|draws| {
            let changes = self.indices().iter().map(|&index| draws.image(index));
            (draws, changes.collect::<Vec<_>>())
        });
        if let Some((draws, changes)) = &augment {
            images = draws.erase(draws.move_pixels(images, changes), changes);
        }
        let Normalization { mean, std } = *normalization;
        images = (images - 255.0 * mean) * (1.0 / (255.0 * std));
        let mut mix = None;
        if let Some((draws, _)) = &augment
            && let Some(mixing) = draws.batch(range.start + start)
        {
            images = mixing.apply(images);
            mix = Some(Mix { labels: labels.clone().flip([0]), share: mixing.share() });
        }
        let images = match resize {
            Some(weights) => weights.clone().matmul(images).matmul(weights.clone().transpose()),
            None => images,
        };
        Some(Ok(Batch { images, labels, mix }))
    }
}

impl DataLoaderIterator<Batch> for Batches {
    fn progress(&self) -> Progress {
        Progress::new(self.last.end, self.order.len(), Some("images".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tolerance;

    use super::*;
    use crate::synthetic;

    fn labels(batches: impl Iterator<Item = Result<Batch, DatasetError>>) -> Vec<Vec<i64>> {
        let labels = batches.map(|batch| batch.unwrap().labels.into_data());
        labels.map(|data| data.convert::<i64>().try_into_vec().unwrap()).collect()
    }

    #[test]
    fn batches_hold_the_pixels_in_order_and_the_last_one_what_is_left() {
        let images = synthetic::draw(10, 0);
        for (name, device) in test_devices::all() {
            let loader = BatchLoader::new(&images, 4, &device);
            let batches: Vec<_> = loader.iter().map(Result::unwrap).collect();
            let sizes: Vec<_> = batches.iter().map(|batch| batch.images.dims()).collect();
            assert_eq!(sizes, [[4, 1, 28, 28], [4, 1, 28, 28], [2, 1, 28, 28]], "{name}");

            let pixels = Tensor::cat(batches.iter().map(|batch| batch.images.clone()).collect(), 0);
            let pixels: Vec<f32> = pixels.into_data().convert::<f32>().try_into_vec().unwrap();
            let bytes = (0..10).flat_map(|index| images.pixels(index));
            for (pixel, &byte) in pixels.iter().zip(bytes) {
                let expected = f32::from(byte) / 255.0;
                assert!((pixel - expected).abs() < 1e-6, "{name}: {pixel}, not {expected}");
            }
            let expected = vec![vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]];
            assert_eq!(labels(loader.epoch(0)), expected, "{name}");
        }
    }

    #[test]
    fn images_and_labels_are_shuffled_alike() {
        let images = synthetic::draw(50, 0);
        for (name, device) in test_devices::all() {
            for batch in BatchLoader::new(&images, 8, &device).shuffled(3).iter() {
                let Batch { images: pixels, labels, .. } = batch.unwrap();
                let labels: Vec<i64> = labels.into_data().convert::<i64>().try_into_vec().unwrap();
                for (row, label) in labels.into_iter().enumerate() {
                    let row = pixels.clone().slice(row..row + 1) * 255.0;
                    let row: Vec<f32> = row.into_data().convert::<f32>().try_into_vec().unwrap();
                    let is_row = |index: &usize| {
                        let bytes = images.pixels(*index).iter();
                        bytes.zip(&row).all(|(&byte, value)| (f32::from(byte) - value).abs() < 0.1)
                    };
                    let index = (0..50).find(is_row).expect("an image of the data set");
                    assert_eq!(i64::from(images.labels()[index]), label, "{name}");
                }
            }
        }
    }

    #[test]
    fn the_order_depends_on_seed_and_epoch_alone() {
        let images = synthetic::draw(64, 0);
        let device = Device::flex();
        let loader = |seed| BatchLoader::new(&images, 64, &device).shuffled(seed);
        let order = |loader: &BatchLoader, epoch| labels(loader.epoch(epoch)).remove(0);

        let first = loader(1);
        let [zero, one] = [order(&first, 0), order(&first, 1)];
        assert_ne!(zero, one);
        assert_eq!(one, order(&loader(1), 1), "whatever came before");
        assert_ne!(zero, order(&loader(2), 0));

        // As in burn-train: each call of `iter` is the next epoch, also after a move.
        let moved = first.to_device(&device);
        assert_eq!(labels(moved.iter()).remove(0), zero);
        assert_eq!(labels(moved.iter()).remove(0), one);

        let mut sorted = one.clone();
        sorted.sort_unstable();
        let mut all: Vec<i64> = images.labels().iter().map(|&label| label.into()).collect();
        all.sort_unstable();
        assert_eq!(sorted, all);
    }

    #[test]
    fn the_indices_are_those_of_the_batch() {
        let images = synthetic::draw(30, 0);
        let loader = BatchLoader::new(&images, 8, &Device::flex()).shuffled(2);
        let mut batches = loader.epoch(5);
        assert!(batches.indices().is_empty());
        let mut seen = Vec::new();
        while let Some(batch) = batches.next() {
            let pixels = (batch.unwrap().images * 255.0).into_data();
            let bytes: Vec<u8> =
                batches.indices().iter().flat_map(|&index| images.pixels(index)).copied().collect();
            let expected = TensorData::new(bytes, pixels.shape().clone()).convert::<f32>();
            pixels.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-3));
            seen.extend_from_slice(batches.indices());
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..30).collect::<Vec<_>>());
    }

    #[test]
    fn parts_of_a_batch_are_nearly_equal_and_make_the_whole() {
        let images = synthetic::draw(11, 0);
        let mixup = Augment { mixup: 1.0, ..Augment::default() };
        for (name, device) in test_devices::all() {
            let loader = BatchLoader::new(&images, 11, &device).augmented(mixup, 0);
            let batch = loader.epoch(0).next().unwrap().unwrap();
            let mix = batch.mix.clone().unwrap();
            for (parts, sizes) in
                [(1, vec![11]), (3, vec![4, 4, 3]), (4, vec![3, 3, 3, 2]), (20, vec![1; 11])]
            {
                let parts = batch.split(parts);
                let found: Vec<usize> = parts.iter().map(|part| part.images.dims()[0]).collect();
                assert_eq!(found, sizes, "{name}");
                let part_mix = |part: &Batch| part.mix.clone().unwrap();
                assert!(parts.iter().all(|part| part_mix(part).share == mix.share));
                let images = parts.iter().map(|part| part.images.clone()).collect();
                let labels = parts.iter().map(|part| part.labels.clone()).collect();
                let others = parts.iter().map(|part| part_mix(part).labels).collect();
                assert_eq!(Tensor::cat(images, 0).into_data(), batch.images.to_data(), "{name}");
                assert_eq!(Tensor::cat(labels, 0).into_data(), batch.labels.to_data(), "{name}");
                assert_eq!(Tensor::cat(others, 0).into_data(), mix.labels.to_data(), "{name}");
            }
        }
    }

    #[test]
    fn a_batch_is_the_same_on_another_device() {
        let loader = BatchLoader::new(&synthetic::draw(4, 0), 4, &Device::flex());
        let loader = loader.augmented(Augment { cutmix: 1.0, ..Augment::default() }, 0);
        let batch = loader.epoch(0).next().unwrap().unwrap();
        for (name, device) in test_devices::all() {
            let moved = batch.clone().to_device(&device);
            let [mix, moved_mix] = [&batch, &moved].map(|batch| batch.mix.clone().unwrap());
            assert_eq!(moved.images.device(), device);
            assert_eq!(moved_mix.labels.device(), device);
            assert_eq!(moved.images.into_data(), batch.images.to_data(), "{name}");
            assert_eq!(moved.labels.into_data(), batch.labels.to_data(), "{name}");
            assert_eq!(moved_mix.labels.into_data(), mix.labels.into_data(), "{name}");
            assert_eq!(moved_mix.share, mix.share);
        }
    }

    #[test]
    fn slices_part_the_images_among_devices() {
        let images = synthetic::draw(10, 0);
        let loader = BatchLoader::new(&images, 10, &Device::flex());
        let slices = [loader.slice(0, 4), loader.slice(4, 10)];
        assert_eq!(slices.each_ref().map(|slice| slice.num_items()), [4, 6]);
        assert_eq!(labels(slices[1].iter()), [[4, 5, 6, 7, 8, 9]]);
        assert_eq!(labels(slices[1].slice(1, 3).iter()), [[5, 6]]);
    }

    #[test]
    fn progress_counts_images() {
        let loader = BatchLoader::new(&synthetic::draw(10, 0), 4, &Device::flex());
        let mut batches = loader.iter();
        let counts = [4, 8, 10].map(|_| {
            batches.next();
            batches.progress().items_processed
        });
        assert_eq!(counts, [4, 8, 10]);
        assert!(batches.progress().is_completed() && batches.next().is_none());
    }

    #[test]
    fn normalized_pixels_have_the_mean_and_deviation_that_they_should() {
        let images = synthetic::draw(100, 0);
        for (name, device) in test_devices::all() {
            let pixels = |normalization| {
                let loader = BatchLoader::new(&images, 100, &device).normalized(normalization);
                loader.epoch(0).next().unwrap().unwrap().images
            };
            let (variance, mean) = pixels(Normalization::UNIT).flatten::<1>(0, 3).var_mean(0);
            let normalization = Normalization {
                mean: mean.into_scalar::<f32>(),
                std: variance.sqrt().into_scalar::<f32>(),
            };
            let (variance, mean) = pixels(normalization).flatten::<1>(0, 3).var_mean(0);
            assert!(mean.into_scalar::<f32>().abs() < 1e-4, "{name}");
            assert!((variance.into_scalar::<f32>() - 1.0).abs() < 1e-4, "{name}");
        }
    }

    /// `tests/reference.py` made the expected values with PyTorch's `interpolate`.
    #[test]
    fn resizing_is_pytorchs() {
        let reference: serde_json::Value =
            serde_json::from_str(include_str!("../tests/reference.json")).unwrap();
        // The formula of the script.
        let pixels = (0..PIXELS).map(|i| ((i * i * 7 + i * 13) % 256) as u8).collect();
        let images = Images::new(pixels, vec![0]);
        for (name, device) in test_devices::all() {
            for side in [14, 32, 96] {
                let loader = BatchLoader::new(&images, 1, &device).resized(side);
                let resized = loader.epoch(0).next().unwrap().unwrap().images;
                assert_eq!(resized.dims(), [1, 1, side, side]);
                let row = resized.slice([0..1, 0..1, side / 3..side / 3 + 1]).into_data();
                let expected: Vec<f32> =
                    serde_json::from_value(reference[side.to_string()].clone()).unwrap();
                let expected = TensorData::new(expected, [1, 1, 1, side]);
                eprintln!("{name}, {side} pixels");
                row.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
            }
        }
    }
}

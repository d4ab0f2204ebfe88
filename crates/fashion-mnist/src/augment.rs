//! Random augmentation of training images: drawn on the host, applied on the device.

use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution};

use crate::{Normalization, PIXELS, SIDE};

/// Random augmentation of training images, applied on the device.
///
/// It is applied in the order of the fields, at 28 x 28 pixels. The first three are drawn for each
/// image, only from the seed, the epoch and the image's position in the data set. Mixup or CutMix
/// is drawn for a whole batch, from the seed, the epoch and the position in the epoch's order where
/// the batch starts; the first image is mixed with the last one, the second with the last but one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Augment {
    /// Pixels of black padding on each side of the image before a random crop of 28 x 28 pixels, as
    /// in torchvision's `RandomCrop(28, padding)`; below 28, 0 is off.
    pub crop: usize,
    /// Whether an image is flipped left to right with probability 1/2.
    pub flip: bool,
    /// Probability of Random Erasing (Zhong et al., [Random Erasing Data
    /// Augmentation](https://arxiv.org/abs/1708.04896), 2017), from 0 to 1: a rectangle is filled
    /// with the mean of the training images, under any normalization; the paper found the mean
    /// about as good as random pixels. Black would be the background. The rectangle has 2 % to 33 %
    /// of the area and is 0.3 to 3.3 times as high as wide, on a logarithmic scale: torchvision's
    /// ranges. The paper's areas go to 40 %.
    pub erase: f64,
    /// Alpha of mixup (Zhang et al., [mixup: Beyond Empirical Risk
    /// Minimization](https://arxiv.org/abs/1710.09412), 2017): two images are added, with shares
    /// from Beta(alpha, alpha); 0 is off.
    pub mixup: f64,
    /// Alpha of CutMix (Yun et al., [CutMix: Regularization Strategy to Train Strong Classifiers
    /// with Localizable Features](https://arxiv.org/abs/1905.04899), 2019): a box of one image is
    /// filled from another, with a share of the area from Beta(alpha, alpha); 0 is off. With mixup
    /// on as well, each batch uses one of the two, with probability 1/2 each.
    pub cutmix: f64,
}

impl Augment {
    /// # Panics
    ///
    /// If a value is out of its range.
    pub(crate) fn check(&self) {
        let Self { crop, flip: _, erase, mixup, cutmix } = *self;
        assert!(crop < SIDE, "crop must be below {SIDE} pixels, not {crop}");
        assert!((0.0..=1.0).contains(&erase), "erase must be from 0 to 1, not {erase}");
        for alpha in [mixup, cutmix] {
            assert!(
                alpha >= 0.0 && alpha.is_finite(),
                "alpha must be finite and not negative, not {alpha}"
            );
        }
    }
}

/// The random choices of one epoch.
#[derive(Clone, Debug)]
pub(crate) struct Draws {
    pub(crate) augment: Augment,
    pub(crate) seed: u64,
    pub(crate) epoch: u64,
}

/// The random choices for one image.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Change {
    /// The crop's first row in the padded image.
    pub(crate) top: usize,
    /// The crop's first column there.
    pub(crate) left: usize,
    pub(crate) flip: bool,
    pub(crate) erase: Option<Rectangle>,
}

/// The random choices for one batch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mixing {
    /// Mixup with this share of the image itself.
    Mixup(f64),
    /// CutMix with this box from the other image.
    CutMix(Rectangle),
}

/// A part of an image.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rectangle {
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
}

impl Draws {
    /// The choices for the image at this position in the data set.
    pub(crate) fn image(&self, position: usize) -> Change {
        let mut rng = self.rng(0, position);
        let Augment { crop, flip, erase, .. } = self.augment;
        Change {
            top: rng.random_range(0..=2 * crop),
            left: rng.random_range(0..=2 * crop),
            flip: flip && rng.random(),
            erase: rng.random_bool(erase).then(|| Rectangle::to_erase(&mut rng)),
        }
    }

    /// The choices for the batch that starts at this position in the epoch's order.
    pub(crate) fn batch(&self, start: usize) -> Option<Mixing> {
        let mut rng = self.rng(1, start);
        let Augment { mixup, cutmix, .. } = self.augment;
        let is_mixup = match (mixup > 0.0, cutmix > 0.0) {
            (false, false) => return None,
            (true, true) => rng.random(),
            (mixup, _) => mixup,
        };
        let alpha = if is_mixup { mixup } else { cutmix };
        let share = Beta::new(alpha, alpha).expect("alpha is positive").sample(&mut rng);
        Some(if is_mixup {
            Mixing::Mixup(share)
        } else {
            Mixing::CutMix(Rectangle::to_fill(1.0 - share, &mut rng))
        })
    }

    /// An independent random number generator: these four numbers are its whole key.
    fn rng(&self, purpose: u64, place: usize) -> ChaCha8Rng {
        let mut key = [0; 32];
        let numbers = [self.seed, self.epoch, purpose, place as u64];
        key.copy_from_slice(numbers.map(u64::to_le_bytes).as_flattened());
        ChaCha8Rng::from_seed(key)
    }

    /// Crops and flips images `[b, 1, SIDE, SIDE]` in which black is 0.
    pub(crate) fn move_pixels(&self, images: Tensor<4>, changes: &[Change]) -> Tensor<4> {
        let Augment { crop, flip, .. } = self.augment;
        if crop == 0 && !flip {
            return images;
        }
        // Index of a pixel's source: where its row starts, plus its column. After the image there
        // is a black pixel; a row or a column of the padding points there, or further.
        let source = |line: usize| line.checked_sub(crop).filter(|&line| line < SIDE);
        let (mut rows, mut columns) = (Vec::new(), Vec::new());
        for change in changes {
            for line in 0..SIDE {
                let row = source(change.top + line).map_or(PIXELS, |row| row * SIDE);
                let line = if change.flip { SIDE - 1 - line } else { line };
                let column = source(change.left + line).unwrap_or(PIXELS);
                rows.push(row as i32);
                columns.push(column as i32);
            }
        }
        let (b, device) = (changes.len(), images.device());
        let rows: Tensor<3, Int> = Tensor::from_data(TensorData::new(rows, [b, SIDE, 1]), &device);
        let columns: Tensor<3, Int> =
            Tensor::from_data(TensorData::new(columns, [b, 1, SIDE]), &device);
        let indices = (rows + columns).clamp_max(PIXELS as i32).reshape([b, PIXELS]);

        let black = Tensor::<2>::zeros([b, 1], &device);
        let pixels = Tensor::cat(vec![images.reshape([b, PIXELS]), black], 1);
        pixels.gather(1, indices).reshape([b, 1, SIDE, SIDE])
    }

    /// Erases rectangles of images `[b, 1, SIDE, SIDE]` with pixels from 0 to 255.
    pub(crate) fn erase(&self, images: Tensor<4>, changes: &[Change]) -> Tensor<4> {
        if self.augment.erase == 0.0 {
            return images;
        }
        // 1 for the rows and columns of the rectangle; their product is 1 inside it.
        let (mut rows, mut columns) = (Vec::new(), Vec::new());
        for change in changes {
            let crosses = |lines: fn(&Rectangle) -> &Range<usize>, line| {
                change.erase.as_ref().is_some_and(|erased| lines(erased).contains(&line))
            };
            for line in 0..SIDE {
                rows.push(f32::from(crosses(|erased| &erased.rows, line)));
                columns.push(f32::from(crosses(|erased| &erased.columns, line)));
            }
        }
        let (b, device) = (changes.len(), images.device());
        let rows: Tensor<4> = Tensor::from_data(TensorData::new(rows, [b, 1, SIDE, 1]), &device);
        let columns: Tensor<4> =
            Tensor::from_data(TensorData::new(columns, [b, 1, 1, SIDE]), &device);
        let erased = rows * columns; // 1 in the rectangle, 0 elsewhere
        let mean = 255.0 * Normalization::STANDARD.mean;
        images * (-erased.clone() + 1.0) + erased * mean
    }
}

impl Mixing {
    /// Mixes images `[b, 1, SIDE, SIDE]`, each with the one at the same position from the end.
    pub(crate) fn apply(&self, images: Tensor<4>) -> Tensor<4> {
        let others = images.clone().flip([0]);
        match self {
            Self::Mixup(share) => images * *share + others * (1.0 - share),
            Self::CutMix(filled) if filled.area() == 0 => images,
            Self::CutMix(Rectangle { rows, columns }) => {
                let b = images.dims()[0];
                let filled = [0..b, 0..1, rows.clone(), columns.clone()];
                images.slice_assign(filled.clone(), others.slice(filled))
            }
        }
    }

    /// The share of the image itself, from 0 to 1.
    pub(crate) fn share(&self) -> f64 {
        match self {
            Self::Mixup(share) => *share,
            Self::CutMix(filled) => 1.0 - filled.area() as f64 / PIXELS as f64,
        }
    }
}

impl Rectangle {
    /// As in the paper of Random Erasing, draws until the rectangle fits in the image.
    fn to_erase(rng: &mut impl Rng) -> Self {
        loop {
            let area = rng.random_range(0.02..=0.33) * PIXELS as f64;
            let aspect = rng.random_range(0.3f64.ln()..=3.3f64.ln()).exp();
            let height = (area * aspect).sqrt().round() as usize;
            let width = (area / aspect).sqrt().round() as usize;
            if height <= SIDE && width <= SIDE {
                let top = rng.random_range(0..=SIDE - height);
                let left = rng.random_range(0..=SIDE - width);
                return Self { rows: top..top + height, columns: left..left + width };
            }
        }
    }

    /// As in the paper of CutMix: a square around a pixel, clipped to the image.
    fn to_fill(share: f64, rng: &mut impl Rng) -> Self {
        let half = (SIDE as f64 * share.sqrt()) as usize / 2;
        let mut lines = || {
            let center = rng.random_range(0..SIDE);
            center.saturating_sub(half)..SIDE.min(center + half)
        };
        Self { rows: lines(), columns: lines() }
    }

    pub(crate) fn area(&self) -> usize {
        self.rows.len() * self.columns.len()
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tolerance};

    use super::*;
    use crate::{Batch, BatchLoader, Images, synthetic};

    const ALL: Augment = Augment { crop: 4, flip: true, erase: 0.5, mixup: 0.2, cutmix: 1.0 };
    /// The augmentation of single images.
    const SINGLE: Augment = Augment { mixup: 0.0, cutmix: 0.0, ..ALL };
    const OFF: Augment = Augment { crop: 0, flip: false, erase: 0.0, mixup: 0.0, cutmix: 0.0 };

    fn draws(augment: Augment) -> Draws {
        Draws { augment, seed: 1, epoch: 2 }
    }

    fn values(images: Tensor<4>) -> Vec<f32> {
        images.into_data().try_into_vec().unwrap()
    }

    fn classes(labels: Tensor<1, Int>) -> Vec<i64> {
        labels.into_data().convert::<i64>().try_into_vec().unwrap()
    }

    /// Mean and variance.
    fn moments(values: &[f64]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n)
    }

    /// The reference, image by image and pixel by pixel on the host.
    fn naive(images: &Images, batch: &[usize], start: usize, draws: &Draws) -> Vec<f32> {
        let Normalization { mean, std } = Normalization::STANDARD;
        let crop = draws.augment.crop;
        let side = SIDE + 2 * crop;
        let single = |index: usize| {
            let change = draws.image(index);
            let mut bordered = vec![vec![0; side]; side];
            for (row, bytes) in images.pixels(index).chunks_exact(SIDE).enumerate() {
                bordered[crop + row][crop..crop + SIDE].copy_from_slice(bytes);
            }
            let mut rows: Vec<Vec<f32>> = bordered[change.top..][..SIDE]
                .iter()
                .map(|row| row[change.left..][..SIDE].iter())
                .map(|row| row.map(|&byte| (f32::from(byte) / 255.0 - mean) / std).collect())
                .collect();
            if change.flip {
                rows.iter_mut().for_each(|row| row.reverse());
            }
            if let Some(Rectangle { rows: lines, columns }) = change.erase {
                rows[lines].iter_mut().for_each(|row| row[columns.clone()].fill(0.0));
            }
            rows.concat()
        };
        let own: Vec<Vec<f32>> = batch.iter().map(|&index| single(index)).collect();
        let mut mixed = own.clone();
        for (pixels, other) in mixed.iter_mut().zip(own.iter().rev()) {
            match draws.batch(start) {
                None => (),
                Some(Mixing::Mixup(share)) => {
                    for (pixel, &other) in pixels.iter_mut().zip(other) {
                        *pixel =
                            (f64::from(*pixel) * share + f64::from(other) * (1.0 - share)) as f32;
                    }
                }
                Some(Mixing::CutMix(Rectangle { rows, columns })) => {
                    for row in rows {
                        for column in columns.clone() {
                            pixels[row * SIDE + column] = other[row * SIDE + column];
                        }
                    }
                }
            }
        }
        mixed.concat()
    }

    #[test]
    fn a_device_makes_the_pixels_that_the_host_expects() {
        let images = synthetic::draw(21, 0);
        let augments = [
            OFF,
            Augment { crop: 3, ..OFF },
            Augment { crop: 27, ..OFF },
            Augment { flip: true, ..OFF },
            Augment { erase: 1.0, ..OFF },
            SINGLE,
            Augment { mixup: 0.0, ..ALL },
            Augment { cutmix: 0.0, ..ALL },
            ALL,
        ];
        for (name, device) in test_devices::all() {
            for augment in augments {
                let loader =
                    BatchLoader::new(&images, 5, &device).shuffled(0).augmented(augment, 1);
                let loader = loader.normalized(Normalization::STANDARD);
                // The last batch is a single image.
                let mut batches = loader.epoch(2);
                for start in [0, 5, 10, 15, 20] {
                    let Batch { images: pixels, labels, mix } = batches.next().unwrap().unwrap();
                    let indices = batches.indices();
                    let expected = naive(&images, indices, start, &draws(augment));
                    let expected = TensorData::new(expected, pixels.shape());
                    eprintln!("{name}, {augment:?}, batch at {start}");
                    pixels
                        .into_data()
                        .assert_approx_eq::<f32>(&expected, Tolerance::absolute(2e-6));

                    let own: Vec<i64> =
                        indices.iter().map(|&index| images.labels()[index].into()).collect();
                    assert_eq!(classes(labels), own);
                    assert_eq!(mix.is_some(), augment.mixup + augment.cutmix > 0.0);
                    if let Some(mix) = mix {
                        assert!((0.0..=1.0).contains(&mix.share));
                        assert!(classes(mix.labels).iter().eq(own.iter().rev()));
                    }
                }
                assert!(batches.next().is_none());
            }
        }
    }

    /// A padding of 2, with a crop 1 below the center and 2 to its left: the image moves 1 up and 2
    /// to the right.
    #[test]
    fn a_window_is_cut_out_of_the_image_and_its_border() {
        let draws = draws(Augment { crop: 2, ..OFF });
        let change = Change { top: 3, left: 0, ..Change::default() };
        for (name, device) in test_devices::all() {
            let pixels: Tensor<1, Int> = Tensor::arange(1..PIXELS as i64 + 1, &device);
            let pixels = pixels.float().reshape([1, 1, SIDE, SIDE]);
            let cut = values(draws.move_pixels(pixels, std::slice::from_ref(&change)));
            // Row 1, column 0 has pixel 29; row 27, column 25 has pixel 27 * 28 + 26.
            assert_eq!(cut[..4], [0.0, 0.0, 29.0, 30.0], "{name}");
            assert_eq!(cut[26 * SIDE..][26..28], [781.0, 782.0], "{name}");
            assert_eq!(cut[27 * SIDE..], [0.0; SIDE], "{name}");
        }
    }

    #[test]
    fn a_flip_mirrors_left_to_right_and_two_are_none() {
        let draws = draws(Augment { flip: true, ..OFF });
        let changes = [true, false].map(|flip| Change { flip, ..Change::default() });
        for (name, device) in test_devices::all() {
            let pixels: Tensor<1, Int> = Tensor::arange(0..2 * PIXELS as i64, &device);
            let pixels = pixels.float().reshape([2, 1, SIDE, SIDE]);
            let once = draws.move_pixels(pixels.clone(), &changes);
            let twice = draws.move_pixels(once.clone(), &changes);
            let [pixels, once, twice] = [pixels, once, twice].map(values);
            assert_eq!(once[..3], [27.0, 26.0, 25.0], "{name}");
            assert_eq!(once[PIXELS..], pixels[PIXELS..], "{name}");
            assert_eq!(twice, pixels, "{name}");
        }
    }

    #[test]
    fn without_any_change_the_bits_stay() {
        let images = synthetic::draw(20, 0);
        for (name, device) in test_devices::all() {
            let loader = BatchLoader::new(&images, 8, &device).shuffled(1).resized(32);
            let off = loader.clone().augmented(Augment::default(), 3);
            for (plain, off) in loader.epoch(4).zip(off.epoch(4)) {
                let [plain, off] = [plain, off].map(Result::unwrap);
                assert!(off.mix.is_none());
                assert_eq!(values(plain.images), values(off.images), "{name}");
            }
        }
    }

    #[test]
    fn an_images_changes_depend_on_seed_epoch_and_image_alone() {
        let images = synthetic::draw(30, 0);
        let device = Device::flex();
        let by_image = |loader: BatchLoader, epoch: u64| {
            let mut found = vec![Vec::new(); 30];
            let mut batches = loader.epoch(epoch);
            while let Some(batch) = batches.next() {
                let pixels = values(batch.unwrap().images);
                for (pixels, &index) in pixels.chunks_exact(PIXELS).zip(batches.indices()) {
                    found[index] = pixels.to_vec();
                }
            }
            found
        };
        let loader = |size, seed| BatchLoader::new(&images, size, &device).augmented(SINGLE, seed);
        let first = by_image(loader(30, 5), 0);
        assert_eq!(first, by_image(loader(7, 5), 0));
        assert_eq!(first, by_image(loader(4, 5).shuffled(1), 0));
        assert_eq!(first, by_image(loader(4, 5).shuffled(2).normalized(Normalization::UNIT), 0));
        for other in [by_image(loader(30, 5), 1), by_image(loader(30, 6), 0)] {
            let same = first.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!(same < 3, "{same} of 30 images are the same");
        }
    }

    #[test]
    fn a_batchs_mixing_depends_on_seed_epoch_and_place() {
        let mixing = |seed, epoch, start| Draws { augment: ALL, seed, epoch }.batch(start);
        assert_eq!(mixing(1, 2, 3), mixing(1, 2, 3));
        for other in [mixing(0, 2, 3), mixing(1, 0, 3), mixing(1, 2, 0)] {
            assert_ne!(mixing(1, 2, 3), other);
        }
    }

    #[test]
    fn flips_and_erasures_have_their_probability() {
        let draws = draws(Augment { erase: 0.25, ..SINGLE });
        let changes: Vec<Change> = (0..10_000).map(|index| draws.image(index)).collect();
        let share = |is: fn(&Change) -> bool| {
            changes.iter().filter(|change| is(change)).count() as f64 / 10_000.0
        };
        assert!((share(|change| change.flip) - 0.5).abs() < 0.02);
        assert!((share(|change| change.erase.is_some()) - 0.25).abs() < 0.02);
        // Independent of each other: the product of the probabilities.
        assert!((share(|change| change.flip && change.erase.is_some()) - 0.125).abs() < 0.015);
    }

    #[test]
    fn every_window_is_as_likely() {
        let draws = draws(Augment { crop: 2, ..OFF });
        let mut counts = [0.0f64; 25];
        for index in 0..25_000 {
            let Change { top, left, .. } = draws.image(index);
            counts[top * 5 + left] += 1.0;
        }
        // 24 degrees of freedom: above 51.2 in one of a thousand cases.
        let chi_squared: f64 = counts.iter().map(|count| (count - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi_squared < 51.2, "{chi_squared}: {counts:?}");
    }

    #[test]
    fn an_erased_rectangle_is_as_large_and_as_slim_as_it_may_be() {
        let draws = draws(Augment { erase: 1.0, ..OFF });
        let mut shares = Vec::new();
        for index in 0..10_000 {
            let erased = draws.image(index).erase.unwrap();
            let Rectangle { rows, columns } = &erased;
            assert!(rows.end <= SIDE && columns.end <= SIDE);
            // Before rounding, the sides were up to half a pixel shorter or longer.
            let [height, width] = [rows, columns].map(|lines| lines.len() as f64);
            let (longer, shorter) = ((height + 0.5, width + 0.5), (height - 0.5, width - 0.5));
            assert!(longer.0 * longer.1 >= 0.02 * 784.0, "{erased:?}");
            assert!(shorter.0 * shorter.1 <= 0.33 * 784.0, "{erased:?}");
            assert!(longer.0 / shorter.1 >= 0.3, "{erased:?}");
            assert!(shorter.0 / longer.1 <= 3.3, "{erased:?}");
            shares.push(erased.area() as f64 / PIXELS as f64);
        }
        // Uniform from .02 to .33, except for large and narrow rectangles, which do not fit.
        let (mean, _) = moments(&shares);
        assert!((0.165..0.176).contains(&mean), "{mean}");
        assert!(
            shares.iter().any(|&share| share < 0.03) && shares.iter().any(|&share| share > 0.32)
        );
    }

    /// The mean of Fashion-MNIST's training images is .2860 on the scale from 0 to 1.
    #[test]
    fn erased_pixels_are_the_mean_under_either_normalization_and_the_rest_stays() {
        let images = synthetic::draw(8, 0);
        let erase = Augment { erase: 1.0, ..OFF };
        for (name, device) in test_devices::all() {
            for (normalization, mean) in
                [(Normalization::UNIT, 0.2860), (Normalization::STANDARD, 0.0)]
            {
                let loader = BatchLoader::new(&images, 8, &device).normalized(normalization);
                let pixels =
                    |loader: BatchLoader| values(loader.epoch(2).next().unwrap().unwrap().images);
                let plain = pixels(loader.clone());
                let erased = pixels(loader.augmented(erase, 1));
                for index in 0..8 {
                    let Rectangle { rows, columns } = draws(erase).image(index).erase.unwrap();
                    for pixel in 0..PIXELS {
                        let inside =
                            rows.contains(&(pixel / SIDE)) && columns.contains(&(pixel % SIDE));
                        let place = index * PIXELS + pixel;
                        if inside {
                            let error = (erased[place] - mean).abs();
                            assert!(error < 1e-6, "{name}: {}, not {mean}", erased[place]);
                        } else {
                            assert_eq!(erased[place], plain[place], "{name}")
                        }
                    }
                }
            }
        }
    }

    /// Beta(a, a) has the mean 1/2 and the variance 1 / (4 (2 a + 1)).
    #[test]
    fn shares_of_mixup_are_drawn_from_beta() {
        for alpha in [0.2, 1.0, 4.0] {
            let draws = draws(Augment { mixup: alpha, ..OFF });
            let shares: Vec<f64> =
                (0..20_000).map(|start| draws.batch(start).unwrap().share()).collect();
            let (mean, variance) = moments(&shares);
            let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            assert!((mean - 0.5).abs() < 0.01, "alpha {alpha}: mean {mean}");
            assert!((variance / expected - 1.0).abs() < 0.03, "alpha {alpha}: variance {variance}");
        }
    }

    /// A quarter of the image is a square of 14 pixels, which fits around 15 of 28 lines.
    #[test]
    fn a_box_of_cutmix_is_a_square_clipped_to_the_image() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let boxes: Vec<_> = (0..10_000).map(|_| Rectangle::to_fill(0.25, &mut rng)).collect();
        let rows = boxes.iter().map(|filled| filled.rows.clone());
        let columns = boxes.iter().map(|filled| filled.columns.clone());
        for lines in [rows.collect::<Vec<_>>(), columns.collect()] {
            let whole = |lines: &Range<usize>| lines.len() == 14;
            let (fitting, clipped): (Vec<_>, Vec<_>) = lines.into_iter().partition(whole);
            assert!(clipped.iter().all(|lines| (7..14).contains(&lines.len())));
            assert!(clipped.iter().all(|lines| lines.start == 0 || lines.end == SIDE));
            assert!(fitting.iter().all(|lines| lines.end <= SIDE));
            let share = fitting.len() as f64 / 10_000.0;
            assert!((share - 15.0 / 28.0).abs() < 0.02, "{share}");
        }
    }

    #[test]
    fn with_both_on_each_batch_is_mixed_in_one_of_the_two_ways() {
        let draws = draws(ALL);
        let mixup = |start: &usize| matches!(draws.batch(*start), Some(Mixing::Mixup(_)));
        let count = (0..10_000).filter(mixup).count();
        assert!((4_800..=5_200).contains(&count), "{count}");
    }

    /// Each image is filled with its own number.
    #[test]
    fn mixed_pixels_are_of_both_images_in_their_shares() {
        let pixels = (1..=6u8).flat_map(|value| [value; PIXELS]).collect();
        let images = Images::new(pixels, vec![0, 1, 2, 3, 4, 5]);
        for (name, device) in test_devices::all() {
            for augment in [Augment { mixup: 1.0, ..OFF }, Augment { cutmix: 1.0, ..OFF }] {
                let loader = BatchLoader::new(&images, 6, &device).augmented(augment, 9);
                for epoch in 0..8 {
                    let batch = loader.epoch(epoch).next().unwrap().unwrap();
                    let mix = batch.mix.unwrap();
                    let found = values(batch.images * 255.0);
                    for (index, pixels) in found.chunks_exact(PIXELS).enumerate() {
                        let (own, other) = (1.0 + index as f64, 6.0 - index as f64);
                        let is = |pixel: f32, value: f64| (f64::from(pixel) - value).abs() < 1e-3;
                        if augment.mixup > 0.0 {
                            let mixed = own * mix.share + other * (1.0 - mix.share);
                            assert!(pixels.iter().all(|&pixel| is(pixel, mixed)), "{name}");
                        } else {
                            let count = pixels.iter().filter(|&&pixel| is(pixel, own)).count();
                            assert_eq!(count as f64, (mix.share * 784.0).round(), "{name}");
                            assert!(pixels.iter().all(|&pixel| is(pixel, own) || is(pixel, other)));
                        }
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic = "erase must be from 0 to 1, not 1.5"]
    fn a_probability_over_1_is_refused() {
        let loader = BatchLoader::new(&synthetic::draw(1, 0), 1, &Device::flex());
        loader.augmented(Augment { erase: 1.5, ..OFF }, 0);
    }
}

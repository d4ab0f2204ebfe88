//! The confusion matrix, and the scores of each class.

use std::iter;

use fashion_mnist::Images;

use crate::training::evaluate::Predictions;

/// The confusion matrix of predictions for these images of some classes: how many images of each
/// class (row) were predicted as each class (column).
pub(crate) fn confusion(
    predictions: &Predictions,
    images: &Images,
    classes: usize,
) -> Vec<Vec<u32>> {
    let mut confusion = vec![vec![0; classes]; classes];
    for (&predicted, &label) in iter::zip(&predictions.classes, images.labels()) {
        confusion[usize::from(label)][predicted] += 1;
    }
    confusion
}

/// The mean cross entropy of the images of each class; `None` for a class without images.
pub(crate) fn class_losses(
    predictions: &Predictions,
    images: &Images,
    classes: usize,
) -> Vec<Option<f64>> {
    let mut sums = vec![(0.0, 0); classes];
    for (&loss, &label) in iter::zip(&predictions.losses, images.labels()) {
        let (sum, count) = &mut sums[usize::from(label)];
        *sum += loss;
        *count += 1;
    }
    sums.into_iter().map(|(sum, count)| (count > 0).then(|| sum / f64::from(count))).collect()
}

/// The scores of a class, each from 0 to 1, or `None` if it is undefined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scores {
    /// The share of the images predicted as the class that are of it.
    pub precision: Option<f64>,
    /// The share of the images of the class that are predicted as it.
    pub recall: Option<f64>,
    /// The harmonic mean of the two.
    pub f1: Option<f64>,
    /// The number of images of the class.
    pub images: u32,
}

/// The scores of each class of a confusion matrix.
pub(crate) fn scores(confusion: &[Vec<u32>]) -> Vec<Scores> {
    let share = |part: u32, whole: u32| (whole > 0).then(|| f64::from(part) / f64::from(whole));
    let scores = confusion.iter().enumerate().map(|(class, row)| {
        let right = row[class];
        let images: u32 = row.iter().sum();
        let taken: u32 = confusion.iter().map(|row| row[class]).sum();
        Scores {
            precision: share(right, taken),
            recall: share(right, images),
            f1: share(2 * right, taken + images),
            images,
        }
    });
    scores.collect()
}

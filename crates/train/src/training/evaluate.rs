//! Accuracy, loss and predictions of a network.

use burn::tensor::{Int, Tensor, activation::log_softmax};
use fashion_mnist::BatchLoader;
use models::ConvNet;

use super::{classifier::Classifier, health::broken_batch, weights::read_values};
use crate::Error;

/// The accuracy and the loss of a classifier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Share of correct predictions, from 0 to 1.
    pub accuracy: f64,
    /// Mean cross entropy of the images.
    pub loss: f64,
}

/// A classifier's prediction for every image, in the order of the loader.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// The predicted classes.
    pub classes: Vec<usize>,
    /// Their probabilities, from 0 to 1.
    pub probabilities: Vec<f64>,
    /// The cross entropy of each image.
    pub losses: Vec<f64>,
    /// Accuracy and loss over all images.
    pub evaluation: Evaluation,
}

/// Predicts every image of the loader once. The sums stay on the device until the end.
///
/// # Errors
///
/// If a batch cannot be loaded, or the device fails.
///
/// # Panics
///
/// If the loader is empty.
pub fn evaluate(classifier: &Classifier, loader: &BatchLoader) -> Result<Evaluation, Error> {
    let mut sums: Option<Tensor<1>> = None;
    each_batch(classifier, loader, |log_probabilities, labels| {
        let sum = sums_of(log_probabilities, labels);
        sums = Some(match sums.take() {
            Some(sums) => sums + sum,
            None => sum,
        });
        Ok(())
    })?;
    let sums = read_values(sums.expect("the loader is not empty"))?;
    Ok(evaluation(sums[0], sums[1], loader))
}

/// As [`evaluate`], with the prediction for each image.
///
/// # Errors
///
/// As [`evaluate`].
///
/// # Panics
///
/// As [`evaluate`].
pub fn predict(classifier: &Classifier, loader: &BatchLoader) -> Result<Predictions, Error> {
    let (mut classes, mut probabilities, mut losses) = (Vec::new(), Vec::new(), Vec::new());
    let (mut correct, mut loss) = (0.0, 0.0);
    each_batch(classifier, loader, |log_probabilities, labels| {
        let (best, class) = log_probabilities.clone().max_dim_with_indices(1);
        let of_labels = log_probabilities.clone().gather(1, labels.clone().unsqueeze_dim(1)).neg();
        let row = Tensor::cat(
            vec![
                sums_of(log_probabilities, labels),
                class.float().flatten(0, 1),
                best.exp().flatten(0, 1),
                of_labels.flatten(0, 1),
            ],
            0,
        );
        let row = read_values(row)?;
        correct += row[0];
        loss += row[1];
        let images = (row.len() - 2) / 3;
        classes.extend(row[2..2 + images].iter().map(|&class| class as usize));
        probabilities.extend_from_slice(&row[2 + images..2 + 2 * images]);
        losses.extend_from_slice(&row[2 + 2 * images..]);
        Ok(())
    })?;
    let evaluation = evaluation(correct, loss, loader);
    Ok(Predictions { classes, probabilities, losses, evaluation })
}

fn each_batch(
    classifier: &Classifier,
    loader: &BatchLoader,
    mut take: impl FnMut(Tensor<2>, Tensor<1, Int>) -> Result<(), Error>,
) -> Result<(), Error> {
    for batch in loader.epoch(0) {
        let batch = batch.map_err(broken_batch)?;
        take(log_softmax(classifier.network.forward(batch.images), 1), batch.labels)?;
    }
    Ok(())
}

/// `[2]`: the number of correct predictions, and the sum of the cross entropies.
fn sums_of(log_probabilities: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    let predicted = log_probabilities.clone().argmax(1).flatten::<1>(0, 1);
    let correct = predicted.equal(labels.clone()).int().sum().float();
    let loss = log_probabilities.gather(1, labels.unsqueeze_dim(1)).sum().neg();
    Tensor::cat(vec![correct, loss], 0)
}

fn evaluation(correct: f64, loss: f64, loader: &BatchLoader) -> Evaluation {
    use burn::data::dataloader::DataLoader;

    let images = loader.num_items() as f64;
    Evaluation { accuracy: correct / images, loss: loss / images }
}

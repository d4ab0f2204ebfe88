//! Accuracy, loss and predictions of a network, and its test report.

use base64::{Engine, prelude::BASE64_STANDARD};
use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Int, Tensor, activation::log_softmax},
};
use fashion_mnist::{BatchLoader, Images};
use models::ConvNet;

use crate::{
    Error,
    classifier::Classifier,
    fit::{read, weight_name},
    optimizer::{squared_weights, weight_names},
    record::{Filters, Mistake, TestReport, Weight},
};

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
    let sums = read(sums.expect("the loader is not empty"))?;
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
    let (mut classes, mut probabilities) = (Vec::new(), Vec::new());
    let (mut correct, mut loss) = (0.0, 0.0);
    each_batch(classifier, loader, |log_probabilities, labels| {
        let (best, class) = log_probabilities.clone().max_dim_with_indices(1);
        let row = Tensor::cat(
            vec![
                sums_of(log_probabilities, labels),
                class.float().flatten(0, 1),
                best.exp().flatten(0, 1),
            ],
            0,
        );
        let row = read(row)?;
        correct += row[0];
        loss += row[1];
        let (class, probability) = row[2..].split_at((row.len() - 2) / 2);
        classes.extend(class.iter().map(|&class| class as usize));
        probabilities.extend_from_slice(probability);
        Ok(())
    })?;
    Ok(Predictions { classes, probabilities, evaluation: evaluation(correct, loss, loader) })
}

fn each_batch(
    classifier: &Classifier,
    loader: &BatchLoader,
    mut take: impl FnMut(Tensor<2>, Tensor<1, Int>) -> Result<(), Error>,
) -> Result<(), Error> {
    for batch in loader.epoch(0) {
        let batch =
            batch.map_err(|error| Error::Training(format!("cannot load a batch: {error}")))?;
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

/// The most mistakes that a report has.
const MISTAKES: usize = 36;

/// The test report of a classifier, from its predictions for these images.
pub fn test_report(
    classifier: &Classifier,
    predictions: &Predictions,
    images: &Images,
    class_names: &[&str],
    gradient_norms: &[f64],
) -> Result<TestReport, Error> {
    let mut confusion = vec![vec![0; class_names.len()]; class_names.len()];
    let mut mistakes = Vec::new();
    let predicted = predictions.classes.iter().zip(&predictions.probabilities);
    for (index, ((&class, &probability), &label)) in predicted.zip(images.labels()).enumerate() {
        let label = usize::from(label);
        confusion[label][class] += 1;
        if label != class {
            mistakes.push((probability, index, label, class));
        }
    }
    mistakes.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mistakes = mistakes.into_iter().take(MISTAKES).map(|(probability, index, label, class)| {
        let pixels = BASE64_STANDARD.encode(images.pixels(index));
        Mistake { index: images.position(index), label, predicted: class, probability, pixels }
    });

    let norms = read(squared_weights(&classifier.clone().train()))?;
    let names = weight_names(&classifier.clone().train());
    let weights = names.iter().zip(norms).enumerate().map(|(index, (name, square))| Weight {
        name: weight_name(classifier, name),
        norm: square.sqrt(),
        gradient_norm: gradient_norms.get(index).copied().unwrap_or_default(),
    });
    Ok(TestReport {
        classes: class_names.iter().map(ToString::to_string).collect(),
        confusion,
        mistakes: mistakes.collect(),
        filters: first_filters(classifier)?,
        weights: weights.collect(),
    })
}

/// The weights of the first convolution.
fn first_filters(classifier: &Classifier) -> Result<Option<Filters>, Error> {
    #[derive(Default)]
    struct First(Option<(Vec<usize>, Tensor<1>)>);
    impl ModuleVisitor for First {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if D == 4 && self.0.is_none() {
                let weight = param.val();
                self.0 = Some((weight.dims().to_vec(), weight.flatten(0, D - 1)));
            }
        }
    }
    let mut first = First::default();
    classifier.visit(&mut first);
    let Some((shape, values)) = first.0 else { return Ok(None) };
    let shape = shape.try_into().expect("four dimensions");
    let values = read(values)?.into_iter().map(|value| value as f32).collect();
    Ok(Some(Filters { shape, values }))
}

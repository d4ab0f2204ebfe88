//! The test report of a run, from predictions for the test images.

use base64::{Engine, prelude::BASE64_STANDARD};
use fashion_mnist::Images;

use super::{
    record::{Mistake, TestReport, Weight},
    scores::{class_losses, confusion},
};
use crate::{
    Error,
    training::{Classifier, evaluate::Predictions, first_filters, weight_norms},
};

/// The most mistakes that a report has.
const MISTAKES: usize = 36;

/// The test report of a classifier, from its predictions for these images.
pub(crate) fn test_report(
    classifier: &Classifier,
    predictions: &Predictions,
    images: &Images,
    class_names: &[&str],
    gradient_norms: &[f64],
) -> Result<TestReport, Error> {
    let mut mistakes = Vec::new();
    let predicted = predictions.classes.iter().zip(&predictions.probabilities);
    for (index, ((&class, &probability), &label)) in predicted.zip(images.labels()).enumerate() {
        let label = usize::from(label);
        if label != class {
            mistakes.push((probability, index, label, class));
        }
    }
    mistakes.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mistakes = mistakes.into_iter().take(MISTAKES).map(|(probability, index, label, class)| {
        let pixels = BASE64_STANDARD.encode(images.pixels(index));
        Mistake { index: images.position(index), label, predicted: class, probability, pixels }
    });

    let weights = weight_norms(classifier)?.into_iter().enumerate();
    let weights = weights.map(|(index, (name, norm))| Weight {
        name,
        norm,
        gradient_norm: gradient_norms.get(index).copied().unwrap_or_default(),
    });
    Ok(TestReport {
        classes: class_names.iter().map(ToString::to_string).collect(),
        confusion: confusion(predictions, images, class_names.len()),
        losses: class_losses(predictions, images, class_names.len()),
        mistakes: mistakes.collect(),
        filters: first_filters(classifier)?,
        weights: weights.collect(),
    })
}

//! The test report of a run, from predictions for the test images.

use base64::{Engine, prelude::BASE64_STANDARD};
use burn::module::Module;
use fashion_mnist::{Images, SIDE};

use super::{
    images::loader,
    inside,
    record::{FeatureMaps, Mistake, Picture, TestReport, Weight},
    scores::{class_losses, confusion},
};
use crate::{
    Config, Error,
    training::{Classifier, broken_batch, evaluate::Predictions, first_filters, weight_norms},
};

/// The most mistakes that a report has.
const MISTAKES: usize = 36;

/// The test report of a classifier, from its predictions for these images.
pub(crate) fn test_report(
    config: &Config,
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
    mistakes.truncate(MISTAKES);
    let predicted: Vec<usize> = mistakes.iter().map(|&(_, _, _, class)| class).collect();
    let indices: Vec<usize> = mistakes.iter().map(|&(_, index, ..)| index).collect();
    let seen = attention(config, classifier, &images.select(&indices), &predicted)?;
    let mistakes = mistakes.into_iter().zip(seen);
    let mistakes = mistakes.map(|((probability, index, label, predicted), attention)| Mistake {
        index: images.position(index),
        label,
        predicted,
        probability,
        pixels: encode(images.pixels(index)),
        attention: Some(attention),
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
        feature_maps: Some(feature_maps(config, classifier, images)?),
        weights: weights.collect(),
    })
}

/// Where the classifier sees the classes that it predicts for these images.
fn attention(
    config: &Config,
    classifier: &Classifier,
    images: &Images,
    predicted: &[usize],
) -> Result<Vec<Picture>, Error> {
    let mut pictures = Vec::new();
    if images.images() == 0 {
        return Ok(pictures); // no mistake; not every device has tensors without values
    }
    let device = &classifier.network.devices()[0];
    for batch in loader(config, images, device).epoch(0) {
        let batch = batch.map_err(broken_batch)?;
        let classes = &predicted[pictures.len()..][..batch.images.dims()[0]];
        pictures.extend(inside::attention(&classifier.network, batch.images, classes)?);
    }
    Ok(pictures)
}

/// What the classifier's layers see in the first of these images.
fn feature_maps(
    config: &Config,
    classifier: &Classifier,
    images: &Images,
) -> Result<FeatureMaps, Error> {
    let device = &classifier.network.devices()[0];
    let batch = loader(config, &images.first(1), device).epoch(0).next();
    let batch = batch.expect("there are test images").map_err(broken_batch)?;
    Ok(FeatureMaps {
        index: images.position(0),
        label: images.labels()[0].into(),
        image: Picture { size: [SIDE; 2], pixels: encode(images.pixels(0)) },
        layers: inside::feature_maps(&classifier.network, batch.images)?,
    })
}

fn encode(pixels: &[u8]) -> String {
    BASE64_STANDARD.encode(pixels)
}

#[cfg(test)]
mod tests {
    use fashion_mnist::{FashionMnist, Split};

    use super::*;
    use crate::training::evaluate::Evaluation;

    /// On every device: with a mistake, and without any.
    #[test]
    fn a_report_has_as_many_pictures_as_there_are_mistakes() {
        let config = Config::load(None, &[]).unwrap();
        let images = FashionMnist::synthetic().split(Split::Test).first(4);
        let labels: Vec<usize> = images.labels().iter().map(|&label| label.into()).collect();
        let mut one_wrong = labels.clone();
        one_wrong[2] = (labels[2] + 1) % 10;
        for (name, device) in test_devices::all() {
            let classifier = Classifier::new(&config, &device);
            for (classes, mistakes) in [(&one_wrong, 1), (&labels, 0)] {
                let predictions = Predictions {
                    classes: classes.clone(),
                    probabilities: vec![1.0; 4],
                    losses: vec![0.0; 4],
                    evaluation: Evaluation { accuracy: 1.0, loss: 0.0 },
                };
                let names = ["a class"; 10];
                let report = test_report(&config, &classifier, &predictions, &images, &names, &[]);
                let report = report.unwrap();
                assert_eq!(report.mistakes.len(), mistakes, "{name}");
                assert!(report.mistakes.iter().all(|it| it.attention.is_some()), "{name}");
                assert_eq!(report.feature_maps.unwrap().layers.len(), 2, "{name}");
            }
        }
    }
}

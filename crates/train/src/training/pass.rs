//! Forward and backward pass over a batch, on one device or on several.

use burn::{
    data::{
        dataloader::{DataLoaderIterator, Progress},
        dataset::DatasetError,
    },
    optim::{GradientsAccumulator, GradientsParams},
    tensor::{Device, Tensor},
    train::train::MultiDevicesTrainStep,
};
use fashion_mnist::Batch;

use super::{
    classifier::{Classifier, Part},
    clock::Clock,
    health::advise,
};
use crate::Error;

/// The result of a forward and backward pass over some of a step's images.
pub(super) struct Pass {
    /// Their part of the step's mean loss: `[1]`.
    pub loss: Tensor<1>,
    /// The number of correct predictions: `[1]`.
    pub correct: Tensor<1>,
    /// The gradient of that part of the loss.
    pub gradients: GradientsParams,
}

impl Pass {
    /// Passes over a batch. `images` is the number of images of the whole step.
    pub fn new(
        classifier: &Classifier,
        batch: Batch,
        images: usize,
        clock: &mut Clock,
    ) -> Result<Self, Error> {
        let [batch_images, ..] = batch.images.dims();
        let share = batch_images as f64 / images as f64;
        let (loss, correct) =
            clock.time(|seconds| &mut seconds.forward, || classifier.loss(batch))?;
        let loss = if share < 1.0 { loss * share } else { loss };
        let value = loss.clone().inner();
        let gradients =
            clock.time(|seconds| &mut seconds.backward, || classifier.gradients(loss))?;
        Ok(Self { loss: value, correct, gradients })
    }

    /// Passes over a batch, a part of it on each device. The first one holds the weights.
    pub fn on_several(
        parallel: &MultiDevicesTrainStep<Classifier>,
        devices: &[Device],
        classifier: &Classifier,
        batch: Batch,
        images: usize,
        clock: &mut Clock,
    ) -> Result<Self, Error> {
        let part = |(number, (batch, device)): (usize, (Batch, &Device))| {
            let [part_images, ..] = batch.images.dims();
            let share = part_images as f64 / images as f64;
            let part = Part { number, batch: batch.to_device(device), share };
            Box::new(Once(Some(part))) as Box<dyn DataLoaderIterator<Part>>
        };
        let parts = batch.split(devices.len());
        let mut parts: Vec<_> = parts.into_iter().zip(devices).enumerate().map(part).collect();
        // The last batch may have fewer images than there are devices.
        parts.resize_with(devices.len(), || Box::new(Once(None)));
        let (mut outputs, _) = clock
            .time(|seconds| &mut seconds.backward, || parallel.step(&mut parts, classifier))?
            .map_err(|error| Error::Training(advise(&error.to_string())))?;
        // They arrive as the devices finish. A fixed order makes the sum reproducible.
        outputs.sort_by_key(|output| output.output.item.number);
        let main = devices[0].clone().inner();
        let passes = outputs.into_iter().map(|output| Self {
            loss: output.output.item.loss.to_device(&main),
            correct: output.output.item.correct.to_device(&main),
            gradients: output.output.grads.to_device(&main, classifier),
        });
        let whole = passes.reduce(|sum, pass| sum.plus(pass, classifier));
        Ok(whole.expect("a batch has at least one image"))
    }

    /// The pass over the images of both.
    pub fn plus(self, other: Self, classifier: &Classifier) -> Self {
        let mut gradients = GradientsAccumulator::new();
        gradients.accumulate(classifier, self.gradients);
        gradients.accumulate(classifier, other.gradients);
        Self {
            loss: self.loss + other.loss,
            correct: self.correct + other.correct,
            gradients: gradients.grads(),
        }
    }
}

/// A data loader of one part of a batch, for Burn's training on several devices.
struct Once(Option<Part>);

impl Iterator for Once {
    type Item = Result<Part, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(Ok)
    }
}

impl DataLoaderIterator<Part> for Once {
    fn progress(&self) -> Progress {
        Progress::new(usize::from(self.0.is_none()), 1, None)
    }
}

//! What a training measures: of each step, of each epoch.

use std::iter;

use burn::tensor::Tensor;
use fashion_mnist::Images;
use serde::{Deserialize, Serialize};

use super::{
    classifier::Classifier,
    health::Row,
    weights::{read_values, squared_weights},
};
use crate::{Error, encoding::number};

/// One optimizer step: a line of `steps.jsonl`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Counted from 1 over the whole run.
    pub step: usize,
    /// Counted from 1.
    pub epoch: usize,
    /// Mean over the step's images.
    #[serde(deserialize_with = "number")]
    pub loss: f64,
    /// Of this step.
    #[serde(deserialize_with = "number")]
    pub learning_rate: f64,
    /// Norm of the gradient of all weights together, before clipping.
    #[serde(deserialize_with = "number")]
    pub gradient_norm: f64,
}

/// One epoch: a line of `metrics.jsonl`. Losses and accuracies are means over the images;
/// accuracies are from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Counted from 1.
    pub epoch: usize,
    /// Optimizer steps since the run began.
    pub step: usize,
    /// Measured during the epoch, while the weights change, on the augmented images.
    #[serde(deserialize_with = "number")]
    pub train_loss: f64,
    /// As `train_loss`. For a mixed image, the correct class is the one with the larger share of
    /// the image, or either if both have one half.
    #[serde(deserialize_with = "number")]
    pub train_accuracy: f64,
    /// Of the weights at the end of the epoch, or of their EMA if the run has one.
    #[serde(deserialize_with = "number")]
    pub validation_loss: f64,
    /// As `validation_loss`.
    #[serde(deserialize_with = "number")]
    pub validation_accuracy: f64,
    /// Of the last step.
    #[serde(deserialize_with = "number")]
    pub learning_rate: f64,
    /// Mean gradient norm over the epoch's steps, before clipping.
    #[serde(deserialize_with = "number")]
    pub gradient_norm: f64,
    /// Norm of all weights together, at the end of the epoch.
    #[serde(deserialize_with = "number")]
    pub weight_norm: f64,
    /// Training throughput, without the first step, in which a GPU compiles its kernels; with it if
    /// the epoch has only one step.
    #[serde(deserialize_with = "number")]
    pub images_per_second: f64,
    /// Where the time went.
    pub seconds: Seconds,
    /// Resident memory of the program at the end of the epoch, in bytes.
    pub resident_memory: Option<u64>,
}

/// Where an epoch's time went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Making batches. On a GPU, this and the next three are measured on one step of many and
    /// multiplied, because each measurement must wait for the GPU.
    pub data: f64,
    /// The forward pass: images to loss.
    pub forward: f64,
    /// The backward pass: loss to gradients.
    pub backward: f64,
    /// The optimizer: gradients to new weights, with clipping and averaging.
    pub optimizer: f64,
    /// The whole training, from the first step to the last.
    pub training: f64,
    /// Predicting the validation images.
    pub validation: f64,
}

/// Receives the measurements of the steps as they are read.
pub(crate) trait Observer {
    /// Some steps of an epoch, of which `position` have been taken; `done` is the share of the whole
    /// training that is done, from 0 to 1.
    fn steps(&mut self, steps: &[Step], position: usize, done: f64) -> Result<(), Error>;
}

/// A step whose measurements are still on the device.
pub(super) struct Pending {
    pub step: usize,
    /// The share of the training that was done before it, from 0 to 1.
    pub done: f64,
    /// The number of images.
    pub count: usize,
    pub learning_rate: f64,
    /// The positions of the images in the training set.
    pub positions: Vec<usize>,
    /// `[2 + weights]`: loss, correct predictions, squared gradient norms.
    pub numbers: Tensor<1>,
}

/// Sums over the steps of an epoch.
#[derive(Default)]
pub(super) struct Sums {
    pub steps: usize,
    pub images: usize,
    pub loss: f64,
    pub correct: f64,
    pub gradient_norm: f64,
    /// One of each weight.
    pub gradient_norms: Vec<f64>,
    /// Of the last step.
    pub learning_rate: f64,
}

/// The measurements of an epoch. They stay on the device until they are read: at every step on a
/// CPU, where that costs nothing, and every few steps elsewhere.
pub(super) struct Measurements<'a, O> {
    epoch: usize,
    names: &'a [String],
    images: &'a Images,
    observer: &'a mut O,
    pending: Vec<Pending>,
    sums: Sums,
}

/// Number of steps between two reads, on an asynchronous device.
const READ_EVERY: usize = 16;

impl<'a, O: Observer> Measurements<'a, O> {
    /// Of the epoch with this number, for weights with these names, trained on these images.
    pub fn new(epoch: usize, names: &'a [String], images: &'a Images, observer: &'a mut O) -> Self {
        let (pending, sums) = (Vec::new(), Sums::default());
        Self { epoch, names, images, observer, pending, sums }
    }

    /// Adds a step.
    pub fn push(&mut self, step: Pending) {
        self.pending.push(step);
    }

    /// Whether it is time to read, on an asynchronous device.
    pub fn are_due(&self) -> bool {
        self.pending.len() >= READ_EVERY
    }

    /// Reads the pending steps and passes them on to the observer.
    ///
    /// # Errors
    ///
    /// If the device or the observer fails, or a loss or gradient is not finite; `classifier`, if it
    /// still has the weights of that step, helps to find the cause.
    pub fn read(&mut self, classifier: Option<&Classifier>) -> Result<(), Error> {
        let Some(done) = self.pending.last().map(|last| last.done) else { return Ok(()) };
        let pending = std::mem::take(&mut self.pending);
        let numbers = pending.iter().map(|step| step.numbers.clone()).collect();
        let rows = read_values(Tensor::cat(numbers, 0))?;
        let mut steps = Vec::with_capacity(pending.len());
        let mut failed = None;
        for (pending, row) in pending.iter().zip(rows.chunks_exact(2 + self.names.len())) {
            let (loss, correct, squares) = (row[0], row[1], &row[2..]);
            let row = Row {
                step: pending.step,
                epoch: self.epoch,
                loss,
                squared_gradients: squares,
                names: self.names,
            };
            if !row.is_sound() {
                let weights = classifier.map(|it| read_values(squared_weights(it))).transpose()?;
                let position = |&index: &usize| self.images.position(index);
                let positions: Vec<usize> = pending.positions.iter().map(position).collect();
                failed = Some(row.error(&positions, weights.as_deref()));
                break;
            }
            let step = Step {
                step: pending.step,
                epoch: self.epoch,
                loss,
                learning_rate: pending.learning_rate,
                gradient_norm: squares.iter().sum::<f64>().sqrt(),
            };
            self.sums.add(&step, pending.count, correct, squares);
            steps.push(step);
        }
        let observed = self.observer.steps(&steps, self.sums.steps, done);
        failed.map_or(observed, Err)
    }

    /// The sums over the steps that were read.
    pub fn sums(self) -> Sums {
        self.sums
    }
}

impl Sums {
    fn add(&mut self, step: &Step, images: usize, correct: f64, squared_gradients: &[f64]) {
        self.steps += 1;
        self.images += images;
        self.loss += step.loss * images as f64;
        self.correct += correct;
        self.gradient_norm += step.gradient_norm;
        self.gradient_norms.resize(squared_gradients.len(), 0.0);
        for (sum, square) in iter::zip(&mut self.gradient_norms, squared_gradients) {
            *sum += square.sqrt();
        }
        self.learning_rate = step.learning_rate;
    }
}

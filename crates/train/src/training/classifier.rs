//! A network with its loss: one forward and backward pass over a batch.

use std::sync::{Mutex, PoisonError};

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Device, ExecutionError, Int, Tensor, activation::log_softmax},
    train::{InferenceStep, ItemLazy, TrainOutput, TrainStep},
};
use fashion_mnist::Batch;
use models::{ConvNet, Network};

use crate::{Config, Error};

/// A network and its training loss: the cross entropy of its logits.
#[derive(Module, Debug)]
pub struct Classifier {
    /// The network.
    pub network: Network,
    label_smoothing: f64,
}

/// A part of a training step's images.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which part it is, counted from 0.
    pub number: usize,
    /// The images.
    pub batch: Batch,
    /// Their share of the step's images, from 0 to 1.
    pub share: f64,
}

/// The results of a part of a training step, without the gradients.
#[derive(Clone, Debug)]
pub struct PartOutput {
    /// Which part it is, counted from 0.
    pub number: usize,
    /// The part's loss times its share, `[1]`. The sum over all parts is the step's mean loss.
    pub loss: Tensor<1>,
    /// The number of correct predictions: `[1]`.
    pub correct: Tensor<1>,
}

/// The weight of the loss of an auxiliary classifier, which exists for training only
/// ([Szegedy et al., 2015](https://arxiv.org/abs/1409.4842), section 5).
const AUXILIARY: f64 = 0.3;

impl Classifier {
    /// The config's network with random initial weights from the config's seed. They are always
    /// drawn on the CPU, so that every device starts from the same weights.
    pub fn new(config: &Config, device: &Device) -> Self {
        let fresh = |device: &Device| Self {
            network: config.network_config().init(device),
            label_smoothing: config.label_smoothing,
        };
        let weights = {
            // The CPU backend has one random number generator for the whole program.
            static DRAWING: Mutex<()> = Mutex::new(());
            let _drawing = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
            let cpu = Device::flex();
            cpu.seed(config.seed);
            fresh(&cpu).into_record()
        };
        fresh(device).load_record(weights)
    }

    /// As [`new`](Self::new), but with the pretrained weights that the config names, if any.
    ///
    /// # Errors
    ///
    /// If they cannot be loaded.
    pub fn initial(config: &Config, device: &Device) -> Result<Self, Error> {
        let mut classifier = Self::new(config, device);
        if let Some(pretrained) = &config.pretrained {
            let loaded = classifier.network.load_with(&pretrained.weights, pretrained.options());
            classifier.network = loaded.map_err(|error| Error::Usage(error.to_string()))?;
        }
        Ok(classifier)
    }

    /// The mean loss of a batch, `[1]`, and its number of correct predictions, `[1]`. For a mixed
    /// image the class with the larger share is correct, or either class if both have one half.
    pub fn loss(&self, batch: Batch) -> (Tensor<1>, Tensor<1>) {
        let (logits, auxiliary) = self.network.forward_auxiliary(batch.images.clone());
        let predicted = logits.clone().inner().argmax(1).flatten::<1>(0, 1);
        let correct = correct(predicted, &batch);

        let entropy = |logits| cross_entropy(logits, &batch, self.label_smoothing);
        let loss = entropy(logits);
        let auxiliary = auxiliary.into_iter().map(entropy);
        let loss = auxiliary.fold(loss, |sum, loss| sum + loss * AUXILIARY);
        (loss, correct)
    }

    /// The backward pass: the gradient of each weight.
    pub fn gradients(&self, loss: Tensor<1>) -> GradientsParams {
        GradientsParams::from_grads(loss.backward(), self)
    }
}

/// The number of correct predictions, `[1]`, among the predicted classes `[batch]`. For a mixed
/// image the class with the larger share is correct, or either class if both have one half.
fn correct(predicted: Tensor<1, Int>, batch: &Batch) -> Tensor<1> {
    let is = |labels: &Tensor<1, Int>| predicted.clone().equal(labels.clone().inner());
    let correct = match &batch.mix {
        Some(mix) if mix.share < 0.5 => is(&mix.labels),
        Some(mix) if mix.share == 0.5 => is(&batch.labels).bool_or(is(&mix.labels)),
        _ => is(&batch.labels),
    };
    correct.int().sum().float()
}

/// The mean cross entropy of logits `[batch, classes]` and the batch's labels, with label smoothing
/// and mixed labels: `[1]`.
pub(crate) fn cross_entropy(logits: Tensor<2>, batch: &Batch, smoothing: f64) -> Tensor<1> {
    let log_probabilities = log_softmax(logits, 1);
    let of = |labels: &Tensor<1, Int>| {
        let labels = labels.clone().unsqueeze_dim::<2>(1);
        log_probabilities.clone().gather(1, labels).mean().neg()
    };
    let loss = match &batch.mix {
        Some(mix) => of(&batch.labels) * mix.share + of(&mix.labels) * (1.0 - mix.share),
        None => of(&batch.labels),
    };
    match smoothing {
        0.0 => loss,
        // All classes have the same weight: the mean over classes and images.
        _ => loss * (1.0 - smoothing) - log_probabilities.mean() * smoothing,
    }
}

/// Burn's training on several devices calls this on each of them.
impl TrainStep for Classifier {
    type Input = Part;
    type Output = PartOutput;

    fn step(&self, Part { number, batch, share }: Part) -> TrainOutput<PartOutput> {
        let (loss, correct) = self.loss(batch);
        let loss = loss * share;
        let output = PartOutput { number, loss: loss.clone().inner(), correct };
        TrainOutput::new(self, loss.backward(), output)
    }
}

impl InferenceStep for Classifier {
    type Input = Part;
    type Output = PartOutput;

    fn step(&self, Part { number, batch, share }: Part) -> PartOutput {
        let (loss, correct) = self.loss(batch);
        PartOutput { number, loss: loss * share, correct }
    }
}

impl ItemLazy for PartOutput {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

//! A network as burn-train's learner, and its evaluation.

use std::sync::{Mutex, PoisonError};

use burn::{
    data::dataloader::DataLoader,
    module::Module,
    nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig},
    optim::{ModuleOptimizer, SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig},
    tensor::{Device, Int, Tensor},
    train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep},
};
use fashion_mnist::Batch;
use models::Network;

use crate::{
    Error,
    config::{Config, OptimizerConfig, OptimizerName},
};

/// A network and the loss that it is trained for: the cross entropy of its logits.
#[derive(Module, Debug)]
pub struct Classifier {
    /// The network.
    pub network: Network,
    loss: CrossEntropyLoss,
}

impl Classifier {
    /// The config's network with fresh weights, drawn from the config's seed: on the CPU whatever
    /// the device, so that every device starts from the same ones.
    pub fn new(config: &Config, device: &Device) -> Self {
        let fresh = |device: &Device| Self {
            network: config.network_config().init(device),
            loss: CrossEntropyLossConfig::new().init(device),
        };
        let weights = {
            // The CPU backend has one source of random numbers for the whole program.
            static DRAWING: Mutex<()> = Mutex::new(());
            let _drawing = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
            let cpu = Device::flex();
            cpu.seed(config.seed);
            fresh(&cpu).into_record()
        };
        fresh(device).load_record(weights)
    }

    /// The logits of a batch and their mean loss.
    pub fn forward(&self, batch: Batch) -> ClassificationOutput {
        let logits = self.network.forward(batch.images);
        let loss = self.loss.forward(logits.clone(), batch.labels.clone());
        ClassificationOutput::new(loss, logits, batch.labels)
    }
}

impl TrainStep for Classifier {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> TrainOutput<ClassificationOutput> {
        let output = self.forward(batch);
        let gradients = output.loss.backward();
        TrainOutput::new(self, gradients, output)
    }
}

impl InferenceStep for Classifier {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> ClassificationOutput {
        self.forward(batch)
    }
}

/// The config's optimizer.
pub fn optimizer(config: &OptimizerConfig) -> ModuleOptimizer {
    let OptimizerConfig { name, momentum, weight_decay, .. } = *config;
    match name {
        OptimizerName::Sgd => SgdConfig::new()
            .with_momentum((momentum > 0.0).then(|| {
                // PyTorch's default too; Burn's own would damp each gradient by a tenth.
                MomentumConfig::new().with_momentum(momentum).with_dampening(0.0)
            }))
            .with_weight_decay(
                (weight_decay > 0.0).then(|| WeightDecayConfig::new(weight_decay as f32)),
            )
            .init(),
    }
}

/// How well a classifier predicts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Share of the images whose class was predicted, from 0 to 1.
    pub accuracy: f64,
    /// Mean cross entropy of the images.
    pub loss: f64,
}

/// Predicts every image of the loader once. The sums stay on the device until the end.
///
/// # Errors
///
/// If a batch cannot be had, or the device fails.
///
/// # Panics
///
/// If the loader is empty.
pub fn evaluate(
    classifier: &Classifier,
    loader: &dyn DataLoader<Batch>,
) -> Result<Evaluation, Error> {
    let failed =
        |error: &dyn std::fmt::Display| Error::Training(format!("the test failed: {error}"));
    let mut sums: Option<(Tensor<1, Int>, Tensor<1>)> = None;
    for batch in loader.iter() {
        let output = classifier.forward(batch.map_err(|error| failed(&error))?);
        let [images, _] = output.output.dims();
        let predicted = output.output.argmax(1).flatten::<1>(0, 1);
        let correct = predicted.equal(output.targets).int().sum();
        let loss = output.loss * images as f64;
        sums = Some(match sums {
            Some((all_correct, all_loss)) => (all_correct + correct, all_loss + loss),
            None => (correct, loss),
        });
    }
    let (correct, loss) = sums.expect("a loader with images");
    let images = loader.num_items() as f64;
    Ok(Evaluation {
        accuracy: correct.try_into_scalar::<f64>().map_err(|error| failed(&error))? / images,
        loss: loss.try_into_scalar::<f64>().map_err(|error| failed(&error))? / images,
    })
}

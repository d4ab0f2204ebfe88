//! A network that trains.

use burn::{
    module::Module,
    optim::{AdamConfig, GradientsParams, ModuleOptimizer, SgdConfig, momentum::MomentumConfig},
    tensor::{Device, Int, Tensor, TensorData, activation::log_softmax, activation::softmax},
};
use fashion_mnist::{Batch, BatchLoader, Batches, Normalization, PIXELS, SIDE};
use models::{Architecture, ConvNet, LoadOptions, Metadata, Network, Preset, read_metadata_bytes};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Data,
    data::{SPLIT_SEED, VALIDATION},
};

/// The key of the desktop program's description in a weights file.
const DESCRIPTION: &str = "train";
/// Its name of [`Normalization::STANDARD`].
const NORMALIZATION: &str = "standard";

/// What a visitor chooses. The defaults of the page are those of `configs/quickstart.toml`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The name of the network, such as `lenet_bn`.
    pub network: String,
    /// `sgd` or `adam`.
    pub optimizer: String,
    /// The factor of each step.
    pub learning_rate: f64,
    /// SGD: the share of the velocity that each step keeps, 0 to 1.
    pub momentum: f64,
    /// Images per step.
    pub batch_size: usize,
    /// The number of training images in use.
    pub images: usize,
    /// Chooses the first weights and the order of the images.
    pub seed: u64,
}

/// Means over images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// The cross entropy.
    pub loss: f32,
    /// The share of correct predictions, from 0 to 1.
    pub accuracy: f32,
}

/// A network that trains, step by step.
pub struct Session {
    settings: Settings,
    architecture: Architecture,
    preset: Preset,
    classes: [&'static str; 10],
    network: Network,
    optimizer: ModuleOptimizer,
    train: BatchLoader,
    validation: BatchLoader,
    batches: Batches,
    /// Counted from 0.
    epoch: u64,
    /// The number of images of the epoch that were used.
    used: usize,
}

impl Session {
    /// Creates the network with random weights, and prepares the images. The weights and the order
    /// of the images are those of the desktop program with the same seed.
    ///
    /// # Errors
    ///
    /// If a setting is out of its range; the error is a sentence for the visitor.
    pub fn new(data: &Data, settings: Settings) -> Result<Self, String> {
        let Settings { learning_rate, momentum, batch_size, images, seed, .. } = settings;
        let architecture: Architecture =
            settings.network.parse().map_err(|_| format!("no network `{}`", settings.network))?;
        let preset = match architecture {
            Architecture::LeNet | Architecture::LeNetBn => Preset::D2l,
            _ => Preset::Small,
        };
        let config = architecture.config(preset).map_err(|error| error.to_string())?;
        let available = data.train().images();
        if !(learning_rate > 0.0 && learning_rate.is_finite()) {
            return Err("the learning rate must be above 0".to_owned());
        }
        if !(0.0..1.0).contains(&momentum) {
            return Err("the momentum must be at least 0 and below 1".to_owned());
        }
        if images > available {
            return Err(format!("there are {available} images to train on"));
        }
        if !(1..=images).contains(&batch_size) {
            return Err("the batch size must be from 1 to the number of images".to_owned());
        }
        let optimizer = optimizer(&settings)?;

        let device = Device::flex();
        device.seed(seed);
        let weights = config.init(&device).into_record();
        let network = config.init(&device.clone().autodiff()).load_record(weights);
        let last = (images - 1) % batch_size + 1;
        if last == 1 && network.has_batch_norm() {
            let why = "the last batch of an epoch would have one image, and batch normalization \
                       needs two: choose another batch size";
            return Err(why.to_owned());
        }
        let loader = |images, batch_size, device: &Device| {
            BatchLoader::new(images, batch_size, device).normalized(Normalization::STANDARD)
        };
        let train = data.train().first(images);
        let train = loader(&train, batch_size, &device.clone().autodiff()).shuffled(seed);
        Ok(Self {
            architecture,
            preset,
            classes: data.class_names(),
            network,
            optimizer,
            validation: loader(data.validation(), 250, &device),
            batches: train.epoch(0),
            train,
            epoch: 0,
            used: 0,
            settings,
        })
    }

    /// One step: the mean loss and the accuracy of its images, before the step. After the last
    /// images the next epoch begins.
    ///
    /// # Errors
    ///
    /// If the loss is not finite; the network is then useless.
    pub fn step(&mut self) -> Result<Scores, String> {
        let batch = match self.batches.next() {
            Some(batch) => batch,
            None => {
                self.epoch += 1;
                self.used = 0;
                self.batches = self.train.epoch(self.epoch);
                self.batches.next().expect("an epoch has images")
            }
        };
        let Batch { images, labels, .. } = batch.map_err(|error| error.to_string())?;
        let count = labels.dims()[0];
        let logits = self.network.forward(images);
        self.used += count;
        let correct = correct(logits.clone().inner(), labels.clone().inner());
        let loss = cross_entropy(logits, labels);
        let value: f32 = loss.clone().into_scalar();
        finite(value)?;
        let gradients = GradientsParams::from_grads(loss.backward(), &self.network);
        let network = self.network.clone();
        self.network = self.optimizer.step(self.settings.learning_rate, network, gradients);
        Ok(Scores { loss: value, accuracy: correct / count as f32 })
    }

    /// The epoch of the last step, counted from 1, and the share of its images that were used.
    pub fn epoch(&self) -> (u64, f64) {
        (self.epoch + 1, self.used as f64 / self.settings.images as f64)
    }

    /// The scores of the first images of the validation split, about `most` of them.
    ///
    /// # Errors
    ///
    /// If the loss is not finite.
    pub fn validate(&self, most: usize) -> Result<Scores, String> {
        let network = self.network.valid();
        let (mut loss, mut right, mut count) = (0.0, 0.0, 0);
        for batch in self.validation.epoch(0) {
            let Batch { images, labels, .. } = batch.map_err(|error| error.to_string())?;
            let size = labels.dims()[0];
            let logits = network.forward(images);
            right += correct(logits.clone(), labels.clone());
            loss += cross_entropy(logits, labels).into_scalar::<f32>() * size as f32;
            count += size;
            if count >= most {
                break;
            }
        }
        finite(loss)?;
        Ok(Scores { loss: loss / count as f32, accuracy: right / count as f32 })
    }

    /// The probability of each class for an image of 28 x 28 pixels, 0 is the background.
    ///
    /// # Errors
    ///
    /// If the number of pixels is another.
    pub fn predict(&self, pixels: &[u8]) -> Result<Vec<f32>, String> {
        let logits = self.network.valid().forward(image(pixels)?);
        Ok(softmax(logits, 1).into_data().try_into_vec().expect("f32"))
    }

    /// The contents of a `.safetensors` file with the weights, which the desktop program and PyTorch
    /// can load.
    pub fn weights(&self) -> Vec<u8> {
        let description = json!({
            "version": 1,
            "network": self.architecture.name(),
            "preset": self.preset.name(),
            "normalization": NORMALIZATION,
            "classes": self.classes,
            "hold_outs": [{ "validation": VALIDATION, "split_seed": SPLIT_SEED }],
        });
        let metadata = Metadata::from([(DESCRIPTION.to_owned(), description.to_string())]);
        self.network.to_safetensors(&metadata)
    }

    /// Replaces the weights by those of a file with this name: `.safetensors` or `.bpk`.
    ///
    /// # Errors
    ///
    /// If the file is damaged, or its weights are those of another network, for other classes, or for
    /// pixels that were normalized otherwise. The session is unchanged.
    pub fn load(&mut self, name: &str, contents: Vec<u8>) -> Result<(), String> {
        let metadata = read_metadata_bytes(name, contents.clone());
        let metadata = metadata.map_err(|error| error.to_string())?;
        if let Some(description) = metadata.get(DESCRIPTION) {
            self.check(description).map_err(|why| format!("cannot use {name}: {why}"))?;
        }
        let network = self.network.clone();
        let loaded = network.load_bytes(name, contents, LoadOptions::default());
        self.network = loaded.map_err(|error| error.to_string())?;
        // Its state belongs to the weights before.
        self.optimizer = optimizer(&self.settings)?;
        Ok(())
    }

    /// Compares the description of weights with this session. The text in a file may be anything.
    fn check(&self, description: &str) -> Result<(), String> {
        let described: Value = serde_json::from_str(description).unwrap_or_default();
        let text = |key: &str| described[key].as_str().unwrap_or("?").to_owned();
        let (network, preset) = (text("network"), text("preset"));
        if [&*network, &*preset] != [self.architecture.name(), self.preset.name()] {
            return Err(format!(
                "it holds the weights of {network} ({preset}), not of {} ({})",
                self.architecture, self.preset
            ));
        }
        if text("normalization") != NORMALIZATION {
            return Err(format!(
                "its pixels were normalized as `{}`, and this page does so as `{NORMALIZATION}`",
                text("normalization")
            ));
        }
        if described["classes"] != json!(self.classes) {
            return Err("its classes are not those of these images".to_owned());
        }
        Ok(())
    }

    /// The network as it predicts.
    pub(crate) fn network(&self) -> Network {
        self.network.valid()
    }
}

/// The optimizer of the settings, before its first step.
fn optimizer(settings: &Settings) -> Result<ModuleOptimizer, String> {
    let momentum = settings.momentum;
    match settings.optimizer.as_str() {
        "sgd" if momentum > 0.0 => {
            let momentum = MomentumConfig::new().with_momentum(momentum).with_dampening(0.0);
            Ok(SgdConfig::new().with_momentum(Some(momentum)).init())
        }
        "sgd" => Ok(SgdConfig::new().init()),
        // PyTorch's default; Burn's own is 1e-5.
        "adam" => Ok(AdamConfig::new().with_epsilon(1e-8).init()),
        other => Err(format!("no optimizer `{other}`")),
    }
}

fn finite(loss: f32) -> Result<(), String> {
    let why = "the loss is not finite: the learning rate is too high";
    loss.is_finite().then_some(()).ok_or_else(|| why.to_owned())
}

/// An image of bytes as a network takes it: `[1, 1, 28, 28]`.
pub(crate) fn image(pixels: &[u8]) -> Result<Tensor<4>, String> {
    if pixels.len() != PIXELS {
        return Err(format!("an image has {PIXELS} pixels, not {}", pixels.len()));
    }
    let Normalization { mean, std } = Normalization::STANDARD;
    let pixels: Vec<f32> =
        pixels.iter().map(|&pixel| (f32::from(pixel) / 255.0 - mean) / std).collect();
    Ok(Tensor::from_data(TensorData::new(pixels, [1, 1, SIDE, SIDE]), &Device::flex()))
}

/// The mean cross entropy of logits `[batch, classes]`: `[1]`.
fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    log_softmax(logits, 1).gather(1, labels.unsqueeze_dim::<2>(1)).mean().neg()
}

/// The number of correct predictions.
fn correct(logits: Tensor<2>, labels: Tensor<1, Int>) -> f32 {
    logits.argmax(1).flatten::<1>(0, 1).equal(labels).int().sum().float().into_scalar()
}

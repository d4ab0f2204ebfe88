//! The keys of a config.

use std::{fmt, num::NonZeroUsize, path::PathBuf};

use fashion_mnist::{Augment, Class, Normalization};
use models::{Architecture, Kernels, LoadOptions, NetworkConfig, Preset};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Deserialize, Serialize};

use super::values::*;
use crate::{DeviceName, encoding::by_name};

/// Everything that determines a run, except the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The network, by name.
    #[serde(with = "by_name")]
    #[schemars(schema_with = "networks_schema")]
    pub network: Architecture,
    /// Which variant of the network, for which images.
    #[serde(with = "by_name", default = "d2l")]
    #[schemars(schema_with = "presets_schema")]
    pub preset: Preset,
    /// The seed of all random choices except the validation split, which has `data.split_seed`.
    #[serde(default)]
    pub seed: u64,
    /// The device to compute on.
    #[serde(default)]
    pub device: DeviceName,
    /// Several devices, instead of `device`: each computes a part of every batch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceName>,
    /// The number of passes over the training images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<NonZeroUsize>,
    /// The training time in minutes, instead of `epochs`. The schedule depends on the elapsed time,
    /// so no two runs are the same.
    #[serde(
        default,
        deserialize_with = "positive_or_none",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "positive_schema")]
    pub minutes: Option<f64>,
    /// The number of images in a batch.
    pub batch_size: NonZeroUsize,
    /// Gradient accumulation: the number of batches whose gradients are averaged for one step.
    #[serde(default = "one")]
    pub accumulate: NonZeroUsize,
    /// The share of the target that is spread evenly over all classes
    /// ([Szegedy et al., 2016](https://arxiv.org/abs/1512.00567), section 7).
    #[serde(default, deserialize_with = "share")]
    #[schemars(schema_with = "share_schema")]
    pub label_smoothing: f64,
    /// Which epoch's weights the run ends with.
    #[serde(default)]
    pub weights: WeightsConfig,
    /// Whether the run ends with an evaluation on the test images.
    #[serde(default = "yes")]
    pub test: bool,
    /// The implementation of the network's layers.
    #[serde(default)]
    pub kernels: KernelsConfig,
    /// Weights to start from, instead of random ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretrained: Option<PretrainedConfig>,
    /// The images.
    #[serde(default)]
    pub data: DataConfig,
    /// Random augmentation of the training images.
    #[serde(default)]
    pub augment: AugmentConfig,
    /// The optimizer and its settings.
    pub optimizer: OptimizerConfig,
    /// The learning-rate schedule.
    #[serde(default)]
    pub schedule: ScheduleConfig,
    /// Exponential moving average (EMA) of the weights, used for validation, the test and the saved
    /// weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<EmaConfig>,
    /// When to end a run that no longer improves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStoppingConfig>,
}

/// Which epoch's weights a run ends with: they are saved as `model.bpk`, and tested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WeightsConfig {
    /// Those with the lowest validation loss.
    #[default]
    Best,
    /// Those of the last epoch.
    Last,
}

/// Weights to start from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub struct PretrainedConfig {
    /// The file: `.pth` or `.pt` of PyTorch, `.safetensors`, or `.bpk` of a run.
    pub weights: PathBuf,
    /// Whether the classifier starts from random weights instead of the file's.
    #[serde(default)]
    pub new_classifier: bool,
    /// Whether the file's weights are for color images, so that its first convolution is converted to
    /// grayscale images.
    #[serde(default)]
    pub grayscale: bool,
}

/// The implementation of the network's layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KernelsConfig {
    /// The kernels of the `batch-norm` and `convolution` crates, with Winograd's algorithm where it
    /// is faster.
    #[default]
    Winograd,
    /// The same kernels without Winograd's algorithm.
    Direct,
    /// Burn's own operations.
    Burn,
}

/// The images of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a section")]
pub struct DataConfig {
    /// Which images.
    pub source: SourceConfig,
    /// Training images held out for validation after each epoch, the same share of each class.
    pub validation: NonZeroUsize,
    /// The seed of the validation split. Runs that differ only in `seed` use the same validation
    /// images, and none of them trains on these.
    pub split_seed: u64,
    /// The maximum number of training images; the first ones are used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<NonZeroUsize>,
    /// The normalization of the pixels.
    pub normalization: NormalizationConfig,
}

/// Which images a run uses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SourceConfig {
    /// Fashion-MNIST; if it is not available, synthetic data, after a warning.
    Auto,
    /// Fashion-MNIST; if it is not available, an error.
    FashionMnist,
    /// Synthetic data.
    Synthetic,
}

/// The normalization of the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NormalizationConfig {
    /// From 0 to 1.
    Unit,
    /// Mean 0 and standard deviation 1 over the training images.
    Standard,
}

/// Random augmentation of the training images, off by default. [`Augment`] has the details.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a section")]
pub struct AugmentConfig {
    /// Pixels of padding on each side before a random crop.
    #[serde(deserialize_with = "border")]
    #[schemars(schema_with = "border_schema")]
    pub crop: usize,
    /// Whether an image is flipped left to right with probability 1/2.
    pub flip: bool,
    /// The probability of Random Erasing.
    #[serde(deserialize_with = "probability")]
    #[schemars(schema_with = "probability_schema")]
    pub erase: f64,
    /// The alpha of mixup; 0 is off.
    #[serde(deserialize_with = "not_negative")]
    #[schemars(schema_with = "not_negative_schema")]
    pub mixup: f64,
    /// The alpha of CutMix; 0 is off.
    #[serde(deserialize_with = "not_negative")]
    #[schemars(schema_with = "not_negative_schema")]
    pub cutmix: f64,
}

/// The optimizer and its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub struct OptimizerConfig {
    /// The algorithm.
    pub name: OptimizerName,
    /// The base learning rate.
    #[serde(deserialize_with = "positive")]
    #[schemars(schema_with = "positive_schema")]
    pub learning_rate: f64,
    /// SGD, RMSProp: the momentum coefficient.
    #[serde(default, deserialize_with = "share")]
    #[schemars(schema_with = "share_schema")]
    pub momentum: f64,
    /// SGD: whether the momentum is Nesterov's.
    #[serde(default)]
    pub nesterov: bool,
    /// Adam, AdamW: the decay rate of the mean gradient; default 0.9.
    #[serde(default, deserialize_with = "share_or_none", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "share_schema")]
    pub beta1: Option<f64>,
    /// Adam, AdamW, RMSProp: the decay rate of the mean squared gradient; default 0.999, for
    /// RMSProp 0.99.
    #[serde(default, deserialize_with = "share_or_none", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "share_schema")]
    pub beta2: Option<f64>,
    /// The share of a weight added to its gradient; AdamW subtracts it from the weight itself.
    #[serde(default, deserialize_with = "share")]
    #[schemars(schema_with = "share_schema")]
    pub weight_decay: f64,
    /// Which of the weights decay.
    #[serde(default)]
    pub decay: DecayConfig,
    /// The maximum norm of the gradient of all weights together; a larger gradient is scaled down.
    #[serde(
        default,
        deserialize_with = "positive_or_none",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "positive_schema")]
    pub clip_norm: Option<f64>,
}

/// An optimization algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerName {
    /// Stochastic gradient descent.
    Sgd,
    /// [Kingma and Ba, 2015](https://arxiv.org/abs/1412.6980).
    Adam,
    /// [Loshchilov and Hutter, 2019](https://arxiv.org/abs/1711.05101).
    AdamW,
    /// Tieleman and Hinton, 2012.
    RmsProp,
}

/// Which of the weights decay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DecayConfig {
    /// Those of convolutions and fully connected layers, not the biases and not the scale and shift
    /// of batch normalization.
    #[default]
    Weights,
    /// All.
    All,
}

/// The learning-rate schedule. Times are shares of the whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a section")]
pub struct ScheduleConfig {
    /// The shape.
    pub name: ScheduleName,
    /// The length of the warm-up, in which the learning rate rises to the optimizer's; default 0.3
    /// for `one-cycle`, 0 for the others.
    #[serde(deserialize_with = "share_or_none", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "share_schema")]
    pub warmup: Option<f64>,
    /// `step`: when the learning rate falls.
    #[serde(deserialize_with = "rising_shares")]
    #[schemars(schema_with = "rising_shares_schema")]
    pub milestones: Vec<f64>,
    /// `step`: the factor of each fall; default 0.1.
    #[serde(deserialize_with = "positive_or_none", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "positive_schema")]
    pub factor: Option<f64>,
    /// `cosine`, `linear`: the final learning rate, as a share of the optimizer's.
    #[serde(deserialize_with = "share")]
    #[schemars(schema_with = "share_schema")]
    pub final_factor: f64,
}

/// The shape of a learning-rate schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleName {
    /// Stays at the optimizer's learning rate.
    #[default]
    Constant,
    /// Falls at each milestone.
    Step,
    /// Falls along half a period of the cosine
    /// ([Loshchilov and Hutter, 2017](https://arxiv.org/abs/1608.03983)).
    Cosine,
    /// Falls linearly.
    Linear,
    /// Rises and falls once ([Smith and Topin, 2019](https://arxiv.org/abs/1708.07120)).
    OneCycle,
}

/// Exponential moving average (EMA) of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub struct EmaConfig {
    /// The share of the average that each step keeps; lower in the first steps.
    #[serde(deserialize_with = "share")]
    #[schemars(schema_with = "share_schema")]
    pub decay: f64,
}

/// When to end a run that no longer improves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub struct EarlyStoppingConfig {
    /// The run ends after this many epochs in a row without a lower validation loss.
    pub patience: NonZeroUsize,
}

/// The validation split; see [`DataConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldOut {
    /// The number of images.
    pub validation: NonZeroUsize,
    /// The seed.
    pub split_seed: u64,
}

impl fmt::Display for HoldOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "data.validation = {} and data.split_seed = {}", self.validation, self.split_seed)
    }
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            source: SourceConfig::FashionMnist,
            validation: NonZeroUsize::new(5_000).expect("not zero"),
            split_seed: 0,
            limit: None,
            normalization: NormalizationConfig::Unit,
        }
    }
}

impl DataConfig {
    /// The validation split.
    pub fn hold_out(&self) -> HoldOut {
        HoldOut { validation: self.validation, split_seed: self.split_seed }
    }
}

impl AugmentConfig {
    /// Whether nothing is augmented.
    pub fn is_off(&self) -> bool {
        *self == Self::default()
    }

    /// The setting for the loader.
    pub fn changes(self) -> Augment {
        let Self { crop, flip, erase, mixup, cutmix } = self;
        Augment { crop, flip, erase, mixup, cutmix }
    }
}

impl OptimizerName {
    /// The keys that not every optimizer has.
    pub(super) const KEYS: [&str; 4] = ["momentum", "nesterov", "beta1", "beta2"];

    pub(super) fn has(self, key: &str) -> bool {
        match key {
            "momentum" => matches!(self, Self::Sgd | Self::RmsProp),
            "nesterov" => self == Self::Sgd,
            "beta1" => matches!(self, Self::Adam | Self::AdamW),
            "beta2" => self != Self::Sgd,
            _ => true,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sgd => "sgd",
            Self::Adam => "adam",
            Self::AdamW => "adamw",
            Self::RmsProp => "rmsprop",
        }
    }
}

impl ScheduleName {
    /// The keys that not every schedule has.
    pub(super) const KEYS: [&str; 3] = ["milestones", "factor", "final_factor"];

    pub(super) fn has(self, key: &str) -> bool {
        match key {
            "milestones" | "factor" => self == Self::Step,
            "final_factor" => matches!(self, Self::Cosine | Self::Linear),
            _ => true,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Step => "step",
            Self::Cosine => "cosine",
            Self::Linear => "linear",
            Self::OneCycle => "one-cycle",
        }
    }
}

impl PretrainedConfig {
    /// The options for loading the weights.
    pub fn options(&self) -> LoadOptions {
        let options = LoadOptions::default();
        let options = if self.new_classifier { options.with_new_classifier() } else { options };
        if self.grayscale { options.with_grayscale() } else { options }
    }
}

impl KernelsConfig {
    /// The setting for the network.
    pub fn kernels(self) -> Kernels {
        match self {
            Self::Winograd => Kernels::Winograd,
            Self::Direct => Kernels::Direct,
            Self::Burn => Kernels::Burn,
        }
    }
}

impl NormalizationConfig {
    /// The setting for the loader.
    pub fn values(self) -> Normalization {
        match self {
            Self::Unit => Normalization::UNIT,
            Self::Standard => Normalization::STANDARD,
        }
    }
}

/// The JSON schema of a config.
pub(crate) fn schema() -> serde_json::Value {
    let settings = SchemaSettings::default().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<Config>().to_value()
}

/// Images in the training files; the synthetic data has as many.
pub(super) const TRAINING_IMAGES: usize = 60_000;

impl Config {
    /// The devices to train on together: `devices`, or else `device`.
    pub fn device_names(&self) -> &[DeviceName] {
        if self.devices.is_empty() { std::slice::from_ref(&self.device) } else { &self.devices }
    }

    /// The number of images that an epoch trains on.
    pub fn training_images(&self) -> usize {
        let rest = TRAINING_IMAGES.saturating_sub(self.data.validation.get());
        self.data.limit.map_or(rest, |limit| rest.min(limit.get()))
    }

    /// The number of training steps of an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.training_images().div_ceil(self.batch_size.get().saturating_mul(self.accumulate.get()))
    }

    /// The network, for grayscale images and Fashion-MNIST's classes in every preset.
    ///
    /// # Panics
    ///
    /// If the network does not exist in the preset: [`load`](Self::load) refuses such a config.
    pub fn network_config(&self) -> NetworkConfig {
        let config = self.network.config(self.preset).expect("checked when the config was loaded");
        config.with_channels(1).with_classes(Class::ALL.len()).with_kernels(self.kernels.kernels())
    }

    /// The side, in pixels, of the images that the network takes.
    ///
    /// # Panics
    ///
    /// As [`network_config`](Self::network_config).
    pub fn side(&self) -> usize {
        let [_, side, _] =
            self.network.image(self.preset).expect("checked when the config was loaded");
        side
    }
}

//! The config of a run: a TOML file, parsed strictly.
//!
//! An unknown key, a wrong type or a value out of range is an error that names the file, the line
//! and the nearest valid name, before anything is downloaded or computed.

use std::{
    fmt::{self, Display},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    str::FromStr,
};

use burn::tensor::Device;
use fashion_mnist::{Augment, Class, Normalization};
use models::{Architecture, ConvNet, Kernels, LoadOptions, NetworkConfig, Preset};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

use crate::{
    DeviceName, Error,
    schedule::{Schedule, Shape},
};

/// Everything that determines a run, except the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The network, by name.
    #[serde(with = "by_name")]
    pub network: Architecture,
    /// Which variant of the network, for which images.
    #[serde(with = "by_name", default = "d2l")]
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
    pub minutes: Option<f64>,
    /// The number of images in a batch.
    pub batch_size: NonZeroUsize,
    /// Gradient accumulation: the number of batches whose gradients are averaged for one step.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub accumulate: NonZeroUsize,
    /// The share of the target that is spread evenly over all classes
    /// ([Szegedy et al., 2016](https://arxiv.org/abs/1512.00567), section 7).
    #[serde(default, deserialize_with = "share", skip_serializing_if = "is_zero")]
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
    pub initial: Option<InitialConfig>,
    /// The images.
    #[serde(default)]
    pub data: DataConfig,
    /// Random augmentation of the training images.
    #[serde(default, skip_serializing_if = "AugmentConfig::is_off")]
    pub augment: AugmentConfig,
    /// The optimizer and its settings.
    pub optimizer: OptimizerConfig,
    /// The learning-rate schedule.
    #[serde(default)]
    pub schedule: ScheduleConfig,
    /// The exponential moving average (EMA) of the weights: it is validated, tested and saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<AverageConfig>,
    /// When to end a run that no longer improves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStoppingConfig>,
}

/// Which epoch's weights a run ends with: they are saved as `model.bpk`, and tested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightsConfig {
    /// Those with the lowest validation loss.
    #[default]
    Best,
    /// Those of the last epoch.
    Last,
}

/// Weights to start from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub struct InitialConfig {
    /// The file: `.pth` or `.pt` of PyTorch, `.safetensors`, or `.bpk` of a run.
    pub weights: PathBuf,
    /// Whether the classifier starts from random weights instead of the file's.
    #[serde(default, skip_serializing_if = "is_false")]
    pub new_classifier: bool,
    /// Whether the file's weights are for color images.
    #[serde(default, skip_serializing_if = "is_false")]
    pub grey_images: bool,
}

/// The implementation of the network's layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormalizationConfig {
    /// From 0 to 1.
    Unit,
    /// Mean 0 and standard deviation 1 over the training images.
    Standard,
}

/// Random augmentation of the training images, off by default. [`Augment`] has the details.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section")]
pub struct AugmentConfig {
    /// Pixels of padding on each side before a random crop.
    #[serde(deserialize_with = "border")]
    pub crop: usize,
    /// Whether an image is flipped left to right with probability 1/2.
    pub flip: bool,
    /// The probability of Random Erasing.
    #[serde(deserialize_with = "probability")]
    pub erase: f64,
    /// The alpha of mixup; 0 is off.
    #[serde(deserialize_with = "not_negative")]
    pub mixup: f64,
    /// The alpha of CutMix; 0 is off.
    #[serde(deserialize_with = "not_negative")]
    pub cutmix: f64,
}

/// The optimizer and its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub struct OptimizerConfig {
    /// The algorithm.
    pub name: OptimizerName,
    /// The base learning rate.
    #[serde(deserialize_with = "positive")]
    pub learning_rate: f64,
    /// SGD, RMSProp: the momentum coefficient.
    #[serde(default, deserialize_with = "share", skip_serializing_if = "is_zero")]
    pub momentum: f64,
    /// SGD: whether the momentum is Nesterov's.
    #[serde(default, skip_serializing_if = "is_false")]
    pub nesterov: bool,
    /// Adam, AdamW: the decay rate of the mean gradient; default 0.9.
    #[serde(default, deserialize_with = "share_or_none", skip_serializing_if = "Option::is_none")]
    pub beta1: Option<f64>,
    /// Adam, AdamW, RMSProp: the decay rate of the mean squared gradient; default 0.999, for
    /// RMSProp 0.99.
    #[serde(default, deserialize_with = "share_or_none", skip_serializing_if = "Option::is_none")]
    pub beta2: Option<f64>,
    /// The share of a weight added to its gradient; AdamW subtracts it from the weight itself.
    #[serde(default, deserialize_with = "share", skip_serializing_if = "is_zero")]
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
    pub clip_norm: Option<f64>,
}

/// An optimization algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section")]
pub struct ScheduleConfig {
    /// The shape.
    pub name: ScheduleName,
    /// The length of the warm-up, in which the learning rate rises to the optimizer's; default 0.3
    /// for `one-cycle`, 0 for the others.
    #[serde(deserialize_with = "share_or_none", skip_serializing_if = "Option::is_none")]
    pub warmup: Option<f64>,
    /// `step`: when the learning rate falls.
    #[serde(deserialize_with = "rising_shares", skip_serializing_if = "Vec::is_empty")]
    pub milestones: Vec<f64>,
    /// `step`: the factor of each fall; default 0.1.
    #[serde(deserialize_with = "positive_or_none", skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// `cosine`, `linear`: the final learning rate, as a share of the optimizer's.
    #[serde(deserialize_with = "share", skip_serializing_if = "is_zero")]
    pub final_factor: f64,
}

/// The shape of a learning-rate schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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

/// The exponential moving average (EMA) of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub struct AverageConfig {
    /// The share of the average that each step keeps; lower in the first steps.
    #[serde(deserialize_with = "share")]
    pub decay: f64,
}

/// When to end a run that no longer improves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
    const KEYS: [&str; 4] = ["momentum", "nesterov", "beta1", "beta2"];

    fn has(self, key: &str) -> bool {
        match key {
            "momentum" => matches!(self, Self::Sgd | Self::RmsProp),
            "nesterov" => self == Self::Sgd,
            "beta1" => matches!(self, Self::Adam | Self::AdamW),
            "beta2" => self != Self::Sgd,
            _ => true,
        }
    }

    fn name(self) -> &'static str {
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
    const KEYS: [&str; 3] = ["milestones", "factor", "final_factor"];

    fn has(self, key: &str) -> bool {
        match key {
            "milestones" | "factor" => self == Self::Step,
            "final_factor" => matches!(self, Self::Cosine | Self::Linear),
            _ => true,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Step => "step",
            Self::Cosine => "cosine",
            Self::Linear => "linear",
            Self::OneCycle => "one-cycle",
        }
    }
}

impl InitialConfig {
    /// The options for loading the weights.
    pub fn options(&self) -> LoadOptions {
        let options = LoadOptions::default();
        let options = if self.new_classifier { options.with_new_classifier() } else { options };
        if self.grey_images { options.with_grey_images() } else { options }
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

/// The config of a run without a config file.
const QUICKSTART: &str = include_str!("../../../configs/quickstart.toml");

/// Images in the training files; the synthetic data has as many.
const TRAINING_IMAGES: usize = 60_000;

impl Config {
    /// Reads `path`, or the built-in quickstart if it is `None`, then applies the overrides: the
    /// name of each for messages, and `KEY=VALUE`. An empty value removes the key.
    ///
    /// A different `optimizer.name` or `schedule.name` also removes the keys of the file that it
    /// does not use.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or the file or an override is not valid.
    pub fn load(path: Option<&Path>, overrides: &[(String, String)]) -> Result<Self, Error> {
        let (file, text) = match path {
            Some(path) => (path.to_owned(), read(path)?),
            None => (PathBuf::from("configs/quickstart.toml"), QUICKSTART.to_owned()),
        };
        let mut config: Self =
            toml::from_str(&text).map_err(|error| Error::Usage(locate(&file, &text, &error)))?;
        let asked: Vec<&str> = overrides.iter().map(|(_, assignment)| key_of(assignment)).collect();
        for (name, assignment) in overrides {
            config = config
                .with(assignment, &asked)
                .map_err(|why| Error::Usage(format!("{name}: {}", readable(&why))))?;
        }
        match config.check() {
            Ok(()) => Ok(config),
            // An override may be the cause, not a line of the file.
            Err((_, why)) if !overrides.is_empty() => Err(Error::Usage(why)),
            Err((key, why)) => {
                let line = text.lines().position(|line| line.trim_start().starts_with(key));
                let line = line.map(|index| format!(":{}", index + 1)).unwrap_or_default();
                Err(Error::Usage(format!("{}{line}: {why}", file.display())))
            }
        }
    }

    /// Reads the config of a run from the run's folder; see [`load`](Self::load).
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn of_run(run: &Path, overrides: &[(String, String)]) -> Result<Self, Error> {
        Self::load(Some(&run.join("config.toml")), overrides)
    }

    /// Returns this config with one key changed. `asked` lists the keys of all changes.
    fn with(&self, assignment: &str, asked: &[&str]) -> Result<Self, String> {
        let (_, value) = assignment
            .split_once('=')
            .ok_or("expected KEY=VALUE, such as `--set optimizer.learning_rate=0.5`")?;
        let (key, value) = (key_of(assignment), value.trim());
        // Deeply nested tables would overflow the stack.
        if key.split('.').nth(2).is_some() {
            return Err("expected a key in one section at most, such as `data.limit`".to_owned());
        }
        // Anything that is not a TOML value is treated as a string without quotes.
        let given = toml::Table::from_str(&format!("value = {value}"))
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| value.into());

        let mut root = toml::Table::try_from(self).map_err(|error| error.to_string())?;
        // Setting one of two keys that exclude each other removes the other.
        for [one, other] in [["epochs", "minutes"], ["device", "devices"]] {
            if key == one {
                root.remove(other);
            } else if key == other {
                root.remove(one);
            }
        }
        let unused = match key {
            "optimizer.name" => unused(&given, &OptimizerName::KEYS, OptimizerName::has),
            "schedule.name" => unused(&given, &ScheduleName::KEYS, ScheduleName::has),
            _ => Vec::new(),
        };
        let (table, name) = place(&mut root, key)?;
        for unused in unused {
            if !asked.contains(&key.replace("name", unused).as_str()) {
                table.remove(unused);
            }
        }
        table.insert(name.to_owned(), given);

        let parse = |root: &toml::Table| {
            let config = root.clone().try_into();
            config.map_err(|error: toml::de::Error| error.message().to_owned())
        };
        let changed = parse(&root);
        let is_unknown = |why: &String| why.starts_with("unknown field");
        if !value.is_empty() || changed.as_ref().is_err_and(is_unknown) {
            return changed;
        }
        let (table, name) = place(&mut root, key)?;
        table.remove(name);
        parse(&root)
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

    /// The learning-rate schedule.
    pub(crate) fn schedule(&self) -> Schedule {
        let ScheduleConfig { name, warmup, ref milestones, factor, final_factor } = self.schedule;
        let shape = match name {
            ScheduleName::Constant => Shape::Constant,
            ScheduleName::Step => {
                Shape::Step { milestones: milestones.clone(), factor: factor.unwrap_or(0.1) }
            }
            ScheduleName::Cosine => Shape::Cosine { final_factor },
            ScheduleName::Linear => Shape::Linear { final_factor },
            ScheduleName::OneCycle => Shape::OneCycle,
        };
        let rise = if name == ScheduleName::OneCycle { 0.3 } else { 0.0 };
        Schedule { shape, warmup: warmup.unwrap_or(rise) }
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

    /// Checks what depends on several keys. The error is one of the keys, and what is wrong.
    fn check(&self) -> Result<(), (&'static str, String)> {
        if let Err(error) = self.network.config(self.preset) {
            return Err(("network", error.to_string()));
        }
        let (images, batch) = (self.training_images(), self.batch_size.get());
        if images == 0 {
            let validation = self.data.validation;
            let why = format!(
                "data.validation = {validation} leaves none of the {TRAINING_IMAGES} training \
                 images to train on"
            );
            return Err(("validation", why));
        }
        if batch > images {
            let why = format!("batch_size = {batch} is more than the {images} images to train on");
            return Err(("batch_size", why));
        }
        self.check_keys()?;
        if self.accumulate.get() > images.div_ceil(batch) {
            let why = format!(
                "accumulate = {} is more than the {} batches of an epoch",
                self.accumulate,
                images.div_ceil(batch)
            );
            return Err(("accumulate", why));
        }
        let devices = self.devices.len().max(1);
        let last = (images - 1) % batch + 1;
        if batch < devices {
            let why = format!("batch_size = {batch} gives some of the {devices} devices no image");
            return Err(("batch_size", why));
        }
        // Each device's part of a batch is normalized separately.
        let network = || self.network_config().init(&Device::flex());
        if last / devices <= 1 && network().has_batch_norm() {
            let what = if devices == 1 { "batch" } else { "device's part of a batch" };
            let why = format!(
                "with batch_size = {batch}, a {what} has only one of the {images} images, which is \
                 too few for batch normalization: choose another batch_size or data.limit"
            );
            return Err(("batch_size", why));
        }
        Ok(())
    }

    /// Checks for keys that contradict each other or that are unused because of another key's
    /// value.
    fn check_keys(&self) -> Result<(), (&'static str, String)> {
        match (self.epochs, self.minutes) {
            (None, None) => {
                return Err((
                    "network",
                    "neither `epochs` nor `minutes` is given: add one of them".to_owned(),
                ));
            }
            (Some(_), Some(_)) => {
                return Err(("minutes", "`epochs` and `minutes`: give one of them".to_owned()));
            }
            _ => {}
        }
        if !self.devices.is_empty() && self.device != DeviceName::Auto {
            return Err(("devices", "`device` and `devices`: give one of them".to_owned()));
        }

        let OptimizerConfig { name, momentum, nesterov, beta1, beta2, .. } = self.optimizer;
        let given = [momentum > 0.0, nesterov, beta1.is_some(), beta2.is_some()];
        for (key, given) in OptimizerName::KEYS.into_iter().zip(given) {
            if given && !name.has(key) {
                return Err((key, format!("the optimizer {} has no {key}", name.name())));
            }
        }
        if nesterov && momentum == 0.0 {
            return Err(("nesterov", "nesterov = true needs a momentum above 0".to_owned()));
        }

        let ScheduleConfig { name, ref milestones, factor, final_factor, .. } = self.schedule;
        let given = [!milestones.is_empty(), factor.is_some(), final_factor > 0.0];
        for (key, given) in ScheduleName::KEYS.into_iter().zip(given) {
            if given && !name.has(key) {
                return Err((key, format!("the schedule {} has no {key}", name.name())));
            }
        }
        if let Some(first) = milestones.first()
            && *first < self.schedule.warmup.unwrap_or_default()
        {
            let why = "the first milestone is in the warm-up";
            return Err(("milestones", why.to_owned()));
        }
        if name == ScheduleName::Step && milestones.is_empty() {
            let why = "the schedule `step` needs milestones, such as [0.5, 0.75]";
            return Err(("[schedule]", why.to_owned()));
        }
        Ok(())
    }
}

/// The key of `KEY=VALUE`.
fn key_of(assignment: &str) -> &str {
    assignment.split_once('=').map_or(assignment, |(key, _)| key).trim()
}

/// The section of a key such as `optimizer.name`, and the key's name in it.
fn place<'a>(
    root: &'a mut toml::Table,
    key: &'a str,
) -> Result<(&'a mut toml::Table, &'a str), String> {
    let Some((sections, name)) = key.rsplit_once('.') else { return Ok((root, key)) };
    let mut table = root;
    for section in sections.split('.') {
        let entry = table.entry(section).or_insert_with(|| toml::Table::new().into());
        table =
            entry.as_table_mut().ok_or_else(|| format!("`{section}` is a value, not a section"))?;
    }
    Ok((table, name))
}

/// The keys that a choice such as `optimizer.name` does not use; none if the choice is not valid.
fn unused<N: DeserializeOwned + Copy>(
    name: &toml::Value,
    keys: &[&'static str],
    has: fn(N, &str) -> bool,
) -> Vec<&'static str> {
    let Ok(name) = name.clone().try_into::<N>() else { return Vec::new() };
    keys.iter().copied().filter(|key| !has(name, key)).collect()
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => {
                " (the configs that come with this program are in configs/)"
            }
            _ => "",
        };
        Error::Usage(format!("cannot read the config {}: {error}{hint}", path.display()))
    })
}

/// Formats an error in the file as `FILE:LINE: message`, with the line.
fn locate(file: &Path, text: &str, error: &toml::de::Error) -> String {
    let file = file.display();
    let message = readable(error.message());
    // A key that is missing at the top level has no line.
    let missing = |start| start == 0 && message.starts_with("missing");
    let Some(span) = error.span().filter(|span| !missing(span.start)) else {
        return format!("{file}: {message}");
    };
    let before = &text[..span.start.min(text.len())];
    let number = before.lines().count().max(1) + usize::from(before.ends_with('\n'));
    let line = text.lines().nth(number - 1).unwrap_or_default();
    format!("{file}:{number}: {message}\n    {}", line.trim())
}

/// Makes serde's message readable without knowledge of Rust's types, and adds the valid name
/// nearest to a wrong one. serde and this crate quote names in backticks: first the wrong one, then
/// those expected.
pub(crate) fn readable(message: &str) -> String {
    // A key of older configs, such as those of interrupted runs.
    if message.starts_with("unknown field `batch_norm`") {
        return "unknown field `batch_norm`: the key is `kernels` now, with `winograd` for `kernel` \
                and `burn` for `reference`"
            .to_owned();
    }
    let message = message.replace("a nonzero usize", "a whole number above 0");
    let mut names = message.split('`').skip(1).step_by(2);
    // A longer text is not similar to any name, and the comparison would take long.
    let is_name = |wrong: &&str| message.starts_with("unknown") && wrong.len() < 100;
    let nearest = names.next().filter(is_name).and_then(|wrong| {
        let similarity = |name: &&str| strsim::jaro_winkler(wrong, name);
        names
            .filter(|name| similarity(name) > 0.7)
            .max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
    });
    match nearest {
        Some(name) => format!("{message}; did you mean `{name}`?"),
        None => message.clone(),
    }
}

fn d2l() -> Preset {
    Preset::D2l
}

fn number_where<'de, D: Deserializer<'de>>(
    deserializer: D,
    holds: impl Fn(f64) -> bool,
    expected: &str,
) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if holds(number) {
        Ok(number)
    } else {
        Err(serde::de::Error::custom(format!("expected a number {expected}, not {number}")))
    }
}

fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    number_where(deserializer, |number| number > 0.0 && number.is_finite(), "above 0")
}

fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    number_where(deserializer, |number| (0.0..1.0).contains(&number), "from 0 to below 1")
}

fn probability<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    number_where(deserializer, |number| (0.0..=1.0).contains(&number), "from 0 to 1")
}

fn not_negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    number_where(deserializer, |number| number >= 0.0 && number.is_finite(), "of at least 0")
}

fn positive_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    positive(deserializer).map(Some)
}

fn share_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    share(deserializer).map(Some)
}

fn border<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let pixels = usize::deserialize(deserializer)?;
    match pixels < fashion_mnist::SIDE {
        true => Ok(pixels),
        false => Err(serde::de::Error::custom(format!(
            "expected a number of pixels below the image's {}, not {pixels}",
            fashion_mnist::SIDE
        ))),
    }
}

fn rising_shares<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let shares = Vec::<f64>::deserialize(deserializer)?;
    let rising = shares.windows(2).all(|pair| pair[0] < pair[1]);
    match rising && shares.iter().all(|share| (0.0..1.0).contains(share)) {
        true => Ok(shares),
        false => Err(serde::de::Error::custom(format!(
            "expected rising shares of the run, each from 0 to below 1, not {shares:?}"
        ))),
    }
}

fn yes() -> bool {
    true
}

fn one() -> NonZeroUsize {
    NonZeroUsize::MIN
}

fn is_one(number: &NonZeroUsize) -> bool {
    *number == NonZeroUsize::MIN
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A value written as its name.
pub(crate) mod by_name {
    use super::*;

    pub fn serialize<S: serde::Serializer>(
        value: &impl Display,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr<Err: Display>,
    {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

//! What a run does: a TOML file, read strictly.
//!
//! Every key is known, of the right type and within its range, or the config is refused with the
//! file, the line and the nearest valid name, before anything is downloaded or computed.

use std::{
    fmt::Display,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    str::FromStr,
};

use fashion_mnist::{Class, Normalization};
use models::{Architecture, Implementation, NetworkConfig, Preset};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{DeviceName, Error};

/// Everything that a run depends on, but the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The network, by name.
    #[serde(with = "by_name")]
    pub network: Architecture,
    /// What the network is made for.
    #[serde(with = "by_name", default = "d2l")]
    pub preset: Preset,
    /// Decides every random choice of the run.
    #[serde(default)]
    pub seed: u64,
    /// Where to compute.
    #[serde(with = "by_name", default)]
    pub device: DeviceName,
    /// How often to go through the training images.
    pub epochs: NonZeroUsize,
    /// Images to a training step.
    pub batch_size: NonZeroUsize,
    /// Which epoch's weights the run ends with.
    #[serde(default)]
    pub weights: WeightsConfig,
    /// What computes the batch normalization.
    #[serde(default)]
    pub batch_norm: BatchNormConfig,
    /// The images.
    #[serde(default)]
    pub data: DataConfig,
    /// How the weights follow their gradients.
    pub optimizer: OptimizerConfig,
}

/// Which epoch's weights a run ends with: they are tested, and saved as `model.bpk`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightsConfig {
    /// Those with the lowest validation loss.
    #[default]
    Best,
    /// Those of the last epoch.
    Last,
}

/// What computes the batch normalization.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BatchNormConfig {
    /// The kernels of the `batch-norm` crate.
    #[default]
    Kernel,
    /// Burn's own operations.
    Reference,
}

/// The images of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section")]
pub struct DataConfig {
    /// Which images.
    pub source: SourceConfig,
    /// Training images held out for validation after each epoch, the same share of each class.
    pub validation: NonZeroUsize,
    /// Train on the first so many images only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<NonZeroUsize>,
    /// How pixels become numbers.
    pub normalization: NormalizationConfig,
}

/// Which images a run takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceConfig {
    /// Fashion-MNIST; where it cannot be had, the synthetic stand-in, after a warning.
    Auto,
    /// Fashion-MNIST or none.
    FashionMnist,
    /// The synthetic stand-in.
    Synthetic,
}

/// How pixels become numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormalizationConfig {
    /// From 0 to 1.
    Unit,
    /// Mean 0 and standard deviation 1 over the training images.
    Standard,
}

/// How the weights follow their gradients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub struct OptimizerConfig {
    /// Which algorithm.
    pub name: OptimizerName,
    /// The step along the gradient.
    #[serde(deserialize_with = "positive")]
    pub learning_rate: f64,
    /// The share of the last step that the next one keeps.
    #[serde(default, deserialize_with = "share")]
    pub momentum: f64,
    /// The share of a weight added to its gradient.
    #[serde(default, deserialize_with = "share")]
    pub weight_decay: f64,
}

/// An optimization algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerName {
    /// Stochastic gradient descent.
    Sgd,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            source: SourceConfig::FashionMnist,
            validation: NonZeroUsize::new(5_000).expect("not zero"),
            limit: None,
            normalization: NormalizationConfig::Unit,
        }
    }
}

impl BatchNormConfig {
    /// What the network is told.
    pub fn implementation(self) -> Implementation {
        match self {
            Self::Kernel => Implementation::Kernel,
            Self::Reference => Implementation::Reference,
        }
    }
}

impl NormalizationConfig {
    /// What the loader is told.
    pub fn values(self) -> Normalization {
        match self {
            Self::Unit => Normalization::UNIT,
            Self::Standard => Normalization::STANDARD,
        }
    }
}

/// The config of a run without a config file.
const QUICKSTART: &str = include_str!("../../../configs/quickstart.toml");

/// Images in the training files; also drawn by the stand-in.
const TRAINING_IMAGES: usize = 60_000;

impl Config {
    /// Reads `path`, or the quickstart without one, then applies the overrides: what to call each in
    /// a message, and `KEY=VALUE`.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or it or an override does not make a valid config.
    pub fn load(path: Option<&Path>, overrides: &[(String, String)]) -> Result<Self, Error> {
        let (file, text) = match path {
            Some(path) => (path.to_owned(), read(path)?),
            None => (PathBuf::from("configs/quickstart.toml"), QUICKSTART.to_owned()),
        };
        let mut config: Self =
            toml::from_str(&text).map_err(|error| Error::Usage(locate(&file, &text, &error)))?;
        for (name, assignment) in overrides {
            config = config
                .with(assignment)
                .map_err(|why| Error::Usage(format!("{name}: {}", readable(&why))))?;
        }
        match config.check() {
            Ok(()) => Ok(config),
            // With overrides, any of them may be to blame.
            Err((_, why)) if !overrides.is_empty() => Err(Error::Usage(why)),
            Err((key, why)) => {
                let line = text.lines().position(|line| line.trim_start().starts_with(key));
                let line = line.map(|index| format!(":{}", index + 1)).unwrap_or_default();
                Err(Error::Usage(format!("{}{line}: {why}", file.display())))
            }
        }
    }

    /// This config with one key changed.
    fn with(&self, assignment: &str) -> Result<Self, String> {
        let (key, value) = assignment
            .split_once('=')
            .ok_or("expected KEY=VALUE, such as `--set optimizer.learning_rate=0.5`")?;
        // What is not a TOML value is a string without its quotes.
        let value = toml::Table::from_str(&format!("value = {value}"))
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| value.into());

        let mut root = toml::Table::try_from(self).map_err(|error| error.to_string())?;
        let mut table = &mut root;
        let mut path: Vec<&str> = key.trim().split('.').collect();
        let last = path.pop().unwrap_or_default();
        for name in path {
            let entry = table.entry(name).or_insert_with(|| toml::Table::new().into());
            table = entry
                .as_table_mut()
                .ok_or_else(|| format!("`{name}` is a value, not a section"))?;
        }
        table.insert(last.to_owned(), value);
        root.try_into().map_err(|error: toml::de::Error| error.message().to_owned())
    }

    /// The number of images that an epoch trains on.
    pub fn training_images(&self) -> usize {
        let rest = TRAINING_IMAGES.saturating_sub(self.data.validation.get());
        self.data.limit.map_or(rest, |limit| rest.min(limit.get()))
    }

    /// The network, for grey images of Fashion-MNIST's classes whatever the preset is made for.
    ///
    /// # Panics
    ///
    /// If the network does not exist in the preset: [`load`](Self::load) refuses such a config.
    pub fn network_config(&self) -> NetworkConfig {
        let config = self.network.config(self.preset).expect("checked when the config was loaded");
        config
            .with_channels(1)
            .with_classes(Class::ALL.len())
            .with_implementation(self.batch_norm.implementation())
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

    /// What no single key can tell: one of the keys, and what is wrong with them.
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
        let last = (images - 1) % batch + 1;
        if last == 1 && self.network.has_batch_norm(self.preset) {
            let why = format!(
                "batch_size = {batch} makes a batch of a single one of the {images} images, which \
                 batch normalization cannot take: choose another batch_size or data.limit"
            );
            return Err(("batch_size", why));
        }
        Ok(())
    }
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

/// An error of the file as `FILE:LINE: message`, with the line.
fn locate(file: &Path, text: &str, error: &toml::de::Error) -> String {
    let file = file.display();
    let message = readable(error.message());
    // What is missing from the whole file has no place in it.
    let missing = |start| start == 0 && message.starts_with("missing");
    let Some(span) = error.span().filter(|span| !missing(span.start)) else {
        return format!("{file}: {message}");
    };
    let before = &text[..span.start.min(text.len())];
    let number = before.lines().count().max(1) + usize::from(before.ends_with('\n'));
    let line = text.lines().nth(number - 1).unwrap_or_default();
    format!("{file}:{number}: {message}\n    {}", line.trim())
}

/// serde's message for people who do not know Rust's types, with the valid name nearest to a wrong
/// one. serde and this crate quote names in backticks: first the wrong one, then those expected.
pub(crate) fn readable(message: &str) -> String {
    let message = message.replace("a nonzero usize", "a whole number above 0");
    let mut names = message.split('`').skip(1).step_by(2);
    let nearest = names.next().filter(|_| message.starts_with("unknown")).and_then(|wrong| {
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

/// A value written as its name.
mod by_name {
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

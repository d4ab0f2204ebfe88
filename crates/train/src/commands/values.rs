//! What the arguments of several commands have in common.

use std::{fmt::Display, str::FromStr};

use burn::tensor::Device;
use clap::Args;
use models::{Architecture, ConvNet, Preset, summary::Summary};

use crate::{Error, config::readable};

/// A network and the images for it.
#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    /// The network, a name that the command `networks` prints.
    #[arg(value_parser = named::<Architecture>)]
    pub network: Architecture,

    /// d2l, imagenet or small [default: the first that has the network].
    #[arg(long, value_parser = named::<Preset>)]
    pub preset: Option<Preset>,

    /// The image's shape, CHANNELSxHEIGHTxWIDTH [default: the preset's].
    #[arg(long, value_name = "CxHxW", value_parser = image)]
    pub input: Option<[usize; 3]>,
}

impl NetworkArgs {
    /// The preset, and the summary.
    pub(super) fn summary(&self) -> Result<(Preset, Summary), Error> {
        let network = self.network;
        let preset = self.preset.unwrap_or_else(|| preset_of(network, None));
        let config = network.config(preset).map_err(|error| Error::Usage(error.to_string()))?;
        let input = match self.input {
            Some(input) => input,
            None => network.image(preset).map_err(|error| Error::Usage(error.to_string()))?,
        };
        let network = config.with_channels(input[0]).init(&Device::flex());
        let summary = network.summary(input).map_err(|error| Error::Usage(error.to_string()))?;
        Ok((preset, summary))
    }
}

/// Parses a name. The error has the nearest valid one.
pub(super) fn named<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| readable(&error.to_string()))
}

/// The preset of a network if none is given: the preferred one if it has the network, otherwise the
/// first that has it.
pub(super) fn preset_of(network: Architecture, preferred: Option<Preset>) -> Preset {
    let preferred = network.presets().find(|&preset| Some(preset) == preferred);
    preferred.or(network.presets().next()).expect("every network has a preset")
}

/// The changes to a config by `--set` and `--device`: each argument as given, and as `KEY=VALUE`.
pub(super) fn changes(set: &[String], device: Option<&str>) -> Vec<(String, String)> {
    let set = set.iter().map(|set| (format!("--set {set}"), set.clone()));
    let device = device.map(|name| (format!("--device {name}"), format!("device={name}")));
    set.chain(device).collect()
}

/// Parses a shape such as `3x224x224`.
fn image(text: &str) -> Result<[usize; 3], String> {
    let number = |number: &str| number.parse().ok().filter(|n| (1..=65_536).contains(n));
    let numbers: Option<Vec<usize>> = text.split('x').map(number).collect();
    numbers.and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| {
        "expected CHANNELSxHEIGHTxWIDTH, such as 3x224x224, each at most 65536".to_owned()
    })
}

use std::{fmt, str::FromStr};

use batch_norm::Implementation;
use burn::tensor::Device;

use crate::{LeNetConfig, Network};

/// The name of a network: every one that this crate has, once.
///
/// ```
/// use models::Architecture;
///
/// let architecture: Architecture = "lenet_bn".parse()?;
/// assert_eq!(architecture.to_string(), "lenet_bn");
/// # Ok::<(), models::UnknownName>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// [`LeNetConfig::lenet`].
    LeNet,
    /// [`LeNetConfig::lenet_bn`].
    LeNetBn,
}

/// What a network is made for: its size, its input, its number of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Preset {
    /// The notes' networks for Fashion-MNIST: grey images, 10 classes.
    D2l,
}

/// A name that nothing has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    what: &'static str,
    name: String,
    known: Vec<&'static str>,
}

impl Architecture {
    /// Every network.
    pub const ALL: [Self; 2] = [Self::LeNet, Self::LeNetBn];

    /// The name, as in a config file.
    pub fn name(self) -> &'static str {
        match self {
            Self::LeNet => "lenet",
            Self::LeNetBn => "lenet_bn",
        }
    }

    /// The side, in pixels, of the images that the network takes in this preset.
    pub fn side(self, preset: Preset) -> usize {
        match (self, preset) {
            (Self::LeNet | Self::LeNetBn, Preset::D2l) => LeNetConfig::SIDE,
        }
    }

    /// Whether the network normalizes batches, so that it cannot train on a batch of one image.
    pub fn has_batch_norm(self) -> bool {
        match self {
            Self::LeNet => false,
            Self::LeNetBn => true,
        }
    }

    /// The network with fresh weights, its batch normalization computed by `implementation`.
    pub fn init(self, preset: Preset, implementation: Implementation, device: &Device) -> Network {
        let config = match (self, preset) {
            (Self::LeNet, Preset::D2l) => LeNetConfig::lenet(),
            (Self::LeNetBn, Preset::D2l) => LeNetConfig::lenet_bn(),
        };
        Network::LeNet(config.with_implementation(implementation).init(device))
    }
}

impl Preset {
    /// Every preset.
    pub const ALL: [Self; 1] = [Self::D2l];

    /// The name, as in a config file.
    pub fn name(self) -> &'static str {
        match self {
            Self::D2l => "d2l",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Architecture {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        find("network", name, &Self::ALL, Self::name)
    }
}

impl FromStr for Preset {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        find("preset", name, &Self::ALL, Self::name)
    }
}

fn find<T: Copy>(
    what: &'static str,
    name: &str,
    all: &[T],
    name_of: fn(T) -> &'static str,
) -> Result<T, UnknownName> {
    let found = all.iter().copied().find(|&candidate| name_of(candidate) == name);
    found.ok_or_else(|| UnknownName {
        what,
        name: name.to_owned(),
        known: all.iter().copied().map(name_of).collect(),
    })
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.join("`, `");
        write!(f, "unknown {} `{}`, expected one of `{known}`", self.what, self.name)
    }
}

impl std::error::Error for UnknownName {}

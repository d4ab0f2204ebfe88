use std::{fmt, str::FromStr};

use crate::Architecture;

/// The purpose of a network, which determines its size, its input and its number of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Preset {
    /// The networks of the D2L notes for Fashion-MNIST: grayscale images, 10 classes, Xavier
    /// initialization.
    D2l,
    /// torchvision's networks for ImageNet, and NiN as its authors published it: color images of
    /// 224 pixels, 1000 classes.
    Imagenet,
    /// Networks for small images of 28 to 32 pixels: grayscale, 10 classes.
    Small,
}

/// The error for an unknown network or preset name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    what: &'static str,
    name: String,
    known: Vec<&'static str>,
}

/// The error for a network that does not exist in a preset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchPreset {
    pub(crate) architecture: Architecture,
    pub(crate) preset: Preset,
}

impl Architecture {
    /// Returns the presets in which the network exists.
    pub fn presets(self) -> impl Iterator<Item = Preset> {
        Preset::ALL.into_iter().filter(move |&preset| self.config(preset).is_ok())
    }
}

impl Preset {
    /// Every preset.
    pub const ALL: [Self; 3] = [Self::D2l, Self::Imagenet, Self::Small];

    /// The name, as in a config file.
    pub fn name(self) -> &'static str {
        match self {
            Self::D2l => "d2l",
            Self::Imagenet => "imagenet",
            Self::Small => "small",
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

impl fmt::Display for NoSuchPreset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { architecture, preset } = self;
        let presets: Vec<_> = architecture.presets().map(Preset::name).collect();
        let presets = presets.join("`, `");
        write!(f, "there is no `{architecture}` in preset `{preset}`, only in `{presets}`")
    }
}

impl std::error::Error for NoSuchPreset {}

//! What is measured.

use burn::tensor::Device;
use clap::ValueEnum;
use models::{
    Architecture::{self, *},
    ConvNet, NetworkConfig, Preset,
};
use serde::{Deserialize, Serialize};
use train::Error;

/// The default cases.
pub const CASES: [Case; 17] = [
    Case::new(LeNet, Preset::D2l, 28, 256),
    Case::new(LeNetBn, Preset::D2l, 28, 256),
    Case::new(ResNet18, Preset::D2l, 96, 32),
    Case::new(GoogLeNet, Preset::D2l, 96, 32),
    Case::new(DenseNet, Preset::D2l, 96, 32),
    Case::new(AlexNet, Preset::D2l, 224, 32),
    Case::new(Vgg11, Preset::D2l, 224, 32),
    Case::new(Nin, Preset::D2l, 224, 32),
    Case::new(ResNet18, Preset::Small, 28, 64),
    Case::new(Vgg16Bn, Preset::Small, 28, 64),
    Case::new(DenseNetBc, Preset::Small, 28, 64),
    Case::new(Wrn16_1, Preset::Small, 28, 64),
    Case::new(Wrn16_2, Preset::Small, 28, 64),
    Case::new(Wrn16_4, Preset::Small, 28, 64),
    Case::new(Wrn40_4, Preset::Small, 28, 64),
    Case::new(Wrn28_10, Preset::Small, 28, 64),
    Case { works: &[Work::Prediction], ..Case::new(ResNet50, Preset::Imagenet, 224, 8) },
];

/// A network on batches of one size.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub network: Architecture,
    pub preset: Preset,
    /// Side length of the images in pixels.
    pub size: usize,
    /// Images per batch.
    pub batch: usize,
    pub works: &'static [Work],
}

/// The kind of work that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// Forward, with folded batch normalization.
    Prediction,
    /// Forward, cross entropy, backward, and a step of SGD with momentum.
    Training,
}

impl Case {
    /// Prediction and training.
    pub const fn new(network: Architecture, preset: Preset, size: usize, batch: usize) -> Self {
        Self { network, preset, size, batch, works: &[Work::Prediction, Work::Training] }
    }

    /// Returns the config of the network in this preset.
    pub fn config(&self) -> NetworkConfig {
        self.network.config(self.preset).expect("checked when the case was made")
    }

    /// `[channels, height, width]`
    pub fn image(&self) -> [usize; 3] {
        let image = self.network.image(self.preset).expect("checked when the case was made");
        [image[0], self.size, self.size]
    }

    pub fn classes(&self) -> i32 {
        if self.preset == Preset::Imagenet { 1000 } else { 10 }
    }

    pub fn check(&self) -> Result<(), Error> {
        let usage = |error: &dyn std::fmt::Display| Error::Usage(error.to_string());
        let config = self.network.config(self.preset).map_err(|error| usage(&error))?;
        let network = config.init(&Device::flex());
        network.check(self.image()).map_err(|error| usage(&error))?;
        let trains = self.works.contains(&Work::Training);
        if trains && self.batch == 1 && network.has_batch_norm() {
            return Err(Error::Usage(format!(
                "{} has batch normalization and cannot train on a batch of one image: use a larger \
                 --batch, or --work prediction",
                self.network
            )));
        }
        Ok(())
    }
}

impl Work {
    pub fn name(self) -> &'static str {
        match self {
            Self::Prediction => "prediction",
            Self::Training => "training",
        }
    }
}

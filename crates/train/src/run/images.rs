//! The images of a run.

use std::path::Path;

use burn::tensor::Device;
use fashion_mnist::{BatchLoader, FashionMnist, Images, Split};

use super::description::Description;
use crate::{
    Config, Error,
    config::{HoldOut, SourceConfig},
};

/// The warning before a run on synthetic data that the user did not request.
const WARNING: &str = "\
*********************************************************************
* WARNING: Fashion-MNIST was not found and could not be downloaded. *
* This run trains on SYNTHETIC images, shapes drawn by the program. *
* Its accuracy says nothing about Fashion-MNIST.                    *
*********************************************************************";

/// Loads the images of the config, in their three splits.
pub(crate) fn load(config: &Config, dir: Option<&Path>) -> Result<FashionMnist, Error> {
    let data = match config.data.source {
        SourceConfig::Synthetic => FashionMnist::synthetic(),
        SourceConfig::FashionMnist => FashionMnist::find(dir)?,
        SourceConfig::Auto => match FashionMnist::find(dir) {
            Err(error) if error.is_unavailable() => {
                eprintln!("{error}\n\n{WARNING}\n");
                FashionMnist::synthetic()
            }
            found => found?,
        },
    };
    Ok(data.hold_out(config.data.validation.get(), config.data.split_seed))
}

/// Batches of these images for the config's network.
pub(crate) fn loader(config: &Config, images: &Images, device: &Device) -> BatchLoader {
    BatchLoader::new(images, config.batch_size.get(), &device.clone().inner())
        .resized(config.side())
        .normalized(config.data.normalization.values())
}

/// Whether the weights of a file were trained without a split of a config's images.
pub(crate) enum HeldOut {
    /// They were.
    Yes,
    /// Perhaps not: they were trained with this other validation split.
    No(HoldOut),
    /// The file does not say.
    Unknown,
}

impl HeldOut {
    /// Reads this from the description in the file.
    pub(crate) fn of(config: &Config, part: Split, weights: &Path) -> Self {
        let trained = Description::read(weights).ok().flatten().and_then(|it| it.hold_outs);
        let Some(trained) = trained else { return Self::Unknown };
        let other = trained.into_iter().find(|&hold_out| hold_out != config.data.hold_out());
        match other {
            // No run trains on the test images.
            Some(other) if part != Split::Test => Self::No(other),
            _ => Self::Yes,
        }
    }
}

/// Prints a warning if the pretrained weights of a run may have been trained on its validation images.
pub(crate) fn check_pretrained(config: &Config, weights: &Path) {
    match HeldOut::of(config, Split::Validation, weights) {
        HeldOut::Yes => {}
        HeldOut::No(trained) => eprintln!(
            "warning: the pretrained weights may have been trained on some of the validation images, \
             so the validation is unreliable: they were trained with {trained}, this run has {}",
            config.data.hold_out()
        ),
        HeldOut::Unknown => eprintln!(
            "note: {} does not say which images it was trained on: if it was Fashion-MNIST's, the \
             validation images may be among them",
            weights.display()
        ),
    }
}

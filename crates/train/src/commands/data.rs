use std::path::Path;

use fashion_mnist::{BatchLoader, FashionMnist, Images, Split};

use burn::tensor::Device;

use crate::{
    Config, Error,
    config::{HoldOut, SourceConfig},
    description::Description,
};

/// What is said, loudly, before a run on the stand-in that nobody asked for.
const STAND_IN: &str = "\
*********************************************************************
* WARNING: Fashion-MNIST is not here and could not be downloaded.   *
* This run trains on SYNTHETIC images, shapes drawn by the program. *
* Its accuracy says nothing about Fashion-MNIST.                    *
*********************************************************************";

/// The images that the config asks for, in their three parts.
pub(crate) fn load(config: &Config, dir: Option<&Path>) -> Result<FashionMnist, Error> {
    let data = match config.data.source {
        SourceConfig::Synthetic => FashionMnist::synthetic(),
        SourceConfig::FashionMnist => FashionMnist::find(dir)?,
        SourceConfig::Auto => match FashionMnist::find(dir) {
            Err(error) if error.is_unavailable() => {
                eprintln!("{error}\n\n{STAND_IN}\n");
                FashionMnist::synthetic()
            }
            found => found?,
        },
    };
    Ok(data.hold_out(config.data.validation.get(), config.data.split_seed))
}

/// Batches of these images, as the config's network takes them.
pub(crate) fn loader(config: &Config, images: &Images, device: &Device) -> BatchLoader {
    BatchLoader::new(images, config.batch_size.get(), &device.clone().inner())
        .resized(config.side())
        .normalized(config.data.normalization.values())
}

/// Whether a part of a config's images is new to the weights of a file.
pub(crate) enum HeldOut {
    /// It is.
    Yes,
    /// Some images may not be: the weights were trained with images held out by this split.
    No(HoldOut),
    /// The file does not tell.
    Unknown,
}

impl HeldOut {
    /// What a file tells of its weights.
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

/// Says so if the weights that a run starts from may know its validation images.
pub(crate) fn check_initial(config: &Config, weights: &Path) {
    match HeldOut::of(config, Split::Validation, weights) {
        HeldOut::Yes => {}
        HeldOut::No(trained) => eprintln!(
            "warning: the weights to start from may have been trained on some of the validation images, \
             which then tell little: they were trained with {trained}, this run has {}",
            config.data.hold_out()
        ),
        HeldOut::Unknown => eprintln!(
            "note: {} does not tell which images it was trained on: if it was Fashion-MNIST's, the \
             validation images may be among them",
            weights.display()
        ),
    }
}

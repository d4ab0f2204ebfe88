use std::path::Path;

use fashion_mnist::{BatchLoader, FashionMnist, Images};

use burn::tensor::Device;

use crate::{Config, Error, config::SourceConfig};

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
    Ok(data.hold_out(config.data.validation.get(), config.seed))
}

/// Batches of these images, as the config's network takes them.
pub(crate) fn loader(config: &Config, images: &Images, device: &Device) -> BatchLoader {
    BatchLoader::new(images, config.batch_size.get(), &device.clone().inner())
        .resized(config.side())
        .normalized(config.data.normalization.values())
}

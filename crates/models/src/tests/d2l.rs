//! Loads files of weights trained with the book's listings. `tests/d2l.py` made the files and the
//! expected values.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use super::{
    pickles::{key, pickled, tensor},
    *,
};
use crate::{AlexNetConfig, DenseNetConfig, ResNetConfig, VggConfig};

#[derive(Deserialize)]
struct Expected {
    networks: BTreeMap<String, OfNetwork>,
}

#[derive(Deserialize)]
struct OfNetwork {
    /// For each listing: names and shapes at full size.
    shapes: BTreeMap<String, BTreeMap<String, Vec<usize>>>,
    /// The logits of the file's network for [`image`].
    logits: Vec<f64>,
}

fn expected() -> Expected {
    serde_json::from_str(include_str!("../../tests/d2l.json")).unwrap()
}

/// The script's image: `[1, 1, side, side]`.
fn image(side: usize) -> Tensor<4> {
    let value = |row, column| (row * row * 3 + column * 7 + row * column) % 256;
    let pixels = (0..side * side).map(|at| value(at / side, at % side) as f32 / 256.0);
    let pixels = TensorData::new(pixels.collect(), [1, 1, side, side]);
    Tensor::from_data(pixels, &Device::flex())
}

/// The network of the file: narrower than the preset, if the config allows it.
fn narrow(architecture: Architecture) -> NetworkConfig {
    match architecture {
        Architecture::AlexNet => {
            let config = AlexNetConfig { widths: [8, 16, 24, 24, 16], ..AlexNetConfig::d2l() };
            NetworkConfig::AlexNet(config.with_units(32))
        }
        Architecture::Vgg11 => {
            let config = VggConfig::d2l().with_widths([4, 8, 8, 16, 16]);
            NetworkConfig::Vgg(config.with_units(Some(32)))
        }
        Architecture::ResNet18 => NetworkConfig::ResNet(ResNetConfig::d2l().with_width(8)),
        Architecture::DenseNet => NetworkConfig::DenseNet(DenseNetConfig {
            depths: vec![2, 1, 2, 2],
            growth: 8,
            stem: 16,
            ..DenseNetConfig::d2l()
        }),
        _ => architecture.config(Preset::D2l).unwrap(),
    }
}

#[test]
fn files_of_the_books_listings_lead_to_pytorchs_logits() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/d2l");
    for (name, expected) in expected().networks {
        let architecture: Architecture = name.parse().unwrap();
        let network = narrow(architecture).init(&Device::flex());
        let network = network.load(folder.join(format!("{name}.pth"))).unwrap();
        let [_, side, _] = architecture.image(Preset::D2l).unwrap();
        assert_near(&name, &values(network.forward(image(side))), &expected.logits, 2e-5);
    }
}

/// All names of both listings, and their shapes at full size.
#[test]
fn files_of_the_books_listings_are_known_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pth");
    for (name, expected) in expected().networks {
        let architecture: Architecture = name.parse().unwrap();
        let network = architecture.config(Preset::D2l).unwrap().init(&Device::flex());
        assert_eq!(expected.shapes.len(), 2, "{name}");
        for (listing, shapes) in expected.shapes {
            let load = |shapes: &BTreeMap<String, Vec<usize>>| {
                let items =
                    shapes.iter().flat_map(|(name, shape)| [key(name), tensor(shape)].concat());
                std::fs::write(&path, pickled(&items.collect::<Vec<u8>>())).unwrap();
                network.clone().load(&path).map(|_| ()).map_err(|error| error.to_string())
            };
            assert_eq!(load(&shapes), Ok(()), "{name}, {listing}");
            // One entry less, and the file does not fit.
            let mut fewer = shapes;
            let (missing, _) = fewer.pop_last().unwrap();
            let error = load(&fewer).unwrap_err();
            assert!(error.contains("missing (1): "), "{name}, {listing}: {error}");
            assert!(error.contains(missing.trim_start_matches("net.")), "{error}");
        }
    }
}

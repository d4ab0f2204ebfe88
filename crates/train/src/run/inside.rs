//! What a network sees: feature maps, and where it sees a class.

use base64::{Engine, prelude::BASE64_STANDARD};
use burn::tensor::{Int, Tensor, TensorData};
use models::{ConvNet, Network};

use super::record::{LayerMaps, Picture};
use crate::{Error, training::read_values};

/// The most layers and channels that a report shows, and the height and width of their pictures.
const LAYERS: usize = 6;
const CHANNELS: usize = 8;
const SIDE: usize = 56;

/// For each image `[batch, channels, height, width]`, where the network sees the class.
pub(super) fn attention(
    network: &Network,
    images: Tensor<4>,
    classes: &[usize],
) -> Result<Vec<Picture>, Error> {
    let labels: Vec<i32> = classes.iter().map(|&class| class as i32).collect();
    let labels = TensorData::new(labels, [classes.len()]);
    let labels = Tensor::<1, Int>::from_data(labels, &images.device());
    let maps = network.grad_cam(images, labels);
    let [_, height, width] = maps.dims();
    let maps = read_values(maps.flatten(0, 2))?;
    let maps = maps.chunks(height * width).map(|map| {
        let most = map.iter().copied().fold(0.0, f64::max);
        picture(map, [height, width], [0.0, most])
    });
    Ok(maps.collect())
}

/// The outputs of some layers that have an activation, for the first image of `images`.
pub(super) fn feature_maps(network: &Network, images: Tensor<4>) -> Result<Vec<LayerMaps>, Error> {
    let maps = network.activations(images.slice(0..1), LAYERS).into_iter();
    let layers = maps.map(|(layer, output)| {
        let [_, channels, height, width] = output.dims();
        let output = output.slice([0..1, 0..channels.min(CHANNELS)]);
        let values = read_values(output.flatten(0, 3))?;
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // Every nth pixel of a large map.
        let step = height.max(width).div_ceil(SIDE).max(1);
        let maps = values.chunks(height * width).map(|map| {
            let rows = map.chunks(width).step_by(step);
            let pixels: Vec<f64> = rows.flat_map(|row| row.iter().copied().step_by(step)).collect();
            picture(&pixels, [height.div_ceil(step), width.div_ceil(step)], [low, high])
        });
        let maps = maps.collect();
        Ok(LayerMaps { layer: layer.name, channels, size: [height, width], maps })
    });
    layers.collect()
}

/// The values from `low` to `high` as bytes.
fn picture(values: &[f64], size: [usize; 2], [low, high]: [f64; 2]) -> Picture {
    let scale = if high > low { 255.0 / (high - low) } else { 0.0 };
    let bytes: Vec<u8> = values.iter().map(|value| ((value - low) * scale).round() as u8).collect();
    Picture { size, pixels: BASE64_STANDARD.encode(bytes) }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use models::{Architecture, Preset};

    use super::*;

    fn bytes(picture: &Picture) -> Vec<u8> {
        BASE64_STANDARD.decode(&picture.pixels).unwrap()
    }

    #[test]
    fn layers_are_shown_from_the_first_to_the_last() {
        for (architecture, preset, side, first, last, count) in [
            (Architecture::LeNetBn, Preset::D2l, 28, "bn1", "bn2", 2),
            (Architecture::LeNet, Preset::D2l, 28, "conv1", "conv2", 2),
            (Architecture::ResNet18, Preset::D2l, 96, "bn1", "layer4.1.bn2", 6),
        ] {
            let device = Device::flex();
            let network = architecture.config(preset).unwrap().init(&device);
            let images = Tensor::ones([3, 1, side, side], &device);
            let layers = feature_maps(&network, images.clone()).unwrap();
            assert_eq!(layers.len(), count, "{architecture}");
            assert_eq!(layers[0].layer, first);
            assert_eq!(layers[count - 1].layer, last);
            for LayerMaps { layer, channels, size, maps } in &layers {
                assert_eq!(maps.len(), (*channels).min(CHANNELS), "{layer}");
                let values: Vec<u8> = maps.iter().flat_map(bytes).collect();
                assert_eq!(values.iter().max(), Some(&255), "{layer}");
                assert_eq!(values.len(), maps.len() * size[0] * size[1], "{layer}");
            }
            let attention = attention(&network, images, &[0, 5, 9]).unwrap();
            assert_eq!(attention.len(), 3);
            for picture in attention {
                assert_eq!(bytes(&picture).len(), picture.size[0] * picture.size[1]);
            }
        }
    }
}

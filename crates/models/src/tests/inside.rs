//! Feature maps and Grad-CAM match PyTorch's, from `tests/inside.py`.

use std::collections::BTreeMap;

use burn::tensor::Int;
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Expected {
    /// For some layers: [`length_and_product`] of its output.
    maps: BTreeMap<String, [f64; 2]>,
    /// The height and width of the last feature map.
    side: usize,
    grad_cam: Vec<f64>,
}

const BATCH: usize = 4;

#[test]
fn feature_maps_and_grad_cam_are_pytorchs() {
    let expected: BTreeMap<String, Expected> =
        serde_json::from_str(include_str!("../../tests/inside.json")).unwrap();
    assert_eq!(expected.len(), 3);
    let device = Device::flex();
    for (what, Expected { maps, side, grad_cam }) in expected {
        let (preset, architecture) = what.split_once('/').unwrap();
        let (architecture, preset): (Architecture, Preset) =
            (architecture.parse().unwrap(), preset.parse().unwrap());
        // With dropout, which a gradient in training would switch on.
        let config = architecture.config(preset).unwrap().with_classes(10);
        let (network, _) = fill(&config, &device);
        let images = reference::of(architecture, preset).images(&device);

        let outputs = network.feature_maps(images.clone());
        let mut found = 0;
        for (layer, output) in &outputs {
            let [_, channels, height, width] = output.dims();
            assert_eq!(layer.output, [channels, height, width], "{what}, {}", layer.name);
            if let Some(expected) = maps.get(&layer.name) {
                let values: Vec<f64> =
                    output.clone().into_data().convert::<f64>().try_into_vec().unwrap();
                let summary = length_and_product(&layer.name, &values);
                for (found, expected) in summary.into_iter().zip(expected) {
                    let error = (found - expected).abs();
                    assert!(
                        error < 1e-4 * expected.abs().max(1.0),
                        "{what}, {}: {found}, not {expected}",
                        layer.name
                    );
                }
                found += 1;
            }
        }
        assert_eq!(found, maps.len(), "{what}");

        let classes: Vec<i32> = (0..BATCH as i32).map(|index| 3 * index % 10).collect();
        let classes = Tensor::<1, Int>::from_data(TensorData::from(classes.as_slice()), &device);
        let attention = network.grad_cam(images, classes);
        assert_eq!(attention.dims(), [BATCH, side, side], "{what}");
        let attention: Vec<f64> = attention.into_data().convert::<f64>().try_into_vec().unwrap();
        let largest = grad_cam.iter().copied().fold(0.0, f64::max);
        for (found, expected) in attention.iter().zip(&grad_cam) {
            assert!((found - expected).abs() < 1e-4 * largest, "{what}: {found}, not {expected}");
        }
    }
}

/// Recording changes nothing, and the last feature map of the list is the one of `features`.
#[test]
fn feature_maps_are_those_of_the_summary() {
    for (architecture, preset) in all() {
        let what = format!("{architecture} ({preset})");
        let [channels, height, width] = reference::of(architecture, preset).input;
        if architecture.image(preset).unwrap()[1] > 96 {
            continue; // the same layers, only larger
        }
        let network = architecture.config(preset).unwrap().init(&Device::flex());
        let image = [channels, height, width];
        let layers = network.summary(image).unwrap().layers;
        let images = Tensor::<4>::ones([1, channels, height, width], &Device::flex());
        let maps = network.feature_maps(images.clone());
        assert_eq!(maps.len(), layers.iter().filter(|it| it.output.len() == 3).count(), "{what}");
        for (layer, output) in &maps {
            assert_eq!(layer.output, output.dims()[1..], "{what}, {}", layer.name);
        }
        let last = network.features(images).into_data();
        let is_last = |(_, map): &(_, Tensor<4>)| map.to_data() == last;
        assert!(maps.iter().any(is_last), "{what}");
    }
}

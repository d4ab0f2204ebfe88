//! The shapes in the comments and tables of the networks' files are correct.

use super::*;
use crate::summary::Layer;

/// Whether this layer of the network's summary is the last of a stage.
fn ends_a_stage(network: &Network, layers: &[Layer], index: usize) -> bool {
    let Layer { name, kind, output, .. } = &layers[index];
    let kind = kind.to_string();
    let is = |what| kind.starts_with(what);
    let next = layers.get(index + 1).map_or("", |layer| &layer.name);
    let part = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    match network {
        Network::Vgg(_) => is("max pool"),
        Network::Nin(_) => name.ends_with("pointwise2") || is("max pool"),
        Network::GoogLeNet(_) => {
            let halves = is("max pool") && output[1] < layers[index - 1].output[1];
            halves || is("concatenate") || is("conv") && name.starts_with("conv")
        }
        Network::ResNet(_) | Network::WideResNet(_) => {
            let in_stage = name.starts_with("layer") || name.starts_with("group");
            name == "conv1" || is("max pool") || in_stage && part(name) != part(next)
        }
        Network::DenseNet(_) => {
            let last = is("concatenate") && !next.starts_with("features.denseblock");
            last || name == "features.conv0" || is("max pool") || is("average pool")
        }
        _ => is("conv") || is("average pool") || is("max pool"),
    }
}

/// `[channels, side]` after each stage, at the preset's image size, from the comments and tables.
fn table(architecture: Architecture, preset: Preset) -> Vec<[usize; 2]> {
    use Architecture::*;
    match (preset, architecture) {
        (_, LeNet) => vec![[6, 28], [6, 14], [16, 10], [16, 5]],
        (_, LeNetBn) => vec![[6, 24], [6, 12], [16, 8], [16, 4]],
        (Preset::D2l, AlexNet) => {
            vec![
                [96, 54],
                [96, 26],
                [256, 26],
                [256, 12],
                [384, 12],
                [384, 12],
                [256, 12],
                [256, 5],
            ]
        }
        (_, AlexNet) => {
            vec![
                [64, 55],
                [64, 27],
                [192, 27],
                [192, 13],
                [384, 13],
                [256, 13],
                [256, 13],
                [256, 6],
            ]
        }
        (Preset::D2l, Vgg11) => vec![[16, 112], [32, 56], [64, 28], [128, 14], [128, 7]],
        (Preset::Small, Vgg16Bn) => vec![[64, 14], [128, 7], [256, 4], [512, 2], [512, 1]],
        (_, Vgg11 | Vgg11Bn | Vgg13 | Vgg13Bn | Vgg16 | Vgg16Bn | Vgg19 | Vgg19Bn) => {
            vec![[64, 112], [128, 56], [256, 28], [512, 14], [512, 7]]
        }
        (Preset::D2l, Nin) => {
            vec![[96, 54], [96, 26], [256, 26], [256, 12], [384, 12], [384, 5], [10, 5]]
        }
        (_, Nin) => vec![[96, 54], [96, 27], [256, 27], [256, 13], [384, 13], [384, 6], [1000, 6]],
        (preset, GoogLeNet) => {
            let [a, b, c, d, e] = match preset {
                Preset::D2l => [48, 24, 12, 6, 3],
                _ => [112, 56, 28, 14, 7],
            };
            vec![
                [64, a],
                [64, b],
                [64, b],
                [192, b],
                [192, c],
                [256, c],
                [480, c],
                [480, d],
                [512, d],
                [512, d],
                [512, d],
                [528, d],
                [832, d],
                [832, e],
                [832, e],
                [1024, e],
            ]
        }
        (Preset::D2l, ResNet18) => {
            vec![[64, 48], [64, 24], [64, 24], [128, 12], [256, 6], [512, 3]]
        }
        (Preset::Small, ResNet18) => vec![[64, 28], [64, 28], [128, 14], [256, 7], [512, 4]],
        (_, ResNet18 | ResNet34) => {
            vec![[64, 112], [64, 56], [64, 56], [128, 28], [256, 14], [512, 7]]
        }
        (_, ResNet50 | ResNet101 | ResNet152) => {
            vec![[64, 112], [64, 56], [256, 56], [512, 28], [1024, 14], [2048, 7]]
        }
        (_, Wrn16_1) => vec![[16, 28], [16, 28], [32, 14], [64, 7]],
        (_, Wrn16_2) => vec![[16, 28], [32, 28], [64, 14], [128, 7]],
        (_, Wrn16_4 | Wrn40_4) => vec![[16, 28], [64, 28], [128, 14], [256, 7]],
        (_, Wrn28_10) => vec![[16, 28], [160, 28], [320, 14], [640, 7]],
        (_, DenseNet) => vec![
            [64, 48],
            [64, 24],
            [192, 24],
            [96, 12],
            [224, 12],
            [112, 6],
            [240, 6],
            [120, 3],
            [248, 3],
        ],
        (_, DenseNetBc) => vec![[24, 28], [216, 28], [108, 14], [300, 14], [150, 7], [342, 7]],
        (_, DenseNet121 | DenseNet161 | DenseNet169 | DenseNet201) => {
            // Growth rate, and the layers of each block.
            let (growth, depths) = match architecture {
                DenseNet121 => (32, [6, 12, 24, 16]),
                DenseNet161 => (48, [6, 12, 36, 24]),
                DenseNet169 => (32, [6, 12, 32, 32]),
                _ => (32, [6, 12, 48, 32]),
            };
            let mut channels = 2 * growth;
            let mut stages = vec![[channels, 112], [channels, 56]];
            for (index, depth) in depths.into_iter().enumerate() {
                channels += depth * growth;
                stages.push([channels, 56 >> index]);
                if index < 3 {
                    channels /= 2;
                    stages.push([channels, 28 >> index]);
                }
            }
            stages
        }
    }
}

/// The table is that of the summary, whose last feature map has the shape of the computed one.
#[test]
fn stages_have_the_shapes_of_the_tables() {
    let device = Device::flex();
    for (architecture, preset) in all() {
        let what = format!("{architecture} ({preset})");
        // Narrow where the table does not show the width, to save time.
        let config = match architecture.config(preset).unwrap() {
            NetworkConfig::Vgg(config) => {
                let units = config.units.map(|_| 16);
                NetworkConfig::Vgg(config.with_units(units))
            }
            config => config,
        };
        let network = config.init(&device);
        let image = architecture.image(preset).unwrap();
        let layers = network.summary(image).unwrap().layers;
        let stages = (0..layers.len()).filter(|&index| ends_a_stage(&network, &layers, index));
        let found: Vec<_> = stages.map(|index| layers[index].output.clone()).collect();
        let expected = table(architecture, preset);
        let expected: Vec<_> = expected.into_iter().map(|[c, side]| vec![c, side, side]).collect();
        assert_eq!(found, expected, "{what}");

        let [channels, height, width] = image;
        let images = Tensor::zeros([1, channels, height, width], &device);
        let features = network.features(images);
        assert_eq!(features.dims()[1..], expected[expected.len() - 1], "{what}");
        let classes = if preset == Preset::Imagenet { 1000 } else { 10 };
        assert_eq!(network.classify(features).dims(), [1, classes], "{what}");
    }
}

/// Checks the parameters in the table of GoogLeNet's documentation.
#[test]
fn googlenets_stages_have_the_parameters_of_the_table() {
    for (preset, rows) in [
        (Preset::D2l, [3_200, 114_944, 163_696, 388_736, 2_809_168, 2_487_536, 10_250]),
        (Preset::Imagenet, [9_536, 115_200, 155_872, 340_224, 2_653_088, 2_325_984, 1_025_000]),
    ] {
        let network = Architecture::GoogLeNet.config(preset).unwrap().init(&Device::flex());
        let summary = network.summary(Architecture::GoogLeNet.image(preset).unwrap()).unwrap();
        let stages: [&[&str]; 7] = [
            &["conv1"],
            &["conv2", "conv3"],
            &["inception3a"],
            &["inception3b"],
            &["inception4"],
            &["inception5"],
            &["fc"],
        ];
        let found = stages.map(|stages| {
            let layers = summary.layers.iter();
            let layers = layers.filter(|layer| stages.iter().any(|s| layer.name.starts_with(s)));
            layers.map(|layer| layer.parameters).sum::<usize>()
        });
        assert_eq!(found, rows, "{preset}");
    }
}

#[test]
fn channels_and_classes_are_the_callers_choice() {
    let device = Device::flex();
    for (architecture, channels, side) in [
        (Architecture::LeNet, 3, 28),
        (Architecture::AlexNet, 1, 63),
        (Architecture::Nin, 1, 67),
        (Architecture::GoogLeNet, 1, 32),
        (Architecture::ResNet18, 1, 32),
        (Architecture::Wrn16_4, 3, 32),
        (Architecture::DenseNet121, 1, 32),
    ] {
        let preset = architecture.presets().last().unwrap();
        let config = architecture.config(preset).unwrap().with_channels(channels).with_classes(7);
        let images = Tensor::zeros([2, channels, side, side], &device);
        assert_eq!(config.init(&device).forward(images).dims(), [2, 7], "{architecture}");
    }
}

/// The smallest image works; one pixel less is an error that states the minimum.
#[test]
fn images_that_are_too_small_are_refused() {
    let device = Device::flex();
    for (architecture, preset, side) in [
        (Architecture::AlexNet, Preset::Imagenet, 63),
        (Architecture::AlexNet, Preset::D2l, 65),
        (Architecture::Vgg11, Preset::D2l, 32),
        (Architecture::Vgg16Bn, Preset::Small, 17),
        (Architecture::Nin, Preset::D2l, 67),
        (Architecture::Nin, Preset::Imagenet, 39),
        (Architecture::GoogLeNet, Preset::Imagenet, 15),
        (Architecture::GoogLeNet, Preset::D2l, 1),
        (Architecture::ResNet18, Preset::Imagenet, 1),
        (Architecture::DenseNet121, Preset::Imagenet, 29),
        (Architecture::DenseNet, Preset::D2l, 29),
        (Architecture::DenseNetBc, Preset::Small, 4),
        (Architecture::Wrn16_4, Preset::Small, 1),
    ] {
        let what = format!("{architecture} ({preset})");
        let network = architecture.config(preset).unwrap().with_classes(2).init(&device);
        let [channels, _, _] = architecture.image(preset).unwrap();
        let images = Tensor::zeros([1, channels, side, side], &device);
        assert_eq!(network.forward(images).dims(), [1, 2], "{what}");
        let refused = network.check([channels, side, side - 1]).map_err(|error| error.to_string());
        let expected = format!("at least {side} x {side} pixels, got {side} x {}", side - 1);
        assert!(refused.unwrap_err().ends_with(&expected), "{what}");
    }
}

#[test]
#[should_panic = "LeNet takes images of 28 x 28 pixels, got 32 x 32"]
fn lenet_takes_one_size() {
    let device = Device::flex();
    LeNetConfig::lenet().init(&device).forward(Tensor::zeros([1, 1, 32, 32], &device));
}

#[test]
#[should_panic = "AlexNet takes images of at least 63 x 63 pixels, got 62 x 80"]
fn a_small_image_panics_with_a_sentence() {
    let device = Device::flex();
    let config = crate::AlexNetConfig::imagenet();
    config.init(&device).forward(Tensor::zeros([1, 3, 62, 80], &device));
}

#[test]
#[should_panic = "this ResNet takes images of 3 channels, got 1"]
fn grayscale_images_are_not_color_images() {
    let device = Device::flex();
    let config = crate::ResNetConfig::resnet18();
    config.init(&device).forward(Tensor::zeros([1, 1, 32, 32], &device));
}

//! Tests of every network: against PyTorch (`tests/reference.py`), against the papers' tables, and
//! for consistency.

mod d2l;
mod files;
mod gradients;
mod inside;
mod pickles;
mod reference;
mod running_statistics;
mod shapes;

use burn::{
    module::ModuleVisitor,
    module::{Module, ModuleMapper, Param},
    store::ModuleRecord,
    tensor::{DType, Device, Tensor, TensorData},
};

use crate::{
    Architecture, ConvNet, Kernels, LeNetConfig, Network, NetworkConfig, Preset,
    summary::{LayerKind, Source},
    weights::{Walk, pytorch_name},
};

/// Every network in every preset that has it.
fn all() -> impl Iterator<Item = (Architecture, Preset)> {
    let all = Architecture::ALL.into_iter();
    all.flat_map(|architecture| architecture.presets().map(move |preset| (architecture, preset)))
}

/// Pseudorandom numbers from -1 to 1, computed from a name as in the script.
fn uniform(name: &str, count: usize) -> Vec<f64> {
    let seed = name
        .bytes()
        .fold(2_166_136_261_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
    let mixed = (0..count as u32).map(|index| {
        let mut x = index.wrapping_mul(2_654_435_761).wrapping_add(seed);
        x ^= x >> 16;
        x = x.wrapping_mul(0x85eb_ca6b);
        x ^= x >> 13;
        x = x.wrapping_mul(0xc2b2_ae35);
        x ^ (x >> 16)
    });
    mixed.map(|x| f64::from(x) / f64::from(1_u32 << 31) - 1.0).collect()
}

/// The scripts' summary of a tensor: its norm, and its dot product with a vector computed from its
/// name.
fn length_and_product(name: &str, values: &[f64]) -> [f64; 2] {
    let direction = uniform(&format!("gradient:{name}"), values.len());
    let length = values.iter().map(|value| value * value).sum::<f64>().sqrt();
    let product = values.iter().zip(direction).map(|(value, along)| value * along).sum();
    [length, product]
}

/// The script's values for the entry with this name and shape.
fn filled(name: &str, shape: &[usize]) -> Vec<f64> {
    let (offset, scale) = match (name.rsplit('.').next(), shape.len()) {
        (Some("running_mean" | "bias"), _) => (0.0, 0.1),
        (_, 1) => (1.0, 0.5),
        _ => (0.0, (6.0 / shape[1..].iter().product::<usize>() as f64).sqrt()),
    };
    let values = uniform(name, shape.iter().product());
    values.into_iter().map(|value| offset + scale * value).collect()
}

/// Fills a network as the script does: each parameter by its PyTorch name.
struct Fill<'a> {
    network: &'a Network,
    dtype: DType,
    walk: Walk,
    entries: usize,
}

impl ModuleMapper for Fill<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.walk.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.walk.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.entries += 1;
        let name = pytorch_name(self.network, &self.walk.path());
        let mut shape = param.lazy_shape().to_vec();
        let is_transposed = self.walk.is_linear_weight();
        if is_transposed {
            shape.reverse();
        }
        // Rounded to f32 for every dtype, as in the script.
        let data = TensorData::new(filled(&name, &shape), shape).convert::<f32>();
        let value = Tensor::<D>::from_data(data, (&param.lazy_device(), self.dtype));
        let value = if is_transposed { value.swap_dims(0, 1) } else { value };
        let id = param.id;
        param.transform_for_load(value, id)
    }
}

/// Returns the network with the script's weights, and the number of its entries.
fn fill(config: &NetworkConfig, device: &Device) -> (Network, usize) {
    fill_as(DType::F32, config, device)
}

/// [`fill`] with another floating-point type.
fn fill_as(dtype: DType, config: &NetworkConfig, device: &Device) -> (Network, usize) {
    let names = config.init(device);
    let mut fill = Fill { network: &names, dtype, walk: Walk::default(), entries: 0 };
    let network = config.init(device).map(&mut fill);
    (network, fill.entries)
}

fn values(tensor: Tensor<2>) -> Vec<f64> {
    tensor.into_data().convert::<f64>().try_into_vec().unwrap()
}

/// Asserts that no error is larger than `tolerance` standard deviations of the expected values.
fn assert_near(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let error = error_of(found, expected);
    assert!(
        error <= tolerance,
        "{what}: error of {error:.1e} standard deviations, allowed {tolerance:.1e}"
    );
}

/// The largest error, in standard deviations of the expected values.
fn error_of(found: &[f64], expected: &[f64]) -> f64 {
    let mean = expected.iter().sum::<f64>() / expected.len() as f64;
    let variance = expected.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    let deviation = (variance / expected.len() as f64).sqrt();
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    // f64::max ignores NaN.
    differences.map(|d| if d.is_nan() { f64::INFINITY } else { d }).fold(0.0, f64::max) / deviation
}

#[test]
fn names_are_found_again_and_others_answered_with_the_list() {
    for architecture in Architecture::ALL {
        assert_eq!(architecture.name().parse(), Ok(architecture));
    }
    for preset in Preset::ALL {
        assert_eq!(preset.name().parse(), Ok(preset));
    }
    let error = "lenet5".parse::<Architecture>().unwrap_err().to_string();
    assert!(error.starts_with("unknown network `lenet5`, expected one of `lenet`, `lenet_bn`,"));
    let error = Architecture::ResNet50.config(Preset::D2l).unwrap_err().to_string();
    assert_eq!(error, "there is no `resnet50` in preset `d2l`, only in `imagenet`");
}

/// `has_batch_norm` agrees with the layers of the networks.
#[test]
fn batch_normalization_is_where_it_is_said_to_be() {
    for (architecture, preset) in all() {
        let network = architecture.config(preset).unwrap().init(&Device::flex());
        let summary = network.summary(architecture.image(preset).unwrap()).unwrap();
        let found = summary.layers.iter().any(|layer| layer.kind == LayerKind::BatchNorm);
        assert_eq!(found, network.has_batch_norm(), "{architecture} ({preset})");
    }
}

/// Glorot and Bengio's equation 16: uniform within sqrt(6 / (fan in + fan out)).
#[test]
fn weights_are_xaviers() {
    #[derive(Default)]
    struct Extremes(Vec<(Vec<usize>, f32)>);
    impl ModuleVisitor for Extremes {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if D > 1 {
                let largest = param.val().abs().max().into_scalar::<f32>();
                self.0.push((param.shape().to_vec(), largest));
            }
        }
    }
    let mut extremes = Extremes::default();
    LeNetConfig::lenet().init(&Device::flex()).visit(&mut extremes);
    assert_eq!(extremes.0.len(), 5);
    for (shape, largest) in extremes.0 {
        // The fans of a convolution are channels times kernel area.
        let area: usize = shape[2..].iter().product();
        let bound = (6.0 / ((shape[0] + shape[1]) * area) as f32).sqrt();
        assert!(largest <= bound && largest > 0.9 * bound, "{shape:?}: {largest} of {bound}");
    }
}

/// torchvision's initializations: He with fan out (ResNet, VGG) or fan in (DenseNet), a normal
/// distribution with standard deviation 0.01 (VGG's classifier, GoogLeNet), and zero biases.
#[test]
fn weights_are_torchvisions() {
    use crate::{DenseNetConfig, GoogLeNetConfig, ResNetConfig, VggConfig};
    let device = Device::flex();
    let deviation = |weight: Tensor<4>| -> f32 {
        let weight = weight.flatten::<1>(0, 3);
        weight.var(0).sqrt().into_scalar()
    };
    let near = |what: &str, found: f32, expected: f32| {
        assert!((found / expected - 1.0).abs() < 0.03, "{what}: {found}, not {expected}");
    };
    let resnet = ResNetConfig::resnet18().init(&device);
    let block = &resnet.layer2[0];
    near("fan out", deviation(block.conv1.conv.weight.val()), (2.0 / (128.0 * 9.0_f32)).sqrt());
    let dense = DenseNetConfig::densenet121().init(&device);
    let conv = &dense.blocks[0][5].bottleneck.as_ref().unwrap().conv;
    near("fan in", deviation(conv.weight.val()), (2.0 / 224.0_f32).sqrt());
    let google = GoogLeNetConfig::imagenet().init(&device);
    near("normal", deviation(google.conv3.conv.weight.val()), 0.01);
    let vgg = VggConfig::vgg11(false).with_units(Some(64)).init(&device);
    let fc7: Tensor<4> = vgg.fc7.as_ref().unwrap().weight.val().unsqueeze();
    near("vgg's classifier", deviation(fc7), 0.01);
    let bias = vgg.stages[0][0].conv.bias.as_ref().unwrap().val();
    assert_eq!(bias.abs().max().into_scalar::<f32>(), 0.0);
}

/// A file saved from a [`Network`] is a record of the concrete network, such as `LeNet`.
#[test]
fn the_weights_are_those_of_the_network_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bpk");
    let device = Device::flex();
    let images = Tensor::<4>::ones([2, 1, 28, 28], &device);
    let network = Architecture::LeNetBn.config(Preset::D2l).unwrap().init(&device);
    network.save(&path).unwrap();
    let record = ModuleRecord::load(&path).unwrap();
    let own = LeNetConfig::lenet_bn().init(&device).load_record(record);
    assert_eq!(values(network.forward(images.clone())), values(own.forward(images)));
}

/// A record of the whole enum is restored, including running means and variances.
#[test]
fn a_network_is_the_same_after_a_record() {
    let device = Device::flex().autodiff();
    let images = Tensor::<4>::ones([2, 1, 28, 28], &device);
    let config = Architecture::LeNetBn.config(Preset::D2l).unwrap();
    let network = config.init(&device);
    network.forward(images.clone());
    network.valid(); // applies the last update of the running means and variances
    let again = config.init(&device).load_record(network.clone().into_record());
    let predict = |network: Network| values(network.valid().forward(images.clone().inner()));
    assert_eq!(predict(network), predict(again));
}

/// Folded and unfolded networks give the same logits, and each normalization after a convolution is
/// folded.
#[test]
fn a_network_prepared_for_prediction_predicts_the_same() {
    for (architecture, preset) in [
        (Architecture::LeNetBn, Preset::D2l),
        (Architecture::AlexNet, Preset::D2l),
        (Architecture::Vgg16Bn, Preset::Small),
        (Architecture::Nin, Preset::D2l),
        (Architecture::GoogLeNet, Preset::Imagenet),
        (Architecture::ResNet18, Preset::D2l),
        (Architecture::ResNet50, Preset::Imagenet),
        (Architecture::Wrn16_4, Preset::Small),
        (Architecture::DenseNet121, Preset::Imagenet),
    ] {
        let what = format!("{architecture} ({preset})");
        let config = architecture.config(preset).unwrap().with_classes(10);
        let reference = reference::of(architecture, preset);
        let (network, _) = fill(&config, &Device::flex().autodiff());
        let images = reference.images(&Device::flex());
        let expected = values(network.valid().forward(images.clone()));
        let prepared = network.prepare_for_prediction();
        assert_near(&what, &values(prepared.forward(images)), &expected, 5e-5);

        let image = architecture.image(preset).unwrap();
        let norms = |network: &Network| {
            let layers = network.summary(image).unwrap().layers;
            layers.iter().filter(|layer| layer.kind == LayerKind::BatchNorm).count()
        };
        // Normalizations before a convolution are not folded.
        let left = match architecture {
            Architecture::Wrn16_4 => 6 + 1,
            Architecture::DenseNet121 => 58 + 3 + 1,
            _ => 0,
        };
        assert_eq!(norms(&prepared), left, "{what}");
    }
}

/// Burn's operations give the same logits as the kernels.
#[test]
fn the_reference_implementation_predicts_the_same() {
    for (architecture, preset) in all() {
        // In the deepest networks, rounding errors are as large as a mistake in the others.
        let small = matches!(architecture, Architecture::LeNetBn | Architecture::Wrn16_4)
            || preset == Preset::D2l;
        if !small {
            continue;
        }
        let config = architecture.config(preset).unwrap();
        if !config.init(&Device::flex()).has_batch_norm() {
            continue;
        }
        let device = Device::flex().autodiff();
        let images = reference::of(architecture, preset).images(&device);
        let logits = |kernels| {
            let config = config.clone().with_kernels(kernels);
            values(fill(&config, &device).0.forward(images.clone()).inner())
        };
        let [kernel, reference] = [Kernels::Winograd, Kernels::Burn].map(logits);
        assert_near(&format!("{architecture} ({preset})"), &kernel, &reference, 1e-3);
    }
}

/// The config with all its dropout probabilities set to 0.
fn without_dropout(config: NetworkConfig) -> NetworkConfig {
    fn clear(value: &mut serde_json::Value) {
        for (key, value) in value.as_object_mut().into_iter().flatten() {
            if key.contains("dropout") && value.is_number() {
                *value = 0.0.into()
            } else {
                clear(value)
            }
        }
    }
    let mut value = serde_json::to_value(&config).unwrap();
    clear(&mut value);
    serde_json::from_value(value).unwrap()
}

/// What a drawing needs: each layer reads earlier ones, shapes fit where maps are added or
/// concatenated, and the layers of a block are neighbors.
#[test]
fn a_summary_says_what_each_layer_reads() {
    for (architecture, preset) in all() {
        let network = architecture.config(preset).unwrap().init(&Device::flex());
        let image = architecture.image(preset).unwrap();
        let summary = network.summary(image).unwrap();
        let name = format!("{architecture} {preset}");
        let mut readers = vec![0; summary.layers.len()];
        for (index, layer) in summary.layers.iter().enumerate() {
            let shape = |source: &Source| match source {
                Source::Image => image.to_vec(),
                Source::Layer(before) => {
                    assert!(*before < index, "{name}");
                    summary.layers[*before].output.clone()
                }
            };
            for source in layer.inputs.iter().chain(&layer.residual) {
                if let Source::Layer(before) = source {
                    readers[*before] += 1;
                }
            }
            if let Some(residual) = &layer.residual {
                assert_eq!(shape(residual), layer.output, "{name}");
            }
            let channels: usize = layer.inputs.iter().map(|input| shape(input)[0]).sum();
            match layer.kind {
                LayerKind::Concatenate => assert_eq!(channels, layer.output[0], "{name}"),
                _ => assert_eq!(layer.inputs.len(), 1, "{name}"),
            }
        }
        // All but the last are read.
        assert_eq!(readers.iter().filter(|&&readers| readers == 0).count(), 1, "{name}");
        assert_eq!(readers.last(), Some(&0), "{name}");

        for (index, block) in summary.blocks.iter().enumerate() {
            assert!(block.parent.is_none_or(|parent| parent < index), "{name}");
            let is_in = |layer: &crate::summary::Layer| {
                let ancestors = std::iter::successors(layer.block, |&it| summary.blocks[it].parent);
                ancestors.into_iter().any(|it| it == index)
            };
            let first = summary.layers.iter().position(is_in).unwrap();
            let last = summary.layers.iter().rposition(is_in).unwrap();
            assert!(summary.layers[first..=last].iter().all(is_in), "{name}: {}", block.name);
        }
    }
}

//! Counts, logits, losses and gradients match PyTorch's.

use std::collections::BTreeMap;

use burn::tensor::{Gradients, Int, activation::log_softmax};
use serde::Deserialize;

use super::*;

/// The results of `tests/reference.py` for a network, computed with PyTorch in f64.
#[derive(Deserialize)]
pub struct Reference {
    pub input: [usize; 3],
    prediction: Vec<f64>,
    parameters: usize,
    entries: usize,
    macs: u64,
    #[serde(default)]
    layers: Vec<(String, Vec<usize>)>,
    training: Option<Training>,
}

/// One training step, without the update of the weights.
#[derive(Deserialize)]
struct Training {
    logits: Vec<f64>,
    #[serde(default)]
    auxiliary1: Vec<f64>,
    #[serde(default)]
    auxiliary2: Vec<f64>,
    loss: f64,
    /// For each parameter: [`length_and_product`] of its gradient.
    gradients: BTreeMap<String, [f64; 2]>,
}

const BATCH: usize = 4;

pub fn of(architecture: Architecture, preset: Preset) -> Reference {
    #[derive(Deserialize)]
    struct File {
        networks: BTreeMap<String, serde_json::Value>,
    }
    let mut file: File = serde_json::from_str(include_str!("../../tests/reference.json")).unwrap();
    let name = format!("{preset}/{architecture}");
    let network = file.networks.remove(&name).unwrap_or_else(|| panic!("no reference for {name}"));
    serde_json::from_value(network).unwrap()
}

impl Reference {
    pub fn images(&self, device: &Device) -> Tensor<4> {
        let [channels, height, width] = self.input;
        let shape = [BATCH, channels, height, width];
        let values = uniform("images", shape.iter().product());
        Tensor::from_data(TensorData::new(values, shape).convert::<f32>(), device)
    }
}

#[test]
fn parameters_multiply_adds_and_layers_are_pytorchs() {
    for (architecture, preset) in all() {
        let what = format!("{architecture} ({preset})");
        let expected = of(architecture, preset);
        let network = architecture.config(preset).unwrap().init(&Device::flex());
        assert_eq!(network.parameters(), expected.parameters, "{what}");

        let summary = network.summary(architecture.image(preset).unwrap()).unwrap();
        assert_eq!(summary.parameters(), expected.parameters, "{what}");
        assert_eq!(summary.macs(), expected.macs, "{what}");
        if !expected.layers.is_empty() {
            let layers = summary.layers.into_iter().filter(|layer| !layer.name.is_empty());
            let mut layers: Vec<_> = layers.map(|layer| (layer.name, layer.output)).collect();
            let mut expected = expected.layers;
            layers.sort();
            expected.sort();
            assert_eq!(layers, expected, "{what}");
        }
    }
}

/// The figures published by the papers, torchvision and Dive into Deep Learning.
#[test]
fn parameters_are_as_published() {
    for (name, preset, parameters) in [
        ("lenet", Preset::D2l, 61_706),
        ("lenet_bn", Preset::D2l, 44_878),
        ("alexnet", Preset::D2l, 46_764_746),
        ("vgg11", Preset::D2l, 43_093_322),
        ("nin", Preset::D2l, 1_992_166),
        ("googlenet", Preset::D2l, 5_977_530),
        ("resnet18", Preset::D2l, 11_178_378),
        ("densenet", Preset::D2l, 758_226),
        ("alexnet", Preset::Imagenet, 61_100_840),
        ("vgg11", Preset::Imagenet, 132_863_336),
        ("vgg11_bn", Preset::Imagenet, 132_868_840),
        ("vgg13", Preset::Imagenet, 133_047_848),
        ("vgg13_bn", Preset::Imagenet, 133_053_736),
        ("vgg16", Preset::Imagenet, 138_357_544),
        ("vgg16_bn", Preset::Imagenet, 138_365_992),
        ("vgg19", Preset::Imagenet, 143_667_240),
        ("vgg19_bn", Preset::Imagenet, 143_678_248),
        ("googlenet", Preset::Imagenet, 6_624_904),
        ("resnet18", Preset::Imagenet, 11_689_512),
        ("resnet34", Preset::Imagenet, 21_797_672),
        ("resnet50", Preset::Imagenet, 25_557_032),
        ("resnet101", Preset::Imagenet, 44_549_160),
        ("resnet152", Preset::Imagenet, 60_192_808),
        ("densenet121", Preset::Imagenet, 7_978_856),
        ("densenet161", Preset::Imagenet, 28_681_000),
        ("densenet169", Preset::Imagenet, 14_149_480),
        ("densenet201", Preset::Imagenet, 20_013_928),
    ] {
        let config = name.parse::<Architecture>().unwrap().config(preset).unwrap();
        assert_eq!(config.init(&Device::flex()).parameters(), parameters, "{name} ({preset})");
    }
    let with_auxiliary = crate::GoogLeNetConfig::imagenet().with_auxiliary(true);
    assert_eq!(with_auxiliary.init(&Device::flex()).parameters(), 13_004_888);
}

#[test]
fn predictions_are_pytorchs() {
    for (architecture, preset) in all() {
        let what = format!("{architecture} ({preset})");
        let expected = of(architecture, preset);
        let (network, entries) =
            fill(&architecture.config(preset).unwrap().with_classes(10), &Device::flex());
        assert_eq!(entries, expected.entries, "{what}");
        let found = values(network.forward(expected.images(&Device::flex())));
        assert_near(&what, &found, &expected.prediction, 3e-5);
    }
}

/// Collects the gradients as the script does.
struct Gather<'a> {
    network: &'a Network,
    gradients: &'a Gradients,
    walk: Walk,
    found: BTreeMap<String, [f64; 2]>,
}

impl ModuleVisitor for Gather<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.walk.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.walk.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = param.val().grad(self.gradients) else { return };
        let gradient =
            if self.walk.is_linear_weight() { gradient.swap_dims(0, 1) } else { gradient };
        let name = pytorch_name(self.network, &self.walk.path());
        let gradient: Vec<f64> = gradient.into_data().convert::<f64>().try_into_vec().unwrap();
        let summary = length_and_product(&name, &gradient);
        self.found.insert(name, summary);
    }
}

/// Compares one step on a batch. `tolerance` applies to the gradients relative to their norms.
fn a_step_is_pytorchs(
    architecture: Architecture,
    preset: Preset,
    (name, device, dtype): (&str, &Device, DType),
    tolerance: f64,
) {
    let what = format!("{architecture} ({preset}) on {name}, {dtype:?}");
    let reference = of(architecture, preset);
    let Some(expected) = &reference.training else { return };
    let mut config = without_dropout(architecture.config(preset).unwrap().with_classes(10));
    if let NetworkConfig::GoogLeNet(config) = &mut config {
        config.auxiliary = !expected.auxiliary1.is_empty();
    }

    let device = device.clone().autodiff();
    let (network, _) = fill_as(dtype, &config, &device);
    let images = reference.images(&device).cast(dtype);
    let (logits, auxiliary) = network.forward_auxiliary(images);
    let labels = (0..BATCH as i32).map(|index| 3 * index % 10).collect::<Vec<_>>();
    let labels = Tensor::<1, Int>::from_data(TensorData::from(labels.as_slice()), &device);

    // Not Burn's own loss, which computes only in f32.
    let cross_entropy = |logits: &Tensor<2>| {
        let picked = log_softmax(logits.clone(), 1).gather(1, labels.clone().unsqueeze_dim(1));
        picked.mean().neg()
    };
    let mut loss = cross_entropy(&logits);
    for logits in &auxiliary {
        loss = loss + cross_entropy(logits) * 0.3;
    }
    let gradients = loss.backward();

    assert_near(&what, &values(logits), &expected.logits, tolerance);
    for (found, expected) in auxiliary.into_iter().zip([&expected.auxiliary1, &expected.auxiliary2])
    {
        assert_near(&what, &values(found), expected, tolerance);
    }
    let loss = loss.into_scalar::<f64>();
    let error = (loss - expected.loss).abs() / expected.loss;
    assert!(error < tolerance, "{what}: loss {loss}, not {}", expected.loss);

    let walk = Walk::default();
    let (network, gradients) = (&network, &gradients);
    let mut gather = Gather { network, gradients, walk, found: BTreeMap::new() };
    network.visit(&mut gather);
    let names: Vec<_> = gather.found.keys().collect();
    assert_eq!(names, expected.gradients.keys().collect::<Vec<_>>(), "{what}");
    let longest = expected.gradients.values().map(|[length, _]| *length).fold(0.0, f64::max);
    for (name, &[length, product]) in &gather.found {
        let [expected_length, expected_product] = expected.gradients[name];
        // Batch normalization removes a bias before it, whose gradient is only rounding error.
        let rounding = if dtype == DType::F64 { 1e-3 } else { 0.1 };
        let allowed = tolerance * (expected_length + rounding * longest);
        for (found, expected) in [(length, expected_length), (product, expected_product)] {
            assert!(
                (found - expected).abs() <= allowed,
                "{what}, {name}: {found}, not {expected}, of a gradient with norm {expected_length}"
            );
        }
    }
}

/// In f64, as the reference: in f32 the gradients of the deep networks differ by some hundredths,
/// because inputs of ReLU close to zero may change sign. PyTorch's f32 differs as much.
#[test]
fn losses_and_gradients_are_pytorchs() {
    for (architecture, preset) in all() {
        a_step_is_pytorchs(architecture, preset, ("flex", &Device::flex(), DType::F64), 1e-6);
    }
}

/// The other devices, in f32. Only one network, because on a software adapter it takes seconds to
/// compile the kernels for each layer shape.
#[test]
fn losses_and_gradients_are_pytorchs_on_other_devices() {
    for (name, device) in test_devices::all() {
        let device = (name, &device, DType::F32);
        a_step_is_pytorchs(Architecture::LeNetBn, Preset::D2l, device, 1e-3);
    }
}

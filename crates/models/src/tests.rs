use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    nn::loss::CrossEntropyLossConfig,
    tensor::{Device, Gradients, Int, Tensor, TensorData},
};
use serde::Deserialize;

use crate::{Architecture, Implementation, LeNetConfig, Network, Preset};

/// What `tests/reference.py` made of a network with PyTorch.
#[derive(Deserialize)]
struct Reference {
    prediction: Vec<f64>,
    logits: Vec<f64>,
    loss: f64,
    gradients: Vec<f64>,
    parameters: usize,
}

fn reference(architecture: Architecture) -> Reference {
    let mut all: serde_json::Value =
        serde_json::from_str(include_str!("../tests/reference.json")).unwrap();
    serde_json::from_value(all[architecture.name()].take()).unwrap()
}

/// The script's numbers that look random.
fn formula(count: usize, phase: f64, scale: f64) -> Vec<f64> {
    (0..count).map(|index| scale * (index as f64 * 1.7 + phase).sin()).collect()
}

/// Fills the parameters as the script does, in their order.
#[derive(Default)]
struct Fill {
    path: Vec<String>,
    number: usize,
}

impl ModuleMapper for Fill {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.shape();
        let count = shape.num_elements();
        let phase = self.number as f64;
        // PyTorch's fully connected weights lie the other way round.
        let (shape, transposed) = match (D, shape.to_vec().as_slice()) {
            (2, &[inputs, outputs]) => (vec![outputs, inputs], true),
            (_, dims) => (dims.to_vec(), false),
        };
        let values = match self.path.last().map(String::as_str) {
            Some("running_mean" | "running_var") => return param,
            Some("gamma" | "beta") => {
                formula(count, phase, 0.5).iter().map(|value| 1.0 + value).collect()
            }
            _ if D == 1 => formula(count, phase, 0.5),
            _ => formula(count, phase, 2.0 / ((count / shape[0]) as f64).sqrt()),
        };
        self.number += 1;
        param.map(|old| {
            let data = TensorData::new(values, shape).convert::<f32>();
            let new = Tensor::<D>::from_data(data, &old.device());
            let new = if transposed { new.swap_dims(0, 1) } else { new };
            new.set_require_grad(old.is_require_grad())
        })
    }
}

/// Gathers the lengths of the parameters' gradients.
struct Lengths<'a> {
    gradients: &'a Gradients,
    lengths: Vec<f64>,
}

impl ModuleVisitor for Lengths<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            let length = (gradient.clone() * gradient).sum().sqrt();
            self.lengths.push(length.into_scalar::<f32>().into());
        }
    }
}

fn assert_near(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let error = (found - expected).abs();
        assert!(error < tolerance * (1.0 + expected.abs()), "{what}: {found}, not {expected}");
    }
}

fn values(tensor: Tensor<2>) -> Vec<f64> {
    tensor.into_data().convert::<f64>().try_into_vec().unwrap()
}

#[test]
fn outputs_loss_and_gradients_are_pytorchs() {
    for architecture in Architecture::ALL {
        let expected = reference(architecture);
        for (name, device) in test_devices::all() {
            let what = format!("{architecture} on {name}");
            let device = device.autodiff();
            let network = architecture
                .init(Preset::D2l, Implementation::Kernel, &device)
                .map(&mut Fill::default());
            let images = (0..8 * 784).map(|index| index as f64);
            let images = images.map(|index| (index * index * 0.0013).sin()).collect::<Vec<_>>();
            let images = TensorData::new(images, [8, 1, 28, 28]).convert::<f32>();
            let images = Tensor::<4>::from_data(images, &device);
            let labels = Tensor::<1, Int>::from_data([3, 1, 4, 1, 5, 9, 2, 6], &device);

            let prediction = network.valid().forward(images.clone().inner());
            assert_near(&what, &values(prediction), &expected.prediction, 1e-4);

            let logits = network.forward(images);
            assert_near(&what, &values(logits.clone()), &expected.logits, 1e-4);
            let loss = CrossEntropyLossConfig::new().init(&device).forward(logits, labels);
            let gradients = loss.backward();
            assert_near(&what, &[loss.into_scalar::<f32>().into()], &[expected.loss], 1e-4);

            let mut lengths = Lengths { gradients: &gradients, lengths: Vec::new() };
            network.visit(&mut lengths);
            assert_near(&what, &lengths.lengths, &expected.gradients, 1e-4);
        }
    }
}

#[test]
fn parameters_are_counted_as_pytorch_does() {
    for architecture in Architecture::ALL {
        let network = architecture.init(Preset::D2l, Implementation::Kernel, &Device::flex());
        assert_eq!(network.parameters(), reference(architecture).parameters, "{architecture}");
    }
}

/// The counts of the figures known for these networks.
#[test]
fn parameters_are_as_published() {
    let count = |architecture: Architecture| {
        architecture.init(Preset::D2l, Implementation::Kernel, &Device::flex())
    };
    assert_eq!(count(Architecture::LeNet).parameters(), 61_706);
    assert_eq!(count(Architecture::LeNetBn).parameters(), 44_878);
}

/// The table in LeNet's documentation, stage by stage.
#[test]
fn stages_have_the_sizes_of_the_table() {
    let device = Device::flex();
    for (config, [conv1, pool1, conv2, pool2]) in
        [(LeNetConfig::lenet(), [28, 14, 10, 5]), (LeNetConfig::lenet_bn(), [24, 12, 8, 4])]
    {
        let network = config.init(&device);
        let images = Tensor::zeros([2, 1, 28, 28], &device);
        let x = network.conv1.forward(images.clone());
        assert_eq!(x.dims(), [2, 6, conv1, conv1]);
        let x = network.pool.forward(x);
        assert_eq!(x.dims(), [2, 6, pool1, pool1]);
        let x = network.conv2.forward(x);
        assert_eq!(x.dims(), [2, 16, conv2, conv2]);
        assert_eq!(network.pool.forward(x).dims(), [2, 16, pool2, pool2]);
        assert_eq!(network.features(images.clone()).dims(), [2, 16, pool2, pool2]);
        assert_eq!(network.forward(images).dims(), [2, 10]);
    }
}

#[test]
fn channels_and_classes_are_the_callers_choice() {
    let device = Device::flex();
    let network = LeNetConfig::lenet().with_channels(3).with_classes(7).init(&device);
    assert_eq!(network.forward(Tensor::zeros([2, 3, 28, 28], &device)).dims(), [2, 7]);
}

#[test]
#[should_panic = "LeNet takes images of 28 x 28 pixels, got 32 x 32"]
fn another_size_of_image_is_refused() {
    let device = Device::flex();
    LeNetConfig::lenet().init(&device).forward(Tensor::zeros([1, 1, 32, 32], &device));
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
        // A convolution's fans are channels times the area of the kernel; its outputs come first.
        let area: usize = shape[2..].iter().product();
        let bound = (6.0 / ((shape[0] + shape[1]) * area) as f32).sqrt();
        assert!(largest <= bound && largest > 0.9 * bound, "{shape:?}: {largest} of {bound}");
    }
}

#[test]
fn names_are_found_again_and_others_answered_with_the_list() {
    for architecture in Architecture::ALL {
        assert_eq!(architecture.name().parse(), Ok(architecture));
    }
    let error = "lenet5".parse::<Architecture>().unwrap_err().to_string();
    assert_eq!(error, "unknown network `lenet5`, expected one of `lenet`, `lenet_bn`");
}

/// What a run saves loads into the network's own type.
#[test]
fn the_weights_are_those_of_the_network_itself() {
    let device = Device::flex();
    let images = Tensor::<4>::ones([2, 1, 28, 28], &device);
    let network = Architecture::LeNetBn.init(Preset::D2l, Implementation::Kernel, &device);
    let own = LeNetConfig::lenet_bn().init(&device).load_record(network.weights());
    assert_eq!(values(network.forward(images.clone())), values(own.forward(images)));
}

/// A record of the whole enum finds its way back, moving averages included.
#[test]
fn a_network_is_the_same_after_a_record() {
    let device = Device::flex().autodiff();
    let images = Tensor::<4>::ones([2, 1, 28, 28], &device);
    let network = Architecture::LeNetBn.init(Preset::D2l, Implementation::Kernel, &device);
    network.forward(images.clone());
    network.valid(); // takes up the moving averages' last update
    let again: Network = Architecture::LeNetBn.init(Preset::D2l, Implementation::Kernel, &device);
    let again = again.load_record(network.clone().into_record());
    let predict = |network: Network| values(network.valid().forward(images.clone().inner()));
    assert_eq!(predict(network), predict(again));
}

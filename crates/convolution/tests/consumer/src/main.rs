//! A network of Burn's layers, computed by the kernels: its prediction and its weights after a
//! training step are those with each layer's own `forward`.

use burn::{
    module::Module,
    nn::{
        Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        loss::CrossEntropyLossConfig,
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    optim::{GradientsParams, SgdConfig},
    tensor::{Device, Distribution, Int, Tensor, activation::relu},
};
use convolution::Kernels;

#[derive(Module, Debug)]
struct Network {
    conv1: Conv2d,
    pool: MaxPool2d,
    conv2: Conv2d,
    classifier: Linear,
}

impl Network {
    fn new(device: &Device) -> Self {
        let conv = |channels| {
            let same = PaddingConfig2d::Explicit(1, 1, 1, 1);
            Conv2dConfig::new(channels, [3, 3]).with_padding(same).init(device)
        };
        Self {
            conv1: conv([3, 32]),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            conv2: conv([32, 32]),
            classifier: LinearConfig::new(32, 10).init(device),
        }
    }

    /// Logits `[batch, 10]` of images `[batch, 3, height, width]`, with the kernels.
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let kernels = Kernels::default();
        let x = kernels.conv2d_relu(&self.conv1, images); // relu(self.conv1.forward(images))
        let x = kernels.max_pool2d(&self.pool, x); // self.pool.forward(x)
        let x = kernels.conv2d(&self.conv2, x); // self.conv2.forward(x)
        self.classify(x)
    }

    /// The same, computed by Burn's layers.
    fn burns_forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(self.conv1.forward(images)));
        self.classify(self.conv2.forward(x))
    }

    fn classify(&self, x: Tensor<4>) -> Tensor<2> {
        self.classifier.forward(x.mean_dims(&[2, 3]).flatten(1, 3))
    }

    /// The network after a step of SGD with the gradients of these logits.
    fn step(self, logits: Tensor<2>, labels: Tensor<1, Int>) -> Self {
        let loss = CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, labels);
        let gradients = GradientsParams::from_grads(loss.backward(), &self);
        SgdConfig::new().init().step(0.1, self, gradients)
    }
}

/// The largest difference, relative to the largest value.
fn difference<const D: usize>(found: &Tensor<D>, expected: &Tensor<D>) -> f32 {
    let largest = |values: Tensor<D>| values.abs().max().into_scalar::<f32>();
    largest(found.clone() - expected.clone()) / largest(expected.clone())
}

/// Whether the kernels support this processor; otherwise Burn's operations compute.
fn has_kernels() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[allow(deprecated)] // Burn's next release no longer has ndarray.
fn device() -> (&'static str, Device) {
    #[cfg(not(feature = "ndarray"))]
    return ("flex", Device::flex());
    #[cfg(feature = "ndarray")]
    ("ndarray", Device::ndarray())
}

fn main() {
    let (name, device) = device();
    device.seed(0);
    let training = device.clone().autodiff();
    let network = Network::new(&training);
    let normal = Distribution::Normal(0.0, 1.0);
    let images = Tensor::<4>::random([16, 3, 32, 32], normal, &training);
    let labels = Tensor::<1, Int>::arange(0..16, &training) % 10;

    // One layer. Winograd's algorithm and the direct sum round differently: equal bits would mean
    // that neither ran.
    let features = Tensor::<4>::random([16, 32, 16, 16], normal, &device);
    let layer = network.conv2.clone().valid();
    let expected = layer.forward(features.clone());
    let by = |kernels: Kernels| kernels.conv2d(&layer, features.clone());
    let (winograd, direct) = (by(Kernels::Winograd), by(Kernels::Direct));
    for (kernels, output, limit) in [("winograd", &winograd, 1e-4), ("direct", &direct, 1e-5)] {
        let found = difference(output, &expected);
        println!("{name}: {kernels}, difference from Burn's layer {found:.1e}");
        assert!(found < limit, "{kernels} differs by {found}");
    }
    let ran = winograd.to_data() != direct.to_data();
    println!("{name}: the kernels {}", if ran { "ran" } else { "did not run" });
    assert_eq!(ran, has_kernels());

    // A training step.
    let logits = network.forward(images.clone());
    let expected = network.burns_forward(images.clone());
    let found = difference(&logits, &expected);
    println!("{name}: logits, difference {found:.1e}");
    assert!(found < 1e-4, "logits differ by {found}");
    let before = network.conv1.weight.val();
    let stepped = network.clone().step(logits, labels.clone()).conv1.weight.val();
    let expected = network.step(expected, labels).conv1.weight.val();
    let found = difference(&(stepped - before.clone()), &(expected - before));
    println!("{name}: a training step, difference {found:.1e}");
    assert!(found < 1e-3, "a step differs by {found}");
}

//! A network learns to distinguish bright from dark images, and classifies new ones correctly.

use burn::{
    module::Module,
    nn::loss::CrossEntropyLossConfig,
    optim::{GradientsParams, SgdConfig},
    tensor::{Device, Distribution, Int, Tensor, TensorData},
};
use models::{ConvNet, ResNetConfig};

/// Noise, brighter in every second image.
fn batch(device: &Device) -> (Tensor<4>, Tensor<1, Int>) {
    let noise = Tensor::<4>::random([16, 1, 16, 16], Distribution::Normal(0.0, 1.0), device);
    let labels: Vec<i32> = (0..16).map(|index| index % 2).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::from(labels.as_slice()), device);
    (noise + labels.clone().float().reshape([16, 1, 1, 1]), labels)
}

fn main() {
    let device = Device::flex();
    device.seed(0);
    let training = device.clone().autodiff();
    let mut network = ResNetConfig::resnet18_small().with_width(8).with_classes(2).init(&training);
    let loss = CrossEntropyLossConfig::new().init(&training);
    let mut optimizer = SgdConfig::new().init();
    for step in 0..15 {
        let (images, labels) = batch(&training);
        let loss = loss.forward(network.forward(images), labels);
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = optimizer.step(0.02, network, gradients);
        println!("step {step:2}  loss {:.4}", loss.into_scalar::<f32>());
    }

    // Prediction uses running means and variances, which are updated by a tenth in each batch.
    for _ in 0..30 {
        network.forward(batch(&training).0);
    }
    let (images, labels) = batch(&device);
    let unfolded = network.valid().forward(images.clone());
    let logits = network.prepare_for_prediction().forward(images);
    let difference = (logits.clone() - unfolded).abs().max().into_scalar::<f32>();
    assert!(difference < 1e-3, "folded and unfolded logits differ by {difference}");
    let correct = logits.argmax(1).flatten::<1>(0, 1).equal(labels).int().sum();
    let correct = correct.into_scalar::<i32>();
    println!("{correct} of 16 right");
    assert!(correct >= 14);
}

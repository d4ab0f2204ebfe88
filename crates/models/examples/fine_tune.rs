//! Fine-tunes a pretrained network for new classes: the backbone is frozen, and only a new
//! classifier is trained.
//!
//! `cargo run --example fine_tune -- resnet18.pth`, with torchvision's weights. Fashion-MNIST is
//! read from `FASHION_MNIST_DIR`, or downloaded.

use burn::{
    data::dataloader::DataLoader,
    module::Module,
    nn::loss::CrossEntropyLossConfig,
    optim::{GradientsParams, SgdConfig, momentum::MomentumConfig},
    tensor::{Device, Tensor},
};
use fashion_mnist::{BatchLoader, FashionMnist, Normalization, Split};
use models::{ConvNet, LoadOptions, ResNetConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: fine_tune WEIGHTS")?;
    let device = Device::flex();
    let training = device.clone().autodiff();

    // The weights are for color images and 1000 classes, the network for grayscale images and 10.
    let options = LoadOptions::default().with_grayscale().with_new_classifier();
    let config = ResNetConfig::resnet18().with_channels(1).with_classes(10);
    let network = config.init(&training).load_with(path, options)?;
    let mut network = network.freeze(); // no gradients, fixed running means and variances
    network.fc = network.fc.unfreeze();

    let data = FashionMnist::find(None)?;
    let batches = |split, size| {
        let loader = BatchLoader::new(data.split(split), size, &device).resized(64);
        loader.normalized(Normalization::STANDARD)
    };
    let loss = CrossEntropyLossConfig::new().init(&training);
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    let mut optimizer = SgdConfig::new().with_momentum(Some(momentum)).init();
    for (step, batch) in batches(Split::Train, 64).shuffled(0).iter().take(200).enumerate() {
        let batch = batch?;
        let logits = network.forward(Tensor::from_inner(batch.images));
        let loss = loss.forward(logits, Tensor::from_inner(batch.labels));
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = optimizer.step(0.01, network, gradients);
        if step % 20 == 0 {
            println!("step {step:3}  loss {:.4}", loss.into_scalar::<f32>());
        }
    }

    let network = network.prepare_for_prediction();
    let (mut correct, mut images) = (0, 0);
    for batch in batches(Split::Test, 100).iter().take(20) {
        let batch = batch?;
        images += batch.images.dims()[0];
        let predicted = network.forward(batch.images).argmax(1).flatten::<1>(0, 1);
        correct += predicted.equal(batch.labels).int().sum().into_scalar::<i32>();
    }
    println!("accuracy  {:.4} on {images} test images", f64::from(correct) / images as f64);
    Ok(())
}

//! Trains a network in a custom loop: `cargo run --example train_loop`.
//!
//! Fashion-MNIST is read from `FASHION_MNIST_DIR`, or downloaded.

use burn::{
    data::dataloader::DataLoader,
    module::Module,
    nn::loss::CrossEntropyLossConfig,
    optim::{GradientsParams, SgdConfig},
    tensor::Device,
};
use fashion_mnist::{BatchLoader, FashionMnist, Split};
use models::{ConvNet, LeNetConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex();
    let training = device.clone().autodiff(); // gradients on
    let data = FashionMnist::find(None)?;
    let batches = |split, device: &Device| BatchLoader::new(data.split(split), 256, device);

    let mut network = LeNetConfig::lenet_bn().init(&training);
    let loss = CrossEntropyLossConfig::new().init(&training);
    let mut optimizer = SgdConfig::new().init();

    for (step, batch) in batches(Split::Train, &device).shuffled(0).iter().enumerate() {
        let batch = batch?;
        let images = burn::tensor::Tensor::from_inner(batch.images);
        let labels = burn::tensor::Tensor::from_inner(batch.labels);
        let loss = loss.forward(network.forward(images), labels);
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = optimizer.step(1.0, network, gradients);
        if step % 50 == 0 {
            println!("step {step:3}  loss {:.4}", loss.into_scalar::<f32>());
        }
    }

    let network = network.valid(); // no gradients; batch norm uses running mean and variance
    let mut correct = 0;
    for batch in batches(Split::Test, &device).iter() {
        let batch = batch?;
        let predicted = network.forward(batch.images).argmax(1).flatten::<1>(0, 1);
        correct += predicted.equal(batch.labels).int().sum().into_scalar::<i32>();
    }
    println!("accuracy  {:.4}", f64::from(correct) / 10_000.0);
    network.save("lenet_bn.safetensors")?;
    println!("weights   lenet_bn.safetensors");
    Ok(())
}

//! Classifies a photo with torchvision's weights:
//! `cargo run --example classify -- resnet50.pth photo.jpg`.

use burn::tensor::{Device, activation::softmax};
use models::{Architecture, ConvNet, ResNetConfig, imagenet};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(weights), Some(photo)) = (arguments.next(), arguments.next()) else {
        return Err("usage: classify WEIGHTS PHOTO".into());
    };

    let device = Device::flex();
    let network = ResNetConfig::resnet50().init(&device).load(weights)?.prepare_for_prediction();

    let photo = imagenet::center_crop(&image::open(photo)?.to_rgb8(), imagenet::SIDE as u32);
    let shape = [1, imagenet::SIDE, imagenet::SIDE];
    let images = imagenet::images(Architecture::ResNet50, photo.into_raw(), shape, &device);

    let (probabilities, classes) = softmax(network.forward(images), 1).topk_with_indices(5, 1);
    let names: Vec<&str> = imagenet::classes().collect();
    let classes = classes.into_data().convert::<i64>().try_into_vec::<i64>()?;
    let probabilities = probabilities.into_data().try_into_vec::<f32>()?;
    for (class, probability) in classes.into_iter().zip(probabilities) {
        println!("{:5.1}%  {}", 100.0 * probability, names[class as usize]);
    }
    Ok(())
}

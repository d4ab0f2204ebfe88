//! Training steps on a device and on flex, with the same weights and images: their losses.

use std::time::Instant;

use burn::tensor::{Int, Tensor, TensorData};
use fashion_mnist::Batch;
use models::{Architecture, Network, Preset};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use train::{
    Config, DeviceName, Error,
    device::{self, Found},
    training::{Classifier, optimizer::optimizer},
};

use crate::bench::finish;

/// Images in each step.
const BATCH: usize = 16;

/// The largest difference between the losses of two devices that count as equal, relative to the
/// first loss. Rounding errors grow from step to step; with a wrong kernel the losses differ at once.
pub const TOLERANCE: f64 = 0.02;

/// The result of the part.
#[derive(Debug, Serialize, Deserialize)]
pub struct Losses {
    pub network: String,
    pub device: String,
    /// The loss of each step on the device.
    pub found: Vec<f64>,
    /// The same on flex.
    pub expected: Vec<f64>,
    /// The time of the first step, in which the device compiles its kernels.
    pub first_step_seconds: f64,
    /// The median of the others.
    pub step_seconds: f64,
}

impl Losses {
    /// The largest difference between the devices, relative to the first loss.
    pub fn difference(&self) -> f64 {
        let pairs = self.found.iter().zip(&self.expected);
        let differences = pairs.map(|(found, expected)| (found - expected).abs());
        differences.fold(0.0, f64::max) / self.expected[0]
    }

    /// Whether the losses are equal up to rounding.
    pub fn agree(&self) -> bool {
        self.difference() <= TOLERANCE
    }
}

/// Prints the losses of the network of the notes as JSON.
pub fn run(network: Architecture, device: &DeviceName, steps: usize) -> Result<(), Error> {
    let found = device::choose(device.clone())?.found;
    let flex = device::choose("flex".parse().expect("a device's name"))?.found;
    let (losses, mut seconds) = train(network, &found, steps)?;
    let (expected, _) = train(network, &flex, steps)?;
    let first_step_seconds = seconds.remove(0);
    seconds.sort_unstable_by(f64::total_cmp);
    let losses = Losses {
        network: network.to_string(),
        device: found.name,
        found: losses,
        expected,
        first_step_seconds,
        step_seconds: seconds.get(seconds.len() / 2).copied().unwrap_or(first_step_seconds),
    };
    println!("{}", serde_json::to_string(&losses).expect("plain values are JSON"));
    Ok(())
}

/// The loss of each step, and the seconds that it took.
fn train(
    network: Architecture,
    found: &Found,
    steps: usize,
) -> Result<(Vec<f64>, Vec<f64>), Error> {
    let set = |key: &str, value: &str| ("--set".to_owned(), format!("{key}={value}"));
    let config = Config::load(
        None,
        &[
            set("network", network.name()),
            set("preset", Preset::D2l.name()),
            set("optimizer", "{name=\"sgd\",learning_rate=0.01,momentum=0.9}"),
        ],
    )?;
    let device = found.device.clone().autodiff();
    let mut classifier = Classifier::new(&config, &device);
    no_dropout(&mut classifier.network);
    let mut optimizer = optimizer(&config.optimizer, &classifier);
    let [channels, height, width] =
        network.image(Preset::D2l).map_err(|error| Error::Usage(error.to_string()))?;

    let (mut losses, mut seconds) = (Vec::new(), Vec::new());
    for step in 0..steps {
        let mut random = ChaCha8Rng::seed_from_u64(step as u64);
        let pixels: Vec<f32> = (0..BATCH * channels * height * width)
            .map(|_| random.random_range(-1.0..1.0))
            .collect();
        let labels: Vec<i32> = (0..BATCH).map(|_| random.random_range(0..10)).collect();
        let images = TensorData::new(pixels, [BATCH, channels, height, width]);
        let images = Tensor::<4>::from_data(images, &device);
        let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [BATCH]), &device);
        let start = Instant::now();
        let (loss, _) = classifier.loss(Batch { images, labels, mix: None });
        let gradients = classifier.gradients(loss.clone());
        classifier = optimizer.step(0.01, classifier, gradients);
        let loss: f64 = loss.into_scalar::<f32>().into();
        if !loss.is_finite() {
            let why = format!("the loss of step {} on {} is not finite", step + 1, found.name);
            return Err(Error::Training(why));
        }
        losses.push(loss);
        finish(&found.device);
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok((losses, seconds))
}

/// Turns dropout off: every device has its own random numbers.
fn no_dropout(network: &mut Network) {
    match network {
        Network::AlexNet(network) => network.dropout.prob = 0.0,
        Network::Vgg(network) => network.dropout.prob = 0.0,
        Network::Nin(network) => network.dropout.prob = 0.0,
        Network::GoogLeNet(network) => network.dropout.prob = 0.0,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_agree_up_to_rounding() {
        let losses = |found: [f64; 2]| Losses {
            network: "lenet".to_owned(),
            device: "gpu".to_owned(),
            found: found.to_vec(),
            expected: vec![2.0, 1.0],
            first_step_seconds: 1.0,
            step_seconds: 1.0,
        };
        assert!(losses([2.001, 0.97]).agree());
        assert!((losses([2.001, 0.97]).difference() - 0.015).abs() < 1e-12);
        assert!(!losses([2.0, 1.05]).agree());
    }
}

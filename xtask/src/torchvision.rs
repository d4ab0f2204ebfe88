//! Compares the networks with torchvision's: torchvision makes random weights in `.pth` and
//! `.safetensors` format, and their logits; this crate loads the weights, predicts and saves them;
//! torchvision loads the saved weights.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use models::{Architecture, ConvNet, GoogLeNetConfig, Network, NetworkConfig, Preset};
use safetensors::SafeTensors;
use train::Error;

/// The largest accepted difference of logits, in standard deviations of the logits.
const TOLERANCE: f64 = 1e-4;

pub fn run(python: &Path, networks: Vec<String>) -> Result<(), Error> {
    let script =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/models/tests/torchvision_weights.py");
    let python = |arguments: &[&str]| -> Result<String, Error> {
        let mut command = Command::new(python);
        let output = command.arg(script).args(arguments).stderr(Stdio::inherit()).output();
        let output =
            output.map_err(|error| Error::Usage(format!("{}: {error}", python.display())))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(Error::Training(format!("{arguments:?} ended with {}", output.status)))
        }
    };
    let networks = if networks.is_empty() {
        python(&["names"])?.lines().map(str::to_owned).collect()
    } else {
        networks
    };

    println!("largest difference of logits, in standard deviations (allowed: {TOLERANCE:.0e})");
    println!("{:12} {:>9} {:>12} {:>14}", "network", ".pth", ".safetensors", "back in torch");
    let mut all_near = true;
    for name in networks {
        let folder = tempfile::tempdir().map_err(|error| Error::Training(error.to_string()))?;
        let path = |suffix: &str| folder.path().join(format!("{name}{suffix}"));
        let directory = folder.path().to_string_lossy();
        python(&["make", &name, &directory])?;

        let network: Architecture =
            name.parse().map_err(|error| Error::Usage(format!("{error}")))?;
        let config = network.config(Preset::Imagenet);
        let config = config.map_err(|error| Error::Usage(error.to_string()))?;
        let expected = read(&path(".expected.safetensors"))?;
        let mut differences = Vec::new();
        for suffix in [".pth", ".safetensors"] {
            let network = load(&config, &path(suffix))?;
            let logits = network.forward(tensor(&expected, "images"));
            differences.push(difference(logits, &expected, "logits"));
        }
        load(&config, &path(".pth"))?
            .save(path(".saved.safetensors"))
            .map_err(|error| Error::Training(error.to_string()))?;
        let saved = path(".saved.safetensors");
        let back = python(&["check", &name, &saved.to_string_lossy(), &directory])?;
        differences.push(back.parse().unwrap_or(f64::INFINITY));
        println!(
            "{name:12} {:9.1e} {:12.1e} {:14.1e}",
            differences[0], differences[1], differences[2]
        );

        if let NetworkConfig::GoogLeNet(config) = config {
            differences.extend(with_auxiliary(config, &path(".pth"), &expected)?);
            let [.., a, b, c] = differences[..] else { unreachable!("three were added") };
            println!("  in training, with auxiliary heads: logits {a:.1e}, heads {b:.1e} {c:.1e}");
        }
        all_near &= differences.iter().all(|difference| *difference <= TOLERANCE);
    }
    if all_near {
        Ok(())
    } else {
        Err(Error::Training("some logits differ from torchvision's".to_owned()))
    }
}

fn load(config: &NetworkConfig, path: &Path) -> Result<Network, Error> {
    let network = config.init(&Device::flex()).load(path);
    network.map_err(|error| Error::Training(error.to_string()))
}

/// Compares GoogLeNet in training mode: batch statistics, all three heads.
fn with_auxiliary(
    config: GoogLeNetConfig,
    path: &Path,
    expected: &[u8],
) -> Result<[f64; 3], Error> {
    let config = config.with_auxiliary(true).with_dropout(0.0).with_auxiliary_dropout(0.0);
    let network = config.init(&Device::flex()).load(path);
    let network = network.map_err(|error| Error::Training(error.to_string()))?.train();
    let (logits, auxiliary) =
        network.forward_auxiliary(Tensor::from_inner(tensor(expected, "images")));
    let [first, second] = [0, 1].map(|head| auxiliary[head].clone().inner());
    Ok([
        difference(logits.inner(), expected, "training_logits"),
        difference(first, expected, "auxiliary1"),
        difference(second, expected, "auxiliary2"),
    ])
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Training(format!("{}: {error}", path.display())))
}

fn data(file: &[u8], name: &str) -> TensorData {
    let tensors = SafeTensors::deserialize(file).expect("the script writes safetensors");
    let view = tensors.tensor(name).expect("the script writes it");
    let values: Vec<f32> =
        view.data().chunks(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    TensorData::new(values, view.shape().to_vec())
}

fn tensor(file: &[u8], name: &str) -> Tensor<4> {
    Tensor::from_data(data(file, name), &Device::flex())
}

fn difference(found: Tensor<2>, file: &[u8], name: &str) -> f64 {
    let values = |data: TensorData| data.convert::<f64>().try_into_vec::<f64>().expect("floats");
    let (found, expected) = (values(found.into_data()), values(data(file, name)));
    let mean = expected.iter().sum::<f64>() / expected.len() as f64;
    let variance = expected.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    let deviation = (variance / (expected.len() - 1) as f64).sqrt();
    let differences = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    differences.map(|d| if d.is_nan() { f64::INFINITY } else { d }).fold(0.0, f64::max) / deviation
}

//! The formats of the files that a run writes at its start and at its end. The lines of `steps.jsonl`
//! and `metrics.jsonl` are a [`Step`](crate::training::Step) and an
//! [`Epoch`](crate::training::Epoch).

use fashion_mnist::Source;
use serde::{Deserialize, Serialize};

use crate::{
    device::Found,
    encoding::{by_name, number, number_or_none},
};

pub use crate::training::Filters;

/// The results of a run: `result.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// The network's name.
    pub network: String,
    /// The preset's name.
    pub preset: String,
    /// Number of trainable parameters.
    pub parameters: usize,
    /// The device's name in a config; several are joined by commas.
    pub device: String,
    /// The backend's name.
    pub backend: String,
    /// The device's own name.
    pub device_model: Option<String>,
    /// Where the images come from; written as it is displayed.
    #[serde(with = "by_name")]
    pub data_source: Source,
    /// Epochs trained.
    pub epochs: usize,
    /// Why the run ended before its last epoch, if it did.
    pub stopped: Option<String>,
    /// The seed of the run.
    pub seed: u64,
    /// The epoch, counted from 1, whose weights the run ends with: they are in `model.bpk`, and
    /// were tested if the run tests.
    pub tested_epoch: usize,
    /// Accuracy of these weights on the validation images, from 0 to 1.
    #[serde(deserialize_with = "number")]
    pub validation_accuracy: f64,
    /// Mean cross entropy of the validation images.
    #[serde(deserialize_with = "number")]
    pub validation_loss: f64,
    /// Accuracy on the test images, from 0 to 1; missing if the run does not test.
    #[serde(default, deserialize_with = "number_or_none", skip_serializing_if = "Option::is_none")]
    pub test_accuracy: Option<f64>,
    /// Mean cross entropy of the test images.
    #[serde(default, deserialize_with = "number_or_none", skip_serializing_if = "Option::is_none")]
    pub test_loss: Option<f64>,
    /// Training throughput over all epochs, in images per second, without validation.
    #[serde(deserialize_with = "number")]
    pub train_images_per_second: f64,
    /// Seconds of training, validation and test, including the time before the run was resumed.
    pub seconds: f64,
}

/// The test report: `test.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestReport {
    /// The names of the classes, by label.
    pub classes: Vec<String>,
    /// The confusion matrix: how many images of each class (row) were predicted as each class
    /// (column).
    pub confusion: Vec<Vec<u32>>,
    /// The mean cross entropy of each class; missing for a class without images, and in the reports
    /// of earlier versions.
    #[serde(default)]
    pub losses: Vec<Option<f64>>,
    /// The wrong predictions with the highest probabilities, the highest first.
    pub mistakes: Vec<Mistake>,
    /// The weights of the first convolution.
    pub filters: Option<Filters>,
    /// What layers see in a test image; missing in the reports of earlier versions.
    #[serde(default)]
    pub feature_maps: Option<FeatureMaps>,
    /// The norms of each weight, in the order of the network.
    pub weights: Vec<Weight>,
}

impl TestReport {
    /// Checks that numbers read from a file are consistent.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self { classes, confusion, filters, .. } = self;
        if confusion.len() != classes.len()
            || confusion.iter().any(|row| row.len() != classes.len())
        {
            return Err(format!("the confusion matrix does not fit the {} classes", classes.len()));
        }
        // Twice this number still fits in a `u32`.
        let images: u64 = confusion.iter().flatten().map(|&count| u64::from(count)).sum();
        if images > u64::from(u32::MAX) / 2 {
            return Err(format!("the confusion matrix has too many images: {images}"));
        }
        if let Some(Filters { shape, values }) = filters {
            let size = shape.iter().try_fold(1, |size: usize, side| size.checked_mul(*side));
            if size != Some(values.len()) {
                return Err(format!("filters of {shape:?} cannot have {} values", values.len()));
            }
        }
        Ok(())
    }
}

/// A wrong prediction for a test image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mistake {
    /// Position in the test file, counted from 0.
    pub index: usize,
    /// The image's class.
    pub label: usize,
    /// The predicted class.
    pub predicted: usize,
    /// The predicted probability of this class, from 0 to 1.
    #[serde(deserialize_with = "number")]
    pub probability: f64,
    /// 28 x 28 bytes, row by row, 0 is the background; in base64.
    pub pixels: String,
    /// Where the network sees the predicted class ([Grad-CAM](models::ConvNet::grad_cam)), in the
    /// resolution of its last feature map; 255 is the largest value. Missing in the reports of earlier
    /// versions.
    #[serde(default)]
    pub attention: Option<Picture>,
}

/// A small grayscale picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// Height and width.
    pub size: [usize; 2],
    /// A byte for each pixel, row by row; in base64.
    pub pixels: String,
}

/// The feature maps of a test image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureMaps {
    /// Position of the image in the test file, counted from 0.
    pub index: usize,
    /// The image's class.
    pub label: usize,
    /// The image.
    pub image: Picture,
    /// Some layers, in the order of the network.
    pub layers: Vec<LayerMaps>,
}

/// The first channels of a layer's output, after its activation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerMaps {
    /// The layer's name in torchvision.
    pub layer: String,
    /// The number of all its channels.
    pub channels: usize,
    /// The height and width of its output.
    pub size: [usize; 2],
    /// A picture for each of the first channels, perhaps smaller. 0 is the lowest value of all of
    /// them, 255 the highest.
    pub maps: Vec<Picture>,
}

/// The norms of a weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weight {
    /// Its name in torchvision.
    pub name: String,
    /// Its norm.
    #[serde(deserialize_with = "number")]
    pub norm: f64,
    /// Its mean gradient norm over the last epoch's steps.
    #[serde(deserialize_with = "number")]
    pub gradient_norm: f64,
}

/// What is known before a run begins: `environment.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Version of this program.
    pub train: String,
    /// Version of Burn.
    pub burn: String,
    /// Operating system.
    pub os: String,
    /// Processor architecture.
    pub arch: String,
    /// Number of threads that the machine can run at once.
    pub threads: usize,
    /// The device's name in a config; several are joined by commas.
    pub device: String,
    /// The backend's name.
    pub backend: String,
    /// The device's own name.
    pub device_model: Option<String>,
    /// Where the images come from; written as it is displayed.
    #[serde(with = "by_name")]
    pub data_source: Source,
}

/// The version of Burn that the workspace's manifest pins.
const BURN: &str = "0.22.1";

impl Environment {
    /// Describes the program, the machine, and the devices and images of a run.
    pub(crate) fn new(devices: &[Found], data_source: Source) -> Self {
        let first = devices.first().expect("a device");
        let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
        Self {
            train: env!("CARGO_PKG_VERSION").to_owned(),
            burn: BURN.to_owned(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            device: names.join(","),
            backend: first.backend.to_owned(),
            device_model: first.model(),
            data_source,
        }
    }
}

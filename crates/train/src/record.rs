//! What a run writes down: the lines and files of its folder, as they are written and read again.

use fashion_mnist::Source;
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::by_name;

/// JSON knows no NaN; it is written as null.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// [`number`], which may be missing.
fn number_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    number(deserializer).map(Some)
}

/// [`number`], of many.
fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
    let numbers = Vec::<Option<f32>>::deserialize(deserializer)?;
    Ok(numbers.into_iter().map(|number| number.unwrap_or(f32::NAN)).collect())
}

/// One optimizer step: a line of `steps.jsonl`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Counted from 1 over the whole run.
    pub step: usize,
    /// Counted from 1.
    pub epoch: usize,
    /// Mean over the step's images.
    #[serde(deserialize_with = "number")]
    pub loss: f64,
    /// Of this step.
    #[serde(deserialize_with = "number")]
    pub learning_rate: f64,
    /// Length of the gradient of all weights together, before it is clipped.
    #[serde(deserialize_with = "number")]
    pub gradient_norm: f64,
}

/// One epoch: a line of `metrics.jsonl`. Losses and accuracies are means over the images; accuracies
/// are from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Counted from 1.
    pub epoch: usize,
    /// Optimizer steps since the run began.
    pub step: usize,
    /// As the epoch went on: of weights that still changed, on images as they were augmented.
    #[serde(deserialize_with = "number")]
    pub train_loss: f64,
    /// As `train_loss`; of mixed images, the share whose main class was predicted: the one with the
    /// larger share of the image, or either if both have one half.
    #[serde(deserialize_with = "number")]
    pub train_accuracy: f64,
    /// Of the weights as the epoch left them, or of their average where the run keeps one.
    #[serde(deserialize_with = "number")]
    pub validation_loss: f64,
    /// As `validation_loss`.
    #[serde(deserialize_with = "number")]
    pub validation_accuracy: f64,
    /// Of the last step.
    #[serde(deserialize_with = "number")]
    pub learning_rate: f64,
    /// Mean over the epoch's steps of the gradient's length, before it is clipped.
    #[serde(deserialize_with = "number")]
    pub gradient_norm: f64,
    /// Length of all weights together, at the end of the epoch.
    #[serde(deserialize_with = "number")]
    pub weight_norm: f64,
    /// Trained on per second, without the first step, in which a GPU compiles its kernels; of an epoch
    /// of a single step, with it.
    #[serde(deserialize_with = "number")]
    pub images_per_second: f64,
    /// Where the time went.
    pub seconds: Seconds,
    /// What the program holds of the machine's memory at the end of the epoch, in bytes.
    pub resident_memory: Option<u64>,
}

/// Where an epoch's time went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Making batches. On a GPU, this and the next three are what was measured on one step of
    /// many, times their number: a clock that is read must wait for the GPU.
    pub data: f64,
    /// Images to loss.
    pub forward: f64,
    /// Loss to gradients.
    pub backward: f64,
    /// Gradients to new weights, with clipping and averaging.
    pub optimizer: f64,
    /// All of the training, from its first step to its last.
    pub training: f64,
    /// Predicting the validation images.
    pub validation: f64,
}

/// How a run ended: `result.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// The network's name.
    pub network: String,
    /// What the network is made for.
    pub preset: String,
    /// Number of trainable parameters.
    pub parameters: usize,
    /// The device's name in a config; several are joined by commas.
    pub device: String,
    /// What computes on it.
    pub backend: String,
    /// What the device calls itself.
    pub device_model: Option<String>,
    /// Where the images come from; written as it is displayed.
    #[serde(with = "by_name")]
    pub data_source: Source,
    /// Epochs trained.
    pub epochs: usize,
    /// Why the run ended, if it was not that all epochs were trained.
    pub stopped: Option<String>,
    /// The seed of the run.
    pub seed: u64,
    /// The epoch, counted from 1, whose weights the run ends with: they are in `model.bpk`, and were
    /// tested if the run tests.
    pub tested_epoch: usize,
    /// Share of the validation images whose class these weights predicted, from 0 to 1.
    #[serde(deserialize_with = "number")]
    pub validation_accuracy: f64,
    /// Mean cross entropy of the validation images.
    #[serde(deserialize_with = "number")]
    pub validation_loss: f64,
    /// Share of the test images whose class was predicted, from 0 to 1; missing if the run does not
    /// test.
    #[serde(default, deserialize_with = "number_or_none", skip_serializing_if = "Option::is_none")]
    pub test_accuracy: Option<f64>,
    /// Mean cross entropy of the test images.
    #[serde(default, deserialize_with = "number_or_none", skip_serializing_if = "Option::is_none")]
    pub test_loss: Option<f64>,
    /// Images trained on per second, over all epochs; validation is not counted.
    #[serde(deserialize_with = "number")]
    pub train_images_per_second: f64,
    /// Seconds of training and validation, over all parts of a run that was resumed, and of the
    /// test.
    pub seconds: f64,
}

/// What the tested weights do and look like: `test.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestReport {
    /// The names of the classes, by label.
    pub classes: Vec<String>,
    /// How many images of each class (row) were taken for each class (column).
    pub confusion: Vec<Vec<u32>>,
    /// Those that the network was most sure of, the surest first.
    pub mistakes: Vec<Mistake>,
    /// The weights of the first convolution.
    pub filters: Option<Filters>,
    /// Each weight's own, in the order of the network.
    pub weights: Vec<Weight>,
}

impl TestReport {
    /// What is wrong with numbers that must fit each other, if they come from a file.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self { classes, confusion, filters, .. } = self;
        if confusion.len() != classes.len()
            || confusion.iter().any(|row| row.len() != classes.len())
        {
            return Err(format!("the confusion matrix is not of the {} classes", classes.len()));
        }
        // Twice the images are still a `u32`.
        let images: u64 = confusion.iter().flatten().map(|&count| u64::from(count)).sum();
        if images > u64::from(u32::MAX) / 2 {
            return Err(format!("the confusion matrix counts {images} images"));
        }
        if let Some(Filters { shape, values }) = filters {
            let size = shape.iter().try_fold(1, |size: usize, side| size.checked_mul(*side));
            if size != Some(values.len()) {
                return Err(format!("filters of {shape:?} are not {} values", values.len()));
            }
        }
        Ok(())
    }
}

/// A test image that was taken for another class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mistake {
    /// Position in the test file, counted from 0.
    pub index: usize,
    /// The image's class.
    pub label: usize,
    /// The class it was taken for.
    pub predicted: usize,
    /// How probable the network thought that, from 0 to 1.
    #[serde(deserialize_with = "number")]
    pub probability: f64,
    /// 28 x 28 bytes, row by row, 0 is the background; in base64.
    pub pixels: String,
}

/// The weights of a convolution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Filters {
    /// `[channels out, channels in, height, width]`
    pub shape: [usize; 4],
    /// In the order of the shape.
    #[serde(deserialize_with = "numbers")]
    pub values: Vec<f32>,
}

/// A weight, as one number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weight {
    /// As torchvision calls it.
    pub name: String,
    /// Its length as a vector.
    #[serde(deserialize_with = "number")]
    pub norm: f64,
    /// Mean over the last epoch's steps of its gradient's length.
    #[serde(deserialize_with = "number")]
    pub gradient_norm: f64,
}

/// What can be known before a run begins: `environment.json`.
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
    /// Threads that the machine runs at once.
    pub threads: usize,
    /// The device's name in a config; several are joined by commas.
    pub device: String,
    /// What computes on it.
    pub backend: String,
    /// What the device calls itself.
    pub device_model: Option<String>,
    /// Where the images come from; written as it is displayed.
    #[serde(with = "by_name")]
    pub data_source: Source,
}

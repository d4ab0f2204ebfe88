//! The command `predict`: predicts the classes of images.

use std::{
    fmt::Display,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use burn::tensor::{Device, Tensor, TensorData, activation::softmax};
use clap::Args;
use fashion_mnist::{Class, FashionMnist, Normalization, SIDE, Split};
use image::{
    DynamicImage, GrayImage, ImageDecoder, ImageReader, Limits,
    imageops::{FilterType, resize},
};
use models::{Architecture, ConvNet, Preset, WeightsError, imagenet};
use serde_json::json;

use super::values::{named, preset_of};
use crate::{
    Config, DeviceName, Error,
    config::NormalizationConfig,
    device,
    output::say,
    run::{
        description::{Description, undescribed},
        files,
    },
};

/// Which network predicts, with which weights, on which images.
#[derive(Debug, Args)]
pub(crate) struct PredictArgs {
    /// The folder of a run that has ended, to use its network and weights.
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "weights",
        conflicts_with_all = ["weights", "network", "preset"]
    )]
    pub run: Option<PathBuf>,

    /// With --weights: the network, a name that the command `networks` prints [default: the one
    /// stored in a file of this program].
    #[arg(long, value_parser = named::<Architecture>)]
    pub network: Option<Architecture>,

    /// d2l, imagenet or small [default: the one stored in the file, or imagenet if it has the
    /// network].
    #[arg(long, value_parser = named::<Preset>)]
    pub preset: Option<Preset>,

    /// Instead of a run: a weights file, .pth or .pt of PyTorch, .safetensors, or .bpk of a run.
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,

    /// A file with the names of the classes, one per line [default: those stored in the weights
    /// file, or those of ImageNet or Fashion-MNIST].
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,

    /// How many classes to print for each image.
    #[arg(long, default_value = "5")]
    pub top: NonZeroUsize,

    /// The device: auto, or a name that the command `devices` prints.
    #[arg(long, default_value = "auto", value_parser = named::<DeviceName>)]
    pub device: DeviceName,

    /// Prints a JSON array.
    #[arg(long)]
    pub json: bool,

    /// The folder of Fashion-MNIST's four files [default: FASHION_MNIST_DIR, or the user's cache].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Image files (JPEG, PNG, GIF, WebP, BMP), or numbers of Fashion-MNIST's test images, from 0.
    #[arg(required = true)]
    pub images: Vec<PathBuf>,
}

/// Prints the most probable classes of each image.
pub(crate) fn predict(args: &PredictArgs) -> Result<(), Error> {
    let weights = match (&args.run, &args.weights) {
        (Some(run), _) => files::weights(run)?,
        (None, Some(weights)) => weights.clone(),
        _ => unreachable!("the arguments need one or the other"),
    };
    let description = describe(args, &weights)?;
    let (network, preset) = match &description {
        Some(description) => (description.network, description.preset),
        None => {
            let network = args.network.ok_or_else(|| undescribed(&weights))?;
            let preset = args.preset;
            (network, preset.unwrap_or_else(|| preset_of(network, Some(Preset::Imagenet))))
        }
    };
    let normalization = description.as_ref().map(|description| description.normalization);
    let preprocessing = Preprocessing::new(network, preset, normalization)?;
    let is_described = description.is_some();
    let names = match (&args.classes, description) {
        (None, Some(description)) => description.classes,
        (file, _) => class_names(file.as_deref(), &preprocessing)?,
    };

    // All arguments are checked before anything slow. Of a photo, only the network's input is kept.
    let mut test = None;
    let mut pixels = |path: &Path| -> Result<Vec<u8>, Error> {
        let image = match number(path) {
            Some(number) => test_image(number, &mut test, args.data_dir.as_deref())?,
            None => open(path)?,
        };
        Ok(preprocessing.pixels(&image))
    };
    let images = args.images.iter().map(|path| Ok((path, pixels(path)?)));
    let images = images.collect::<Result<Vec<_>, Error>>()?;
    let device = device::choose(args.device.clone())?.found.device;
    let config = network.config(preset).map_err(|error| usage(&error))?;
    let config = config.with_channels(preprocessing.channels()).with_classes(names.len());
    let classifier = config.init(&device).load(&weights).map_err(explain)?;
    if !is_described {
        eprintln!(
            "note: {} does not say how its images were normalized: {} is assumed",
            weights.display(),
            preprocessing.normalization()
        );
    }
    let classifier = classifier.prepare_for_prediction();

    let failed = |error: &dyn Display| Error::Training(error.to_string());
    let mut rows = Vec::new();
    for (path, pixels) in images {
        let logits = classifier.forward(preprocessing.images(pixels, &device));
        let probabilities = softmax(logits, 1).try_into_data().map_err(|error| failed(&error))?;
        let probabilities = probabilities.convert::<f32>().try_into_vec::<f32>();
        let probabilities = probabilities.map_err(|error| failed(&error))?;
        let mut classes: Vec<(usize, f32)> = probabilities.into_iter().enumerate().collect();
        classes.sort_by(|a, b| b.1.total_cmp(&a.1));
        classes.truncate(args.top.get());

        if args.json {
            let classes = classes.iter().map(|&(class, probability)| {
                json!({ "class": class, "name": names[class], "probability": probability })
            });
            let classes: serde_json::Value = classes.collect();
            rows.push(json!({ "image": path.display().to_string(), "classes": classes }));
        } else {
            say(format_args!("{}", path.display()));
            for (class, probability) in classes {
                say(format_args!("  {:5.1}%  {}", 100.0 * probability, names[class]));
            }
        }
    }
    if args.json {
        say(format_args!("{:#}", serde_json::Value::from(rows)));
    }
    Ok(())
}

/// The description of the weights in their file, or by the config of their run. The options must
/// agree with it.
fn describe(args: &PredictArgs, weights: &Path) -> Result<Option<Description>, Error> {
    let description = match (Description::read(weights)?, &args.run) {
        (None, Some(run)) => {
            let config = Config::of_run(run, &[])?;
            Some(Description::new(&config, &Class::ALL.map(Class::name)))
        }
        (description, _) => description,
    };
    if let Some(description) = &description {
        description.check(
            weights,
            args.network.unwrap_or(description.network),
            args.preset.unwrap_or(description.preset),
            description.normalization,
        )?;
    }
    Ok(description)
}

fn usage(error: &dyn Display) -> Error {
    Error::Usage(error.to_string())
}

/// The error, with the options of this command that may help.
fn explain(error: WeightsError) -> Error {
    let WeightsError::Mismatch { path, mut mismatch } = error else { return usage(&error) };
    let advice = if mismatch.hints.is_empty() {
        ""
    } else {
        "\n  --preset chooses the network's variant, --classes names the classes of the weights"
    };
    mismatch.hints.clear();
    Error::Usage(format!("{}{advice}", WeightsError::Mismatch { path, mismatch }))
}

/// The class names in a file, or those of the data set that the weights are for.
fn class_names(file: Option<&Path>, preprocessing: &Preprocessing) -> Result<Vec<String>, Error> {
    let Some(file) = file else {
        return Ok(match preprocessing {
            Preprocessing::ImageNet { .. } => imagenet::classes().map(str::to_owned).collect(),
            Preprocessing::FashionMnist { .. } => {
                Class::ALL.iter().map(ToString::to_string).collect()
            }
        });
    };
    let text = std::fs::read_to_string(file).map_err(|error| {
        Error::Usage(format!("cannot read the class names {}: {error}", file.display()))
    })?;
    let names = text.lines().map(str::trim).filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(str::to_owned).collect();
    if names.is_empty() {
        Err(Error::Usage(format!("{} has no class names", file.display())))
    } else {
        Ok(names)
    }
}

/// The number of one of Fashion-MNIST's test images, if the path is a number and not a file.
fn number(path: &Path) -> Option<usize> {
    path.to_str()?.parse().ok().filter(|_| !path.exists())
}

/// One of Fashion-MNIST's test images. The first call reads the data set.
fn test_image(
    number: usize,
    data: &mut Option<FashionMnist>,
    dir: Option<&Path>,
) -> Result<DynamicImage, Error> {
    if data.is_none() {
        *data = Some(FashionMnist::find(dir)?);
    }
    let images = data.as_ref().expect("read just now").split(Split::Test);
    if number >= images.images() {
        return Err(Error::Usage(format!(
            "there is no test image {number}: they are numbered from 0 to {}, and there is no file \
             of this name",
            images.images() - 1
        )));
    }
    let side = SIDE as u32;
    let pixels = images.pixels(number).to_vec();
    Ok(GrayImage::from_raw(side, side, pixels).expect("as many pixels").into())
}

/// The limits of a decoded photo, in bytes and in pixels: more than any camera's.
const MOST_BYTES: u64 = 1 << 30;
const MOST_PIXELS: u64 = 1 << 28;

/// Reads an image and applies its orientation.
fn open(path: &Path) -> Result<DynamicImage, Error> {
    let unreadable = |error: &dyn Display| {
        Error::Usage(format!("cannot read the image {}: {error}", path.display()))
    };
    let mut reader = ImageReader::open(path)
        .and_then(ImageReader::with_guessed_format)
        .map_err(|error| unreadable(&error))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| unreadable(&error))?;
    // The decoder applies the limit only to its memory beside the image itself.
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if decoder.total_bytes() > MOST_BYTES || pixels > MOST_PIXELS {
        return Err(unreadable(&format!("{width} x {height} pixels exceed 1 GB of memory")));
    }
    // An extremely long, thin image would become too large when its short side is scaled up.
    let (short, long) = (width.min(height), width.max(height));
    if short == 0 || long / short > 100 {
        return Err(unreadable(&format!("{width} x {height} pixels are too thin")));
    }
    let orientation = decoder.orientation().map_err(|error| unreadable(&error))?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| unreadable(&error))?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// The preprocessing of a photo for a network.
enum Preprocessing {
    /// As torchvision evaluates its first weights of each network (`V1`).
    ImageNet { network: Architecture, side: u32 },
    /// As Fashion-MNIST: the whole image in grayscale, first scaled to 28 x 28 pixels.
    FashionMnist { side: u32, normalization: Normalization },
}

impl Preprocessing {
    /// The preprocessing for a network. If a normalization is given, the weights are those of a
    /// run, for grayscale images in every preset; otherwise the preset decides.
    fn new(
        network: Architecture,
        preset: Preset,
        normalization: Option<NormalizationConfig>,
    ) -> Result<Self, Error> {
        let [channels, side, _] = network.image(preset).map_err(|error| usage(&error))?;
        let side = u32::try_from(side).expect("a few hundred pixels");
        Ok(match (normalization, channels) {
            (None, 3) => Self::ImageNet { network, side },
            (normalization, _) => {
                let normalization = normalization.unwrap_or(NormalizationConfig::Unit).values();
                Self::FashionMnist { side, normalization }
            }
        })
    }

    /// The normalization that is assumed if no file specifies it.
    fn normalization(&self) -> &'static str {
        match self {
            Self::ImageNet { .. } => "torchvision's for ImageNet",
            Self::FashionMnist { .. } => "from 0 to 1 (`unit`)",
        }
    }

    fn channels(&self) -> usize {
        match self {
            Self::ImageNet { .. } => 3,
            Self::FashionMnist { .. } => 1,
        }
    }

    /// The pixels of the network's input, as bytes, row by row.
    fn pixels(&self, photo: &DynamicImage) -> Vec<u8> {
        match *self {
            Self::ImageNet { side, .. } => imagenet::center_crop(&photo.to_rgb8(), side).into_raw(),
            Self::FashionMnist { side, .. } => {
                let gray = resize(&photo.to_luma8(), 28, 28, FilterType::Triangle);
                resize(&gray, side, side, FilterType::Triangle).into_raw()
            }
        }
    }

    /// The input of the network: `[1, channels, side, side]`.
    fn images(&self, pixels: Vec<u8>, device: &Device) -> Tensor<4> {
        match *self {
            Self::ImageNet { network, side } => {
                let side = side as usize;
                imagenet::images(network, pixels, [1, side, side], device)
            }
            Self::FashionMnist { side, normalization: Normalization { mean, std } } => {
                let side = side as usize;
                let pixels = pixels.into_iter().map(|byte| (f32::from(byte) / 255.0 - mean) / std);
                let pixels = TensorData::new(pixels.collect::<Vec<_>>(), [1, 1, side, side]);
                Tensor::from_data(pixels, device)
            }
        }
    }
}

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData, activation::softmax};
use fashion_mnist::Class;
use image::{
    DynamicImage, ImageDecoder, ImageReader, Limits,
    imageops::{FilterType, crop_imm, resize},
};
use models::{Architecture, ConvNet, Preset, imagenet};
use serde_json::json;

use super::summary::network;
use crate::{Error, cli::PredictArgs, config::readable, device, report::say};

/// Prints what images show: for each the most probable classes.
pub(crate) fn predict(args: &PredictArgs) -> Result<(), Error> {
    let (network, preset) = network(&args.network, args.preset.as_deref(), Some(Preset::Imagenet))?;
    let usage = |error: &dyn std::fmt::Display| Error::Usage(error.to_string());
    let names = class_names(args.classes.as_deref(), preset)?;
    let device = match &args.device {
        Some(name) => name.parse().map_err(|error| match usage(&error) {
            Error::Usage(message) => {
                Error::Usage(format!("--device {name}: {}", readable(&message)))
            }
            other => other,
        })?,
        None => Default::default(),
    };

    // All that can be wrong with the arguments, before anything slow.
    let images = args.images.iter().map(|path| Ok((path, open(path)?)));
    let images = images.collect::<Result<Vec<_>, Error>>()?;
    let device = device::choose(device)?.found.device;
    let config = network.config(preset).map_err(|error| usage(&error))?;
    let classifier = config.with_classes(names.len()).init(&device);
    let classifier = classifier.load(&args.weights).map_err(|error| usage(&error))?;
    let classifier = classifier.prepare_for_prediction();

    let mut rows = Vec::new();
    for (path, photo) in images {
        let logits = classifier.forward(prepare(&photo, network, preset, &device)?);
        let probabilities = softmax(logits, 1).try_into_data();
        let probabilities = probabilities.map_err(|error| Error::Training(error.to_string()))?;
        let probabilities = probabilities.convert::<f32>().try_into_vec::<f32>();
        let probabilities = probabilities.map_err(|error| Error::Training(error.to_string()))?;
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

/// The names of a file, or of the data set that the preset was made for.
fn class_names(file: Option<&Path>, preset: Preset) -> Result<Vec<String>, Error> {
    if let Some(file) = file {
        let text = std::fs::read_to_string(file);
        let text = text.map_err(|error| {
            Error::Usage(format!("cannot read the class names {}: {error}", file.display()))
        })?;
        let names: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        if names.is_empty() {
            return Err(Error::Usage(format!("{} has no class names", file.display())));
        }
        return Ok(names);
    }
    Ok(match preset {
        Preset::Imagenet => imagenet::classes().map(str::to_owned).collect(),
        _ => Class::ALL.iter().map(ToString::to_string).collect(),
    })
}

/// Reads an image, the right way up.
fn open(path: &Path) -> Result<DynamicImage, Error> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Error::Usage(format!("cannot read the image {}: {error}", path.display()))
    };
    let mut reader = ImageReader::open(path)
        .and_then(|reader| reader.with_guessed_format())
        .map_err(|error| unreadable(&error))?;
    // Larger than any photo, and far below what a few bytes of a hostile file could claim.
    let mut limits = Limits::default();
    limits.max_alloc = Some(1 << 30);
    (limits.max_image_width, limits.max_image_height) = (Some(16_384), Some(16_384));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| unreadable(&error))?;
    let orientation = decoder.orientation().map_err(|error| unreadable(&error))?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| unreadable(&error))?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// What the network sees of a photo.
fn prepare(
    photo: &DynamicImage,
    network: Architecture,
    preset: Preset,
    device: &Device,
) -> Result<Tensor<4>, Error> {
    let [channels, side, _] =
        network.image(preset).map_err(|error| Error::Usage(error.to_string()))?;
    if channels == 1 {
        // As Fashion-MNIST: the whole image, grey, from 0 to 1.
        let grey = resize(&photo.to_luma8(), side as u32, side as u32, FilterType::Triangle);
        let pixels = grey.into_raw().into_iter().map(|pixel| f32::from(pixel) / 255.0);
        let pixels = TensorData::new(pixels.collect::<Vec<_>>(), [1, 1, side, side]);
        return Ok(Tensor::from_data(pixels, device));
    }
    // As torchvision evaluates: the shorter side to 256 pixels, the middle 224 of both.
    let (shorter, side) = (side as u32 * 8 / 7, side as u32);
    let rgb = photo.to_rgb8();
    let (width, height) = rgb.dimensions();
    let scale = |length: u32| {
        let scaled = u64::from(length) * u64::from(shorter) / u64::from(width.min(height));
        u32::try_from(scaled).unwrap_or(u32::MAX)
    };
    let (width, height) = (scale(width), scale(height));
    let rgb = resize(&rgb, width, height, FilterType::Triangle);
    // Python rounds halves to the even number.
    let middle = |length: u32| (f64::from(length - side) / 2.0).round_ties_even() as u32;
    let rgb = crop_imm(&rgb, middle(width), middle(height), side, side).to_image();
    let shape = [1, side as usize, side as usize];
    Ok(imagenet::images(network, rgb.into_raw(), shape, device))
}

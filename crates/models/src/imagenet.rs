//! The input format and the classes of weights that were trained on ImageNet.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::Architecture;

/// The height and width, in pixels, of the images on which torchvision's weights were evaluated.
pub const SIDE: usize = 224;

/// Returns torchvision's names of the 1000 classes of the ImageNet challenge (ILSVRC 2012), in the
/// order of the logits.
pub fn classes() -> impl ExactSizeIterator<Item = &'static str> {
    let mut lines = include_str!("imagenet_classes.txt").lines();
    (0..1000).map(move |_| lines.next().unwrap_or_default())
}

/// Scales and crops a photo as torchvision does to evaluate its weights (`V1`): the shorter side is
/// scaled to 256 pixels, then the center of [`SIDE`] x [`SIDE`] pixels is cut out. For another
/// `side`, the shorter side is scaled in proportion.
#[cfg(feature = "image")]
pub fn center_crop(photo: &image::RgbImage, side: u32) -> image::RgbImage {
    use image::imageops::{FilterType, crop_imm, resize};

    let shorter = side * 8 / 7;
    let (width, height) = photo.dimensions();
    let scale = |length: u32| length * shorter / width.min(height);
    let (width, height) = (scale(width), scale(height));
    let photo = resize(photo, width, height, FilterType::Triangle);
    // Python rounds halves to even.
    let middle = |length: u32| (f64::from(length - side) / 2.0).round_ties_even() as u32;
    crop_imm(&photo, middle(width), middle(height), side, side).to_image()
}

/// Converts RGB pixels from 0 to 255, `[batch, height, width, 3]`, to images `[batch, 3, height,
/// width]`, normalized as torchvision's weights of this architecture expect.
///
/// Most expect each channel to have mean 0 and standard deviation 1 over ImageNet; those of
/// GoogLeNet expect values from -1 to 1.
///
/// # Panics
///
/// If there are not `batch` x `height` x `width` x 3 values.
pub fn images(
    architecture: Architecture,
    pixels: Vec<u8>,
    [batch, height, width]: [usize; 3],
    device: &Device,
) -> Tensor<4> {
    let (mean, deviation) = match architecture {
        Architecture::GoogLeNet => ([0.5; 3], [0.5; 3]),
        _ => ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    };
    let channel = |values: [f32; 3]| Tensor::<1>::from_data(values, device).reshape([1, 3, 1, 1]);
    let pixels = TensorData::new(pixels, [batch, height, width, 3]);
    let images = Tensor::<4, Int>::from_data(pixels, device).float().permute([0, 3, 1, 2]);
    (images / 255.0 - channel(mean)) / channel(deviation)
}

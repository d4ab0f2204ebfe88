//! Images and filters, as PNGs inside the page.

use base64::{Engine, engine::general_purpose::STANDARD};
use image::{
    ExtendedColorType, GrayImage, ImageEncoder,
    codecs::png::PngEncoder,
    imageops::{FilterType, resize},
};

use crate::run::record::{Filters, Mistake, Picture};

/// Height and width of an image, in pixels.
const SIDE: usize = 28;

/// The image as a data URL, if its pixels can be read.
pub fn mistake(mistake: &Mistake) -> Option<String> {
    let pixels = STANDARD.decode(&mistake.pixels).ok()?;
    (pixels.len() == SIDE * SIDE).then(|| png(&pixels, [SIDE, SIDE], ExtendedColorType::L8))
}

/// The image, with orange over the places where the network sees the predicted class, as a data URL
/// if both can be read.
pub fn attention(mistake: &Mistake) -> Option<String> {
    const ORANGE: [f32; 3] = [255.0, 120.0, 0.0];
    let image = STANDARD.decode(&mistake.pixels).ok()?;
    let Picture { size: [height, width], .. } = *mistake.attention.as_ref()?;
    let attention = bytes(mistake.attention.as_ref()?)?;
    if image.len() != SIDE * SIDE {
        return None;
    }
    let attention = GrayImage::from_raw(width as u32, height as u32, attention)?;
    let attention = resize(&attention, SIDE as u32, SIDE as u32, FilterType::Triangle);
    let pixels = image.iter().zip(attention.as_raw()).flat_map(|(&gray, &share)| {
        // The image stays visible below.
        let share = 0.75 * f32::from(share) / 255.0;
        ORANGE.map(|color| (f32::from(gray) * (1.0 - share) + color * share).round() as u8)
    });
    Some(png(&pixels.collect::<Vec<_>>(), [SIDE, SIDE], ExtendedColorType::Rgb8))
}

/// The picture as a data URL, if its pixels can be read.
pub fn picture(picture: &Picture) -> Option<String> {
    Some(png(&bytes(picture)?, picture.size, ExtendedColorType::L8))
}

/// The pixels of a picture, if they can be read.
fn bytes(picture: &Picture) -> Option<Vec<u8>> {
    let [height, width] = picture.size;
    let bytes = STANDARD.decode(&picture.pixels).ok()?;
    let is_whole = height.checked_mul(width) == Some(bytes.len()) && !bytes.is_empty();
    is_whole.then_some(bytes)
}

/// The first `count` filters as data URLs, each from its lowest weight (black) to its highest
/// (white). Three channels are red, green and blue; for another number, the mean is shown.
pub fn filters(filters: &Filters, count: usize) -> Vec<String> {
    let [_, channels, height, width] = filters.shape;
    let (area, size) = (height * width, channels * height * width);
    if size == 0 {
        return Vec::new();
    }
    let filters = filters.values.chunks_exact(size).take(count);
    let pictures = filters.map(|filter| {
        let channel = |pixel: usize| filter.iter().skip(pixel).step_by(area);
        if channels == 3 {
            let pixels: Vec<f32> = (0..area).flat_map(channel).copied().collect();
            png(&stretched(&pixels), [height, width], ExtendedColorType::Rgb8)
        } else {
            let mean = |pixel| channel(pixel).sum::<f32>() / channels as f32;
            let pixels: Vec<f32> = (0..area).map(mean).collect();
            png(&stretched(&pixels), [height, width], ExtendedColorType::L8)
        }
    });
    pictures.collect()
}

/// Scales the lowest value to 0 and the highest to 255; all are gray if they are equal.
fn stretched(values: &[f32]) -> Vec<u8> {
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if low >= high {
        return vec![128; values.len()];
    }
    values.iter().map(|value| (255.0 * (value - low) / (high - low)).round() as u8).collect()
}

fn png(pixels: &[u8], [height, width]: [usize; 2], color: ExtendedColorType) -> String {
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(pixels, width as u32, height as u32, color)
        .expect("encoding into a vector cannot fail");
    format!("data:image/png;base64,{}", STANDARD.encode(bytes))
}

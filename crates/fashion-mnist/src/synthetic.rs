//! Synthetic data drawn by code: learnable by a small network, the same on every machine.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{Images, PIXELS, SIDE};

/// The ten shapes, by label.
pub(crate) const SHAPES: [&str; 10] = [
    "synthetic disc",
    "synthetic ring",
    "synthetic square",
    "synthetic frame",
    "synthetic plus",
    "synthetic cross",
    "synthetic rows",
    "synthetic columns",
    "synthetic triangle",
    "synthetic checkerboard",
];

/// Draws `count` images of the ten shapes in turn, each with random position, size, brightness and
/// noise. Another stream gives other images.
pub(crate) fn draw(count: usize, stream: u64) -> Images {
    let mut rng = ChaCha8Rng::seed_from_u64(0x5EED);
    rng.set_stream(stream);
    let labels: Vec<u8> = (0..count).map(|index| (index % SHAPES.len()) as u8).collect();
    let mut pixels = Vec::with_capacity(count * PIXELS);
    for &label in &labels {
        draw_one(label, &mut rng, &mut pixels);
    }
    Images::new(pixels, labels)
}

fn draw_one(label: u8, rng: &mut impl Rng, pixels: &mut Vec<u8>) {
    let middle = SIDE as f32 / 2.0;
    let radius = rng.random_range(6.0..11.0);
    let center: [f32; 2] = [0, 1].map(|_| middle + rng.random_range(-3.0..3.0));
    let brightness = rng.random_range(90.0..200.0);
    for row in 0..SIDE {
        for column in 0..SIDE {
            // In units of the shape's radius, from its center.
            let y = (row as f32 + 0.5 - center[0]) / radius;
            let x = (column as f32 + 0.5 - center[1]) / radius;
            let noise = rng.random_range(0.0..50.0);
            let value = if inside(label, x, y) { brightness + noise } else { noise };
            pixels.push(value as u8);
        }
    }
}

/// Whether the shape covers the point; every shape lies within -1 to 1.
fn inside(label: u8, x: f32, y: f32) -> bool {
    let distance = (x * x + y * y).sqrt();
    let square = x.abs().max(y.abs());
    let band = |v: f32| (((v + 1.0) * 2.5) as u32).is_multiple_of(2);
    match label {
        0 => distance < 1.0,
        1 => (0.6..1.0).contains(&distance),
        2 => square < 0.85,
        3 => (0.6..0.95).contains(&square),
        4 => square < 1.0 && x.abs().min(y.abs()) < 0.25,
        5 => square < 1.0 && (x.abs() - y.abs()).abs() < 0.3,
        6 => square < 1.0 && band(y),
        7 => square < 1.0 && band(x),
        8 => y < 0.9 && x.abs() < (y + 1.0) / 2.0,
        _ => square < 1.0 && band(x) == band(y),
    }
}

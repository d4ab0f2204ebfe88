//! The conversion of bytes to floats.

/// The conversion of bytes to floats: `(byte / 255 - mean) / std`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// Subtracted from the pixels, on the scale from 0 to 1.
    pub mean: f32,
    /// The divisor of the pixels after that.
    pub std: f32,
}

impl Normalization {
    /// Pixels from 0 to 1, as the notes use them.
    pub const UNIT: Self = Self { mean: 0.0, std: 1.0 };

    /// Pixels of mean 0 and standard deviation 1 over Fashion-MNIST's 60,000 training images.
    pub const STANDARD: Self = Self { mean: 0.2860, std: 0.3530 };
}

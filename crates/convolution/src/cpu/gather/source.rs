//! What a convolution reads and adds.

use std::ops::Range;

use crate::cpu::panels::Panels;

/// A tensor `[batch, channels, height, width]` that is read, with any strides.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The values, from the tensor's first one on.
    pub values: &'a [f32],
    /// Strides of images, channels, rows and columns.
    pub strides: [usize; 4],
}

impl<'a> Source<'a> {
    /// A tensor with its channels last in memory, without gaps.
    pub fn channels_last(values: &'a [f32], [channels, height, width]: [usize; 3]) -> Self {
        Self { values, strides: [height * width * channels, 1, width * channels, channels] }
    }

    /// The same tensor without the channels before this one.
    pub fn skip_channels(self, channel: usize) -> Self {
        Self { values: &self.values[channel * self.strides[1]..], ..self }
    }

    /// Checks that the channels are adjacent and that the slice contains the last value.
    ///
    /// # Panics
    ///
    /// If not.
    pub fn assert_channels_last(&self, [batch, channels, height, width]: [usize; 4]) {
        let [n, c, y, x] = self.strides;
        assert!(c == 1 || channels == 1, "the channels must be last in memory");
        if batch * channels * height * width > 0 {
            let last = (batch - 1) * n + channels - 1 + (height - 1) * y + (width - 1) * x;
            assert!(self.values.len() > last, "the tensor's slice is too short");
        }
    }

    pub(super) fn is_channels_last(&self, [channels, height, width]: [usize; 3]) -> bool {
        let Source { strides, .. } = Self::channels_last(&[], [channels, height, width]);
        self.strides == strides
            || channels == 1 && self.strides[2..] == strides[2..] && self.strides[0] == strides[0]
    }
}

/// The epilogue of a convolution.
#[derive(Clone, Copy, Default)]
pub struct Finished<'a> {
    /// Added to every position, padded to whole vectors.
    pub bias: Option<&'a [f32]>,
    /// Added, in the layout of the result.
    pub residual: Option<&'a [f32]>,
    /// Whether ReLU is applied last.
    pub relu: bool,
}

impl Finished<'_> {
    /// Checks that bias and residual are long enough for a result of `length` values.
    ///
    /// # Panics
    ///
    /// If not.
    pub fn assert_fits(&self, panels: Panels, length: usize) {
        let fits = |values: Option<&[f32]>, length| values.is_none_or(|it| it.len() >= length);
        assert!(fits(self.bias, panels.padded()), "the bias with its padding is too short");
        assert!(fits(self.residual, length), "the residual is too short");
    }
}

/// Divides `0..length` into `parts` ranges, as equal as possible.
pub fn split(length: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    (0..parts).map(move |part| part_of(length, parts, part))
}

pub(super) fn part_of(length: usize, parts: usize, part: usize) -> Range<usize> {
    let start = |part: usize| part * (length / parts) + part.min(length % parts);
    start(part)..start(part + 1)
}

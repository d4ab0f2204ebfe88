//! Which inputs a window reads: the arithmetic of one axis, and of the whole convolution.

use std::{fmt, ops::Range};

/// The sizes of a convolution and of its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Number of images.
    pub batch: usize,
    /// Channels of the input.
    pub inputs: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// Height and width of the input.
    pub size: [usize; 2],
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Stride of the window, down and to the right.
    pub stride: [usize; 2],
    /// Pixels added at the top and at the left.
    pub padding: [usize; 2],
    /// Height and width of the output, which also determine the padding at the bottom and right.
    pub output: [usize; 2],
}

impl Geometry {
    /// The number of positions in the window.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// The number of values of the input and the output.
    pub fn elements(&self) -> usize {
        let positions = |[height, width]: [usize; 2]| height * width;
        self.batch * (self.inputs * positions(self.size) + self.outputs * positions(self.output))
    }

    /// The number of weights.
    pub fn weight_len(&self) -> usize {
        self.taps() * self.inputs * self.outputs
    }

    /// How the output reads the input, along both axes.
    pub fn forward(&self) -> [Axis; 2] {
        [0, 1].map(|axis| Axis {
            source: self.size[axis],
            grid: self.output[axis],
            step: self.stride[axis],
            taps: (0..self.kernel[axis])
                .map(|k| Tap { offset: k as isize - self.padding[axis] as isize, index: k })
                .collect(),
            first: 0,
            stride: 1,
        })
    }

    /// How the gradient of the input reads the gradient of the output. Pixels that are a stride
    /// apart have the same taps and form a phase. A phase is a convolution of stride 1.
    pub fn backward(&self) -> Vec<[Axis; 2]> {
        let [rows, columns] = [0, 1].map(|axis| {
            let phases = (0..self.stride[axis].min(self.size[axis])).map(move |phase| {
                let (stride, padding) = (self.stride[axis], self.padding[axis]);
                // Pixel `grid * stride + phase` is under tap k of the output at `grid + offset`.
                let taps = (0..self.kernel[axis]).rev().filter_map(|k| {
                    let distance = (phase + padding) as isize - k as isize;
                    let stride = stride as isize;
                    (distance % stride == 0).then(|| Tap { offset: distance / stride, index: k })
                });
                Axis {
                    source: self.output[axis],
                    grid: (self.size[axis] - phase).div_ceil(stride),
                    step: 1,
                    taps: taps.collect(),
                    first: phase,
                    stride,
                }
            });
            phases.collect::<Vec<_>>()
        });
        rows.iter()
            .flat_map(|row| columns.iter().map(move |column| [row.clone(), column.clone()]))
            .collect()
    }
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { batch, inputs, outputs, size, kernel, stride, .. } = self;
        let [[height, width], [kernel_height, kernel_width], [down, across]] =
            [size, kernel, stride];
        write!(f, "[{batch}, {inputs}, {height}, {width}] to {outputs} channels, ")?;
        write!(f, "{kernel_height} x {kernel_width}")?;
        if stride == &[1, 1] { Ok(()) } else { write!(f, ", stride {down} x {across}") }
    }
}

/// One position of the window along an axis.
#[derive(Clone, Copy, Debug)]
pub struct Tap {
    /// The offset of the source position that it reads from the position `grid * step`.
    pub offset: isize,
    /// Its index in the window.
    pub index: usize,
}

/// One axis of the result: position `grid` reads the source at `grid * step + offset` for every
/// tap, and is written at `first + grid * stride`.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Length of the source.
    pub source: usize,
    /// Number of positions.
    pub grid: usize,
    /// Distance in the source from one position to the next.
    pub step: usize,
    /// The taps, with ascending offsets.
    pub taps: Vec<Tap>,
    /// Where the first position is written.
    pub first: usize,
    /// Distance from there to the next position.
    pub stride: usize,
}

impl Axis {
    /// The positions at which a tap reads the source and not its padding.
    pub fn valid(&self, tap: Tap) -> Range<usize> {
        let step = self.step as isize;
        let begin = (-tap.offset).max(0) as usize;
        let begin = begin.div_ceil(self.step).min(self.grid);
        let end = (self.source as isize - 1 - tap.offset).div_euclid(step) + 1;
        begin..(end.clamp(begin as isize, self.grid as isize) as usize)
    }

    /// The taps that read the source at a position: a range, because offsets increase by one.
    pub fn taps_at(&self, position: usize) -> Range<usize> {
        let reads = |tap: &Tap| (position * self.step) as isize + tap.offset;
        let begin = self.taps.partition_point(|tap| reads(tap) < 0);
        let end = self.taps.partition_point(|tap| reads(tap) < self.source as isize);
        begin..end.max(begin)
    }

    /// The source positions that these positions read, without padding.
    pub fn reads(&self, positions: Range<usize>) -> Range<usize> {
        let (Some(first), Some(last)) = (self.taps.first(), self.taps.last()) else { return 0..0 };
        if positions.is_empty() {
            return 0..0;
        }
        let begin = (positions.start * self.step) as isize + first.offset;
        let end = ((positions.end - 1) * self.step) as isize + last.offset + 1;
        let begin = begin.clamp(0, self.source as isize) as usize;
        begin..(end.clamp(begin as isize, self.source as isize) as usize)
    }

    /// How far positions read beyond the source: before it and after it.
    pub fn padding(&self) -> [usize; 2] {
        let (Some(first), Some(last)) = (self.taps.first(), self.taps.last()) else {
            return [0, 0];
        };
        let end = (self.grid.saturating_sub(1) * self.step) as isize + last.offset + 1;
        [(-first.offset).max(0) as usize, (end - self.source as isize).max(0) as usize]
    }
}

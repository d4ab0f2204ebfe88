//! Pooling over height and width, of f32: the largest value or the average of each window.
//!
//! A tensor in either memory order is `planes` of `height` rows of `width` pixels of `inner` values
//! ([`Planes`]). If channels are last, a pixel is all channels of a position; if they are first, it
//! is one value. A window is a range of rows and a range of columns, so pooling processes one axis
//! at a time: [`rows::down`] reduces the rows of a window to one line, element-wise, and
//! [`rows::across`] reduces the pixels of that line. In both orders, the sum of a window is the sum
//! of its columns' sums, so both give the same bits.
//!
//! A task is a range of whole rows of the result. Its size depends only on the shape.

mod average;
mod max;
mod rows;
#[cfg(test)]
mod tests;

use std::{mem::MaybeUninit, ops::Range};

use cpu_tensors::{Order, collect, map_tasks};

use crate::ops::Pool2d;

pub use average::{adaptive_average, adaptive_average_backward, average, average_backward};
pub use max::{max, max_backward};

impl Pool2d {
    /// The size of the output for an image.
    ///
    /// # Panics
    ///
    /// If a window is larger than the image with its padding (with `ceil`, larger by a stride or
    /// more), or a kernel size or a stride is 0.
    pub fn output_size(&self, size: [usize; 2]) -> [usize; 2] {
        [0, 1].map(|axis| {
            let (kernel, stride, padding) = self.of(axis);
            let padded = size[axis] + 2 * padding;
            assert!(kernel > 0 && stride > 0, "kernel size and stride must not be 0: {self:?}");
            let reach = padded + if self.ceil { stride - 1 } else { 0 };
            assert!(
                kernel <= reach,
                "a window of {:?} pixels does not fit into images of {size:?} pixels, padded by {:?}",
                self.kernel,
                self.padding
            );
            let last = (reach - kernel) / stride;
            if self.ceil && last * stride >= size[axis] + padding {
                return last;
            }
            last + 1
        })
    }

    /// The kernel size, the stride and the padding of an axis.
    fn of(&self, axis: usize) -> (usize, usize, usize) {
        (self.kernel[axis], self.stride[axis], self.padding[axis])
    }

    /// The windows along both axes of an image.
    fn windows(&self, size: [usize; 2]) -> [Windows; 2] {
        let counts = self.output_size(size);
        [0, 1].map(|axis| {
            let (kernel, stride, padding) = self.of(axis);
            let inside = |position: usize| position.saturating_sub(padding).min(size[axis]);
            let starts = (0..counts[axis]).map(|index| index * stride);
            let window = |start: usize| inside(start)..inside(start + kernel);
            Windows { ranges: starts.map(window).collect() }
        })
    }

    /// How many positions of an axis a window averages over.
    fn counts(&self, size: [usize; 2], include_padding: bool) -> [Vec<f32>; 2] {
        let windows = self.windows(size);
        [0, 1].map(|axis| {
            let (kernel, stride, padding) = self.of(axis);
            let count = |(index, range): (usize, &Range<usize>)| {
                if include_padding {
                    kernel.min(size[axis] + 2 * padding - index * stride)
                } else {
                    range.len()
                }
            };
            let windows = windows[axis].ranges.iter().enumerate();
            windows.map(|window| count(window).max(1) as f32).collect()
        })
    }
}

/// The windows along one axis, cut off at the image's edges. Their first and last positions never
/// decrease.
struct Windows {
    ranges: Vec<Range<usize>>,
}

impl Windows {
    /// The windows of adaptive pooling: they cover the image and are as equal as possible.
    fn adaptive(size: usize, count: usize) -> Self {
        let window = |index: usize| index * size / count..((index + 1) * size).div_ceil(count);
        Self { ranges: (0..count).map(window).collect() }
    }

    /// For every position of the image, the windows that contain it.
    fn transposed(&self, size: usize) -> Self {
        let before = |position| self.ranges.partition_point(|window| window.end <= position);
        let until = |position| self.ranges.partition_point(|window| window.start <= position);
        let ranges = (0..size).map(|position| before(position)..until(position)).collect();
        Self { ranges }
    }

    fn len(&self) -> usize {
        self.ranges.len()
    }
}

/// The memory layout of a tensor: row-major `[planes, height, width, inner]`.
#[derive(Clone, Copy)]
struct Planes {
    planes: usize,
    height: usize,
    width: usize,
    inner: usize,
}

impl Planes {
    /// The planes of a tensor `[batch, channels, height, width]`.
    fn of([batch, channels, height, width]: [usize; 4], order: Order) -> Self {
        let (planes, inner) = match order {
            Order::ChannelsFirst => (batch * channels, 1),
            Order::ChannelsLast => (batch, channels),
        };
        Self { planes, height, width, inner }
    }

    fn with_size(self, [height, width]: [usize; 2]) -> Self {
        Self { height, width, ..self }
    }

    fn size(&self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// The number of values of a row.
    fn line(&self) -> usize {
        self.width * self.inner
    }

    fn plane(&self) -> usize {
        self.height * self.line()
    }

    fn elements(&self) -> usize {
        self.planes * self.plane()
    }

    /// A row of a plane.
    #[inline(always)]
    fn row<'a>(&self, values: &'a [f32], plane: usize, row: usize) -> &'a [f32] {
        let start = (plane * self.height + row) * self.line();
        &values[start..start + self.line()]
    }

    /// Divides a range of the rows of all planes, numbered consecutively, by plane. Each part has
    /// its plane and its rows in that plane.
    fn parts(&self, rows: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
        let height = self.height;
        let planes = rows.start / height..rows.end.div_ceil(height);
        planes.map(move |plane| {
            let first = plane * height;
            let start = rows.start.max(first) - first;
            (plane, start..(rows.end - first).min(height))
        })
    }
}

/// About how many values a task reads and writes: they stay in a core's second-level cache.
const TASK: usize = 1 << 15;

/// Creates a tensor whose rows `fill` writes, some at a time. `fill` is given their range in the
/// rows of all planes, numbered consecutively, and where to write them. `reads` is the number of
/// values that it reads for all rows.
fn write_rows(
    output: Planes,
    reads: usize,
    fill: impl Fn(Range<usize>, &mut [MaybeUninit<f32>]) + Sync,
) -> Vec<f32> {
    if output.elements() == 0 {
        return Vec::new();
    }
    let work = output.elements() + reads;
    let rows = (TASK * output.planes * output.height / work).max(1);
    let write = |values: &mut [MaybeUninit<f32>]| {
        let tasks = values.chunks_mut(rows * output.line()).collect();
        map_tasks(tasks, work, |task, values| {
            let first = task * rows;
            fill(first..first + values.len() / output.line(), values);
        });
    };
    // SAFETY: the chunks are the whole tensor, and `fill` writes every value of the rows it is
    // given.
    unsafe { collect(output.elements(), write) }.0
}

//! The average of a window, and its gradient.

use std::{mem::MaybeUninit, ops::Range};

use cpu_tensors::Order;
use multiversion::multiversion;

use super::{
    Planes, Pool2d, Windows,
    rows::{Sum, across, down},
    write_rows,
};

/// The average of each window.
///
/// The tensor is `[batch, channels, height, width]` in memory order `order`, and so is the output.
/// The sum of a window is divided by the number of its positions: with `include_padding` those in
/// the image and in the padding (as zeros), without it only those in the image. Positions beyond
/// the padding, which `ceil` allows, never count.
pub fn average(
    input: &[f32],
    shape: [usize; 4],
    order: Order,
    pool: &Pool2d,
    include_padding: bool,
) -> Vec<f32> {
    forward(input, Planes::of(shape, order), &Averages::of(shape, pool, include_padding))
}

/// The gradient of the input of [`average`], which has this shape, given the gradient of its
/// output.
pub fn average_backward(
    output_grad: &[f32],
    shape: [usize; 4],
    order: Order,
    pool: &Pool2d,
    include_padding: bool,
) -> Vec<f32> {
    backward(output_grad, Planes::of(shape, order), &Averages::of(shape, pool, include_padding))
}

/// The average of each of `size` windows that cover the image.
///
/// Window `i` of `n` over a height of `h` is from `floor(i h / n)` to `ceil((i + 1) h / n)`.
pub fn adaptive_average(
    input: &[f32],
    shape: [usize; 4],
    order: Order,
    size: [usize; 2],
) -> Vec<f32> {
    forward(input, Planes::of(shape, order), &Averages::adaptive(shape, size))
}

/// The gradient of the input of [`adaptive_average`], which has this shape, given the gradient of
/// its output.
pub fn adaptive_average_backward(
    output_grad: &[f32],
    shape: [usize; 4],
    order: Order,
    size: [usize; 2],
) -> Vec<f32> {
    backward(output_grad, Planes::of(shape, order), &Averages::adaptive(shape, size))
}

/// Windows along both axes, and how many positions of the axis each averages over.
struct Averages {
    windows: [Windows; 2],
    counts: [Vec<f32>; 2],
}

impl Averages {
    fn of([_, _, height, width]: [usize; 4], pool: &Pool2d, include_padding: bool) -> Self {
        let size = [height, width];
        Self { windows: pool.windows(size), counts: pool.counts(size, include_padding) }
    }

    fn adaptive([_, _, height, width]: [usize; 4], size: [usize; 2]) -> Self {
        let windows = [Windows::adaptive(height, size[0]), Windows::adaptive(width, size[1])];
        let count = |window: &Range<usize>| window.len() as f32;
        let counts = [0, 1].map(|axis: usize| windows[axis].ranges.iter().map(count).collect());
        Self { windows, counts }
    }

    fn size(&self) -> [usize; 2] {
        [self.windows[0].len(), self.windows[1].len()]
    }

    /// The same in two steps, if there are tall windows: sums of parts of windows, and the averages
    /// from these sums.
    fn split(&self, width: usize) -> Option<[Self; 2]> {
        let [rows, columns] = &self.windows;
        if rows.ranges.iter().all(|window| window.len() <= TALL) {
            return None;
        }
        let (mut parts, mut windows) = (Vec::new(), Vec::new());
        for window in &rows.ranges {
            let first = parts.len();
            let starts = window.clone().step_by(PART);
            parts.extend(starts.map(|start| start..(start + PART).min(window.end)));
            windows.push(first..parts.len());
        }
        let ones = [vec![1.0; parts.len()], vec![1.0; width]];
        let each = (0..width).map(|column| column..column + 1).collect();
        let sums = [Windows { ranges: parts }, Windows { ranges: each }];
        let windows = [Windows { ranges: windows }, Windows { ranges: columns.ranges.clone() }];
        let counts = self.counts.clone();
        Some([Self { windows: sums, counts: ones }, Self { windows, counts }])
    }
}

/// A window of more rows than this is summed in parts, so that one large image gives many tasks.
const TALL: usize = 32;
const PART: usize = 8;

fn forward(input: &[f32], image: Planes, averages: &Averages) -> Vec<f32> {
    assert_eq!(input.len(), image.elements(), "the input's shape");
    if let Some([sums, averages]) = averages.split(image.width) {
        return forward(&forward(input, image, &sums), image.with_size(sums.size()), &averages);
    }
    let output = image.with_size(averages.size());
    write_rows(output, image.elements(), |rows, values| {
        forward_rows(input, image, output, averages, rows, values);
    })
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn forward_rows(
    input: &[f32],
    image: Planes,
    output: Planes,
    averages: &Averages,
    rows: Range<usize>,
    values: &mut [MaybeUninit<f32>],
) {
    let Averages { windows: [windows, columns], counts: [heights, widths] } = averages;
    let mut line = vec![0.0; image.line()];
    for (index, values) in rows.zip(values.chunks_exact_mut(output.line())) {
        let (plane, index) = (index / output.height, index % output.height);
        let row = |row| image.row(input, plane, row);
        let line = down::<Sum>(windows.ranges[index].clone(), row, &mut line);
        let height = heights[index];
        let divide = |column: usize, sum: f32| sum / (height * widths[column]);
        across::<Sum>(line, columns, image.inner, values, divide);
    }
}

fn backward(output_grad: &[f32], image: Planes, averages: &Averages) -> Vec<f32> {
    let output = image.with_size(averages.size());
    assert_eq!(output_grad.len(), output.elements(), "the gradient's shape");
    let [rows, columns] = &averages.windows;
    // A position's gradient is the sum over the windows that contain it.
    let windows = [rows.transposed(image.height), columns.transposed(image.width)];
    let [heights, widths] = &averages.counts;
    let widths: Vec<_> =
        widths.iter().flat_map(|width| std::iter::repeat_n(*width, image.inner)).collect();
    write_rows(image, output.elements(), |rows, values| {
        let counts = [&heights[..], &widths[..]];
        backward_rows(output_grad, image, output, &windows, counts, rows, values);
    })
}

/// `counts` are those of the rows and of every value of a line.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn backward_rows(
    output_grad: &[f32],
    image: Planes,
    output: Planes,
    [windows, columns]: &[Windows; 2],
    [heights, widths]: [&[f32]; 2],
    rows: Range<usize>,
    mut values: &mut [MaybeUninit<f32>],
) {
    let mut shares = Vec::new();
    let mut line = vec![0.0; output.line()];
    for (plane, rows) in image.parts(rows) {
        let (part, rest) = values.split_at_mut(rows.len() * image.line());
        values = rest;

        // The gradient that every window passes to each of its positions.
        let covering = windows.ranges[rows.start].start..windows.ranges[rows.end - 1].end;
        shares.clear();
        for row in covering.clone() {
            let gradient = output.row(output_grad, plane, row).iter().zip(widths);
            let height = heights[row];
            shares.extend(gradient.map(|(gradient, width)| gradient / (height * width)));
        }
        let share = |row: usize| &shares[(row - covering.start) * output.line()..][..output.line()];

        let first = rows.start;
        for row in rows {
            let (done, values) = part.split_at_mut((row - first) * image.line());
            let values = &mut values[..image.line()];
            if row > first && windows.ranges[row] == windows.ranges[row - 1] {
                values.copy_from_slice(&done[done.len() - image.line()..]);
                continue;
            }
            let line = down::<Sum>(windows.ranges[row].clone(), share, &mut line);
            across::<Sum>(line, columns, image.inner, values, |_, sum| sum);
        }
    }
}

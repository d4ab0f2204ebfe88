//! Reduces the rows of a window to a line, and the pixels of a line to one pixel.

use std::{mem::MaybeUninit, ops::Range};

use super::Windows;

/// A reduction of two values to one.
pub trait Reduce {
    /// The result for an empty window.
    const EMPTY: f32;

    /// Reduces two values, in this order.
    fn reduce(a: f32, b: f32) -> f32;
}

/// The sum.
pub struct Sum;

impl Reduce for Sum {
    const EMPTY: f32 = 0.0;

    #[inline(always)]
    fn reduce(a: f32, b: f32) -> f32 {
        a + b
    }
}

/// The largest value; NaN if there is one.
pub struct Max;

impl Reduce for Max {
    const EMPTY: f32 = f32::NEG_INFINITY;

    #[inline(always)]
    fn reduce(a: f32, b: f32) -> f32 {
        if (b > a) | b.is_nan() { b } else { a }
    }
}

/// Reduces rows element-wise. `line` is a buffer for the result; a single row is returned without a
/// copy.
#[inline(always)]
pub fn down<'a: 'b, 'b, R: Reduce>(
    rows: Range<usize>,
    row: impl Fn(usize) -> &'a [f32],
    line: &'b mut [f32],
) -> &'b [f32] {
    let first = rows.start;
    let rest = match rows.len() {
        0 => {
            line.fill(R::EMPTY);
            rows
        }
        1 => return row(first),
        2 => {
            for ((line, a), b) in line.iter_mut().zip(row(first)).zip(row(first + 1)) {
                *line = R::reduce(*a, *b);
            }
            first + 2..rows.end
        }
        _ => {
            let values = row(first).iter().zip(row(first + 1)).zip(row(first + 2));
            for (line, ((a, b), c)) in line.iter_mut().zip(values) {
                *line = R::reduce(R::reduce(*a, *b), *c);
            }
            first + 3..rows.end
        }
    };
    for index in rest {
        for (line, a) in line.iter_mut().zip(row(index)) {
            *line = R::reduce(*line, *a);
        }
    }
    line
}

/// Reduces each window of a line's pixels of `inner` values to one pixel. `finish` is given the
/// window's index and a value of its pixel, and returns the value to write.
#[inline(always)]
pub fn across<R: Reduce>(
    line: &[f32],
    windows: &Windows,
    inner: usize,
    output: &mut [MaybeUninit<f32>],
    finish: impl Fn(usize, f32) -> f32 + Copy,
) {
    if inner == 1 {
        return across_values::<R>(line, windows, output, finish);
    }
    let mut channel = 0;
    // Fixed numbers of values at a time, which the compiler vectorizes.
    while inner - channel >= 16 {
        across_pixels::<R, 16>(line, windows, inner, channel, output, finish);
        channel += 16;
    }
    if inner - channel >= 8 {
        across_pixels::<R, 8>(line, windows, inner, channel, output, finish);
        channel += 8;
    }
    if inner - channel >= 4 {
        across_pixels::<R, 4>(line, windows, inner, channel, output, finish);
        channel += 4;
    }
    if inner - channel >= 2 {
        across_pixels::<R, 2>(line, windows, inner, channel, output, finish);
        channel += 2;
    }
    if inner - channel >= 1 {
        across_pixels::<R, 1>(line, windows, inner, channel, output, finish);
    }
}

/// [`across`] for `N` channels from `channel` on.
#[inline(always)]
fn across_pixels<R: Reduce, const N: usize>(
    line: &[f32],
    windows: &Windows,
    inner: usize,
    channel: usize,
    output: &mut [MaybeUninit<f32>],
    finish: impl Fn(usize, f32) -> f32,
) {
    let pixels = output.chunks_exact_mut(inner).zip(&windows.ranges).enumerate();
    for (index, (output, window)) in pixels {
        let mut sums = [R::EMPTY; N];
        for pixel in window.clone() {
            let first = pixel * inner + channel;
            for (sum, value) in sums.iter_mut().zip(&line[first..first + N]) {
                *sum = R::reduce(*sum, *value);
            }
        }
        for (output, sum) in output[channel..channel + N].iter_mut().zip(sums) {
            output.write(finish(index, sum));
        }
    }
}

/// [`across`] for pixels of one value.
#[inline(always)]
fn across_values<R: Reduce>(
    line: &[f32],
    windows: &Windows,
    output: &mut [MaybeUninit<f32>],
    finish: impl Fn(usize, f32) -> f32,
) {
    for (index, (output, window)) in output.iter_mut().zip(&windows.ranges).enumerate() {
        let values = line[window.clone()].iter();
        output.write(finish(index, values.fold(R::EMPTY, |a, b| R::reduce(a, *b))));
    }
}

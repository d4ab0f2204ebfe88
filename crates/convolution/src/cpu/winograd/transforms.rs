//! The transforms of tiles and of weights.

#![expect(clippy::needless_range_loop, reason = "a loop over registers names them by number")]

use std::ops::Range;

use super::tiles::{POINTS, TILE, Window};
use crate::cpu::{
    simd::{Kernel, Simd},
    tile::Finish,
};

/// `B' d`, of one column.
#[inline(always)]
pub(super) unsafe fn input_points<S: Simd>(d: [S::Vector; POINTS]) -> [S::Vector; POINTS] {
    unsafe {
        let (two, four, minus_five) = (S::splat(2.0), S::splat(4.0), S::splat(-5.0));
        let minus_four = S::splat(-4.0);
        let even = S::mul_add(minus_four, d[2], d[4]);
        let odd = S::mul_add(minus_four, d[1], d[3]);
        let even_two = S::sub(d[4], d[2]);
        let odd_two = S::mul(two, S::sub(d[3], d[1]));
        [
            S::mul_add(four, d[0], S::mul_add(minus_five, d[2], d[4])),
            S::add(even, odd),
            S::sub(even, odd),
            S::add(even_two, odd_two),
            S::sub(even_two, odd_two),
            S::mul_add(four, d[1], S::mul_add(minus_five, d[3], d[5])),
        ]
    }
}

/// `A' m`, of one column.
#[inline(always)]
pub(super) unsafe fn output_tile<S: Simd>(m: [S::Vector; POINTS]) -> [S::Vector; TILE] {
    unsafe {
        let (sum, difference) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (sum_two, difference_two) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(m[0], S::add(sum, sum_two)),
            S::mul_add(S::splat(2.0), difference_two, difference),
            S::mul_add(S::splat(4.0), sum_two, sum),
            S::add(m[5], S::mul_add(S::splat(8.0), difference_two, difference)),
        ]
    }
}

/// `A y`, of one column: backward through [`output_tile`].
#[inline(always)]
pub(super) unsafe fn gradient_points<S: Simd>(y: [S::Vector; TILE]) -> [S::Vector; POINTS] {
    unsafe {
        let (even, odd) = (S::add(y[0], y[2]), S::add(y[1], y[3]));
        let even_two = S::mul_add(S::splat(4.0), y[2], y[0]);
        let odd_two = S::mul_add(S::splat(8.0), y[3], S::mul(S::splat(2.0), y[1]));
        [
            y[0],
            S::add(even, odd),
            S::sub(even, odd),
            S::add(even_two, odd_two),
            S::sub(even_two, odd_two),
            y[3],
        ]
    }
}

/// `G g`, of one column.
#[inline(always)]
pub(super) unsafe fn weight_points<S: Simd>(g: [S::Vector; 3]) -> [S::Vector; POINTS] {
    unsafe {
        let sixth = S::splat(1.0 / 6.0);
        let sum = S::mul(S::splat(-1.0 / 6.0), S::add(g[0], g[2]));
        let middle = S::mul(sixth, g[1]);
        let sum_two = S::mul_add(S::splat(1.0 / 24.0), g[0], S::mul(sixth, g[2]));
        let middle_two = S::mul(S::splat(1.0 / 12.0), g[1]);
        [
            S::mul(S::splat(0.25), g[0]),
            S::sub(sum, middle),
            S::add(sum, middle),
            S::add(sum_two, middle_two),
            S::sub(sum_two, middle_two),
            g[2],
        ]
    }
}

/// `G' u`, of one column: backward through [`weight_points`].
#[inline(always)]
pub(super) unsafe fn weight_window<S: Simd>(u: [S::Vector; POINTS]) -> [S::Vector; 3] {
    unsafe {
        let (sixth, twelfth) = (S::splat(1.0 / 6.0), S::splat(1.0 / 12.0));
        let sum = S::mul(sixth, S::add(u[1], u[2]));
        let difference = S::mul(sixth, S::sub(u[2], u[1]));
        let (sum_two, difference_two) = (S::add(u[3], u[4]), S::sub(u[3], u[4]));
        let first = S::mul_add(S::splat(0.25), u[0], S::mul(S::splat(1.0 / 24.0), sum_two));
        let last = S::mul_add(sixth, sum_two, u[5]);
        [S::sub(first, sum), S::mul_add(twelfth, difference_two, difference), S::sub(last, sum)]
    }
}

/// Transforms the windows of `length` neighboring weights.
///
/// # Safety
///
/// `length` is a multiple of the lanes; each tap and each point has `length` values.
pub(super) struct TransformWeights {
    pub(super) from: *const f32,
    pub(super) tap: usize,
    pub(super) to: *mut f32,
    pub(super) point: usize,
    pub(super) length: usize,
}

impl Kernel for TransformWeights {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe {
            for at in (0..self.length).step_by(S::LANES) {
                let mut columns = [[S::splat(0.0); POINTS]; 3];
                for x in 0..3 {
                    let load = |y: usize| self.from.add((y * 3 + x) * self.tap + at);
                    columns[x] =
                        weight_points::<S>([S::load(load(0)), S::load(load(1)), S::load(load(2))]);
                }
                for y in 0..POINTS {
                    let row = weight_points::<S>([columns[0][y], columns[1][y], columns[2][y]]);
                    for x in 0..POINTS {
                        S::store(self.to.add((y * POINTS + x) * self.point + at), row[x]);
                    }
                }
            }
        }
    }
}

/// Transforms a tile of the input.
///
/// # Safety
///
/// The window's pixels inside have `depth` channels; `to` has as many, padded to whole vectors, at
/// each point.
pub(super) struct TransformInput {
    pub(super) window: Window,
    pub(super) depth: usize,
    pub(super) to: *mut f32,
    pub(super) point: usize,
}

impl Kernel for TransformInput {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe {
            let whole = self.window.down == [0, POINTS] && self.window.across == [0, POINTS];
            for channel in (0..self.depth).step_by(S::LANES) {
                let lanes = (self.depth - channel).min(S::LANES);
                let mut columns = [[S::splat(0.0); POINTS]; POINTS];
                if whole && lanes == S::LANES {
                    for x in 0..POINTS {
                        let mut column = [S::splat(0.0); POINTS];
                        for y in 0..POINTS {
                            let [row, pixel] = self.window.strides;
                            column[y] =
                                S::load(self.window.start.add(y * row + x * pixel + channel));
                        }
                        columns[x] = input_points::<S>(column);
                    }
                } else {
                    for x in 0..POINTS {
                        columns[x] = input_points::<S>(load_column::<S, POINTS>(
                            &self.window,
                            x,
                            channel,
                            lanes,
                        ));
                    }
                }
                for y in 0..POINTS {
                    let row = input_points::<S>([
                        columns[0][y],
                        columns[1][y],
                        columns[2][y],
                        columns[3][y],
                        columns[4][y],
                        columns[5][y],
                    ]);
                    for x in 0..POINTS {
                        S::store(self.to.add((y * POINTS + x) * self.point + channel), row[x]);
                    }
                }
            }
        }
    }
}

/// A column of a window, with zeros outside the image.
#[inline(always)]
pub(super) unsafe fn load_column<S: Simd, const N: usize>(
    window: &Window,
    x: usize,
    channel: usize,
    lanes: usize,
) -> [S::Vector; N] {
    unsafe {
        let mut column = [S::splat(0.0); N];
        for y in 0..N {
            if window.has(y, x) {
                let [row, pixel] = window.strides;
                let at = (y - window.down[0]) * row + (x - window.across[0]) * pixel + channel;
                column[y] = S::load_first(window.start.add(at), lanes);
            }
        }
        column
    }
}

/// Transforms a tile of the output's gradient.
///
/// # Safety
///
/// As [`TransformInput`].
pub(super) struct TransformGradient {
    pub(super) window: Window,
    pub(super) depth: usize,
    pub(super) to: *mut f32,
    pub(super) point: usize,
}

impl Kernel for TransformGradient {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe {
            for channel in (0..self.depth).step_by(S::LANES) {
                let lanes = (self.depth - channel).min(S::LANES);
                let mut columns = [[S::splat(0.0); POINTS]; TILE];
                for x in 0..TILE {
                    columns[x] = gradient_points::<S>(load_column::<S, TILE>(
                        &self.window,
                        x,
                        channel,
                        lanes,
                    ));
                }
                for y in 0..POINTS {
                    let row = gradient_points::<S>([
                        columns[0][y],
                        columns[1][y],
                        columns[2][y],
                        columns[3][y],
                    ]);
                    for x in 0..POINTS {
                        S::store(self.to.add((y * POINTS + x) * self.point + channel), row[x]);
                    }
                }
            }
        }
    }
}

/// Transforms products to a tile of the output.
///
/// # Safety
///
/// `from` has the columns, padded to whole vectors, at each point; `to` (and the residual) have
/// them at each pixel.
pub(super) struct TransformOutput {
    pub(super) from: *const f32,
    pub(super) point: usize,
    pub(super) columns: usize,
    pub(super) to: *mut f32,
    pub(super) size: [usize; 2],
    pub(super) strides: [usize; 2],
    pub(super) finish: Finish,
}

impl Kernel for TransformOutput {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe {
            let Finish { bias, residual, relu } = self.finish;
            for channel in (0..self.columns).step_by(S::LANES) {
                let lanes = (self.columns - channel).min(S::LANES);
                let mut columns = [[S::splat(0.0); TILE]; POINTS];
                for x in 0..POINTS {
                    let mut column = [S::splat(0.0); POINTS];
                    for y in 0..POINTS {
                        column[y] = S::load(self.from.add((y * POINTS + x) * self.point + channel));
                    }
                    columns[x] = output_tile::<S>(column);
                }
                let shift = if bias.is_null() {
                    S::splat(0.0)
                } else {
                    S::load_first(bias.add(channel), lanes)
                };
                for y in 0..TILE {
                    let row = output_tile::<S>([
                        columns[0][y],
                        columns[1][y],
                        columns[2][y],
                        columns[3][y],
                        columns[4][y],
                        columns[5][y],
                    ]);
                    if y < self.size[0] {
                        for x in 0..TILE {
                            if x < self.size[1] {
                                let at = y * self.strides[0] + x * self.strides[1] + channel;
                                let mut value = S::add(row[x], shift);
                                if !residual.is_null() {
                                    value = S::add(value, S::load_first(residual.add(at), lanes));
                                }
                                if relu {
                                    value = S::relu(value);
                                }
                                S::store_first(self.to.add(at), value, lanes);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Adds the parts of some inputs, and transforms the sums to nine taps: `[tap][input][output]`.
///
/// # Safety
///
/// All parts have all points; there is space for the result.
pub(super) struct TransformSums<'a> {
    pub(super) parts: &'a [&'a [f32]],
    pub(super) point: usize,
    pub(super) row: usize,
    pub(super) inputs: Range<usize>,
    pub(super) outputs: usize,
    pub(super) to: *mut f32,
}

impl Kernel for TransformSums<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe {
            let count = self.inputs.len();
            for (index, input) in self.inputs.enumerate() {
                for output in (0..self.outputs).step_by(S::LANES) {
                    let lanes = (self.outputs - output).min(S::LANES);
                    let mut columns = [[S::splat(0.0); 3]; POINTS];
                    for x in 0..POINTS {
                        let mut column = [S::splat(0.0); POINTS];
                        for y in 0..POINTS {
                            let at = (y * POINTS + x) * self.point + input * self.row + output;
                            let mut sum = S::splat(0.0);
                            for part in self.parts {
                                sum = S::add(sum, S::load(part.as_ptr().add(at)));
                            }
                            column[y] = sum;
                        }
                        columns[x] = weight_window::<S>(column);
                    }
                    for y in 0..3 {
                        let row = weight_window::<S>([
                            columns[0][y],
                            columns[1][y],
                            columns[2][y],
                            columns[3][y],
                            columns[4][y],
                            columns[5][y],
                        ]);
                        for x in 0..3 {
                            let at = ((y * 3 + x) * count + index) * self.outputs + output;
                            S::store_first(self.to.add(at), row[x], lanes);
                        }
                    }
                }
            }
        }
    }
}

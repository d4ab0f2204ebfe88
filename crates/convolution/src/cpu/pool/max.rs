//! The largest value of a window, and its gradient.

use std::{mem::MaybeUninit, ops::Range};

use cpu_tensors::Order;
use multiversion::multiversion;

use super::{
    Planes, Pool2d, Windows,
    rows::{Max, Reduce, across, down},
    write_rows,
};

/// The largest value of each window, or NaN if there is one. The padding is never the largest.
///
/// The tensor is `[batch, channels, height, width]` in memory order `order`, and so is the output.
pub fn max(input: &[f32], shape: [usize; 4], order: Order, pool: &Pool2d) -> Vec<f32> {
    let image = Planes::of(shape, order);
    assert_eq!(input.len(), image.elements(), "the input's shape");
    let output = image.with_size(pool.output_size(image.size()));
    let windows = pool.windows(image.size());
    write_rows(output, image.elements(), |rows, values| {
        forward_rows(input, image, output, &windows, rows, values);
    })
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn forward_rows(
    input: &[f32],
    image: Planes,
    output: Planes,
    [windows, columns]: &[Windows; 2],
    rows: Range<usize>,
    values: &mut [MaybeUninit<f32>],
) {
    let mut line = vec![0.0; image.line()];
    for (index, values) in rows.zip(values.chunks_exact_mut(output.line())) {
        let (plane, index) = (index / output.height, index % output.height);
        let row = |row| image.row(input, plane, row);
        let line = down::<Max>(windows.ranges[index].clone(), row, &mut line);
        across::<Max>(line, columns, image.inner, values, |_, value| value);
    }
}

/// The gradient of the input of [`max`], which has this shape, given the gradient of its output.
///
/// A window's gradient goes to its largest value: to the first of equal ones, to the last NaN if
/// there is any, as in PyTorch. Gradients of windows that overlap are added.
pub fn max_backward(
    input: &[f32],
    output_grad: &[f32],
    shape: [usize; 4],
    order: Order,
    pool: &Pool2d,
) -> Vec<f32> {
    let image = Planes::of(shape, order);
    let output = image.with_size(pool.output_size(image.size()));
    assert_eq!(input.len(), image.elements(), "the input's shape");
    assert_eq!(output_grad.len(), output.elements(), "the gradient's shape");
    assert!(i32::try_from(image.plane()).is_ok(), "an image of more than 2^31 values: {shape:?}");
    let windows = pool.windows(image.size());
    let [rows, columns] = &windows;
    let covering = [rows.transposed(image.height), columns.transposed(image.width)];
    write_rows(image, input.len() + output_grad.len(), |rows, values| {
        let tensors = [input, output_grad];
        backward_rows(tensors, image, output, &windows, &covering, rows, values);
    })
}

/// `covering` has, for every row and every column, the windows that contain it.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn backward_rows(
    [input, output_grad]: [&[f32]; 2],
    image: Planes,
    output: Planes,
    [windows, columns]: &[Windows; 2],
    covering: &[Windows; 2],
    rows: Range<usize>,
    mut values: &mut [MaybeUninit<f32>],
) {
    let mut line = Line::new(image.line());
    let mut winners = Vec::new();
    for (plane, rows) in image.parts(rows) {
        let (part, rest) = values.split_at_mut(rows.len() * image.line());
        values = rest;

        let ranges = &covering[0].ranges;
        let found = ranges[rows.start].start..ranges[rows.end - 1].end;
        winners.clear();
        winners.resize(found.len() * output.line(), NOWHERE);
        for (row, winners) in found.clone().zip(winners.chunks_exact_mut(output.line())) {
            let window = windows.ranges[row].clone();
            if !window.is_empty() {
                line.down(window, |row| image.row(input, plane, row));
                line.across(columns, image.inner, winners);
            }
        }

        let start = (plane * output.height + found.start) * output.line();
        let gradients = &output_grad[start..start + winners.len()];
        if image.inner < SHORT {
            scatter(&winners, gradients, rows.start * image.line(), part);
        } else {
            let windows =
                Found { first: found.start, line: output.line(), winners: &winners, gradients };
            for (row, part) in rows.zip(part.chunks_exact_mut(image.line())) {
                windows.gather(covering, row, image, part);
            }
        }
    }
}

/// Pixels with fewer values are too short for [`Found::gather`].
const SHORT: usize = 8;

/// Adds every gradient to that of its winner, but only for winners in this part of the plane, which
/// starts at `first`.
fn scatter(winners: &[i32], gradients: &[f32], first: usize, part: &mut [MaybeUninit<f32>]) {
    // The part is small enough to stay in the cache.
    part.fill(MaybeUninit::new(0.0));
    // SAFETY: all of it has just been written.
    let part = unsafe { part.assume_init_mut() };
    for (winner, gradient) in winners.iter().zip(gradients) {
        if let Some(value) = part.get_mut((*winner as usize).wrapping_sub(first)) {
            *value += gradient;
        }
    }
}

/// The winners and gradients of some rows of windows.
struct Found<'a> {
    /// The index of the first row.
    first: usize,
    /// The number of values of a row.
    line: usize,
    winners: &'a [i32],
    gradients: &'a [f32],
}

impl Found<'_> {
    /// Writes a row of the image: for every value the sum of the gradients of the windows whose
    /// winner it is.
    #[inline(always)]
    fn gather(
        &self,
        [rows, columns]: &[Windows; 2],
        row: usize,
        image: Planes,
        values: &mut [MaybeUninit<f32>],
    ) {
        let inner = image.inner;
        let rows = &rows.ranges[row];
        let first = (rows.start - self.first) * self.line;
        let pixels = values.chunks_exact_mut(inner).zip(&columns.ranges).enumerate();
        for (pixel, (values, columns)) in pixels {
            let covering = [rows.len(), columns.len()];
            let mut window = first + columns.start * inner;
            let mut here = (row * image.line() + pixel * inner) as i32;
            let (blocks, rest) = values.as_chunks_mut::<16>();
            for block in blocks {
                *block = self.gather_block(covering, window, inner, here);
                (window, here) = (window + 16, here.wrapping_add(16));
            }
            let (blocks, rest) = rest.as_chunks_mut::<8>();
            for block in blocks {
                *block = self.gather_block(covering, window, inner, here);
                (window, here) = (window + 8, here.wrapping_add(8));
            }
            for value in rest {
                [*value] = self.gather_block(covering, window, inner, here);
                (window, here) = (window + 1, here.wrapping_add(1));
            }
        }
    }

    /// [`Found::gather`] for `N` channels from `here` on of a pixel, which is in `rows` rows and
    /// `columns` columns of windows from `window` on.
    #[inline(always)]
    fn gather_block<const N: usize>(
        &self,
        [rows, columns]: [usize; 2],
        window: usize,
        inner: usize,
        here: i32,
    ) -> [MaybeUninit<f32>; N] {
        let mut sums = [0.0; N];
        for row in 0..rows {
            for column in 0..columns {
                let window = window + row * self.line + column * inner;
                let winners = *self.winners[window..].first_chunk::<N>().unwrap();
                let gradients = *self.gradients[window..].first_chunk::<N>().unwrap();
                for lane in 0..N {
                    let (winner, gradient) = (winners[lane], gradients[lane]);
                    let won = winner == here.wrapping_add(lane as i32);
                    sums[lane] += if won { gradient } else { 0.0 };
                }
            }
        }
        sums.map(MaybeUninit::new)
    }
}

/// A value, and its index in its plane or the index where its row starts.
type Placed = (f32, i32);

/// `b` if `second`, else `a`. Two choices without a branch, so that the compiler can vectorize it.
#[inline(always)]
fn choose(second: bool, a: Placed, b: Placed) -> Placed {
    (if second { b.0 } else { a.0 }, if second { b.1 } else { a.1 })
}

/// The winner of two values, if the first is before the second in memory.
#[inline(always)]
fn later(a: Placed, b: Placed) -> Placed {
    choose((b.0 > a.0) | b.0.is_nan(), a, b)
}

/// The winner of two values in any order.
#[inline(always)]
fn either(a: Placed, b: Placed) -> Placed {
    let tie = (b.0 == a.0) & (b.1 < a.1);
    let nan = b.0.is_nan() & (!a.0.is_nan() | (b.1 > a.1));
    choose((b.0 > a.0) | tie | nan, a, b)
}

/// The index of the winner of an empty window. It is after all other indices, so that any value is
/// preferred.
const NOWHERE: i32 = i32::MAX;

/// The winners of every column of some rows.
struct Line {
    values: Vec<f32>,
    places: Vec<i32>,
}

impl Line {
    fn new(length: usize) -> Self {
        Self { values: vec![Max::EMPTY; length], places: vec![NOWHERE; length] }
    }

    /// Reduces rows element-wise.
    #[inline(always)]
    fn down<'a>(&mut self, rows: Range<usize>, row: impl Fn(usize) -> &'a [f32]) {
        let length = self.values.len();
        let start = |row: usize| (row * length) as i32;
        let line = self.values.iter_mut().zip(&mut self.places);
        let first = rows.start;
        let rest = match rows.len() {
            1 => {
                for (best, a) in line.zip(row(first)) {
                    (*best.0, *best.1) = (*a, start(first));
                }
                first + 1..rows.end
            }
            2 => {
                let starts = [start(first), start(first + 1)];
                for (best, (a, b)) in line.zip(row(first).iter().zip(row(first + 1))) {
                    (*best.0, *best.1) = later((*a, starts[0]), (*b, starts[1]));
                }
                first + 2..rows.end
            }
            _ => {
                let starts = [start(first), start(first + 1), start(first + 2)];
                let values = row(first).iter().zip(row(first + 1)).zip(row(first + 2));
                for (best, ((a, b), c)) in line.zip(values) {
                    let winner = later((*a, starts[0]), (*b, starts[1]));
                    (*best.0, *best.1) = later(winner, (*c, starts[2]));
                }
                first + 3..rows.end
            }
        };
        for next in rest {
            let start = start(next);
            for (best, a) in self.values.iter_mut().zip(&mut self.places).zip(row(next)) {
                (*best.0, *best.1) = later((*best.0, *best.1), (*a, start));
            }
        }
        for (index, place) in self.places.iter_mut().enumerate() {
            *place = place.wrapping_add(index as i32);
        }
    }

    /// Reduces each window of pixels of `inner` values to the indices of its winners.
    #[inline(always)]
    fn across(&self, windows: &Windows, inner: usize, winners: &mut [i32]) {
        if inner == 1 {
            return self.across_values(windows, winners);
        }
        let mut channel = 0;
        while inner - channel >= 16 {
            self.across_pixels::<16>(windows, inner, channel, winners);
            channel += 16;
        }
        if inner - channel >= 8 {
            self.across_pixels::<8>(windows, inner, channel, winners);
            channel += 8;
        }
        if inner - channel >= 4 {
            self.across_pixels::<4>(windows, inner, channel, winners);
            channel += 4;
        }
        if inner - channel >= 2 {
            self.across_pixels::<2>(windows, inner, channel, winners);
            channel += 2;
        }
        if inner - channel >= 1 {
            self.across_pixels::<1>(windows, inner, channel, winners);
        }
    }

    /// [`Line::across`] for `N` channels from `channel` on.
    #[inline(always)]
    fn across_pixels<const N: usize>(
        &self,
        windows: &Windows,
        inner: usize,
        channel: usize,
        winners: &mut [i32],
    ) {
        for (winners, window) in winners.chunks_exact_mut(inner).zip(&windows.ranges) {
            let pixel = |index: usize| {
                let first = (window.start + index) * inner + channel;
                let values = self.values[first..].first_chunk().unwrap();
                (values, self.places[first..].first_chunk().unwrap())
            };
            let winners = winners[channel..].first_chunk_mut::<N>().unwrap();
            match window.len() {
                1 => *winners = winners_of([pixel(0)]),
                2 => *winners = winners_of([pixel(0), pixel(1)]),
                3 => *winners = winners_of([pixel(0), pixel(1), pixel(2)]),
                _ => {
                    for (lane, winner) in winners.iter_mut().enumerate() {
                        let pixels = window.clone().map(|pixel| pixel * inner + channel + lane);
                        *winner = self.winner_of(pixels);
                    }
                }
            }
        }
    }

    /// [`Line::across`] for pixels of one value: several windows at once, if they have the same
    /// size.
    #[inline(always)]
    fn across_values(&self, windows: &Windows, winners: &mut [i32]) {
        const N: usize = 16;
        let (blocks, rest) = winners.as_chunks_mut::<N>();
        let (windows, rest_of_windows) = windows.ranges.as_chunks::<N>();
        for (winners, windows) in blocks.iter_mut().zip(windows) {
            let size = windows[0].len();
            if !(1..4).contains(&size) || windows.iter().any(|window| window.len() != size) {
                self.across_each(windows, winners);
                continue;
            }
            let (mut values, mut places) = ([[0.0; N]; 3], [[0; N]; 3]);
            for (lane, window) in windows.iter().enumerate() {
                for index in 0..size {
                    values[index][lane] = self.values[window.start + index];
                    places[index][lane] = self.places[window.start + index];
                }
            }
            let pixel = |index: usize| (&values[index], &places[index]);
            *winners = match size {
                1 => winners_of([pixel(0)]),
                2 => winners_of([pixel(0), pixel(1)]),
                _ => winners_of([pixel(0), pixel(1), pixel(2)]),
            };
        }
        self.across_each(rest_of_windows, rest);
    }

    /// [`Line::across`] for pixels of one value, window by window.
    #[inline(always)]
    fn across_each(&self, windows: &[Range<usize>], winners: &mut [i32]) {
        for (winner, window) in winners.iter_mut().zip(windows) {
            *winner = self.winner_of(window.clone());
        }
    }

    /// The index of the winner of some values.
    #[inline(always)]
    fn winner_of(&self, indices: impl Iterator<Item = usize>) -> i32 {
        let places = indices.map(|index| (self.values[index], self.places[index]));
        places.fold((Max::EMPTY, NOWHERE), either).1
    }
}

/// The winners of `N` adjacent windows, given the values and the indices of their `K` pixels.
#[inline(always)]
fn winners_of<const N: usize, const K: usize>(pixels: [(&[f32; N], &[i32; N]); K]) -> [i32; N] {
    let mut winners = [0; N];
    for lane in 0..N {
        let mut best = (pixels[0].0[lane], pixels[0].1[lane]);
        for (values, places) in &pixels[1..] {
            best = either(best, (values[lane], places[lane]));
        }
        winners[lane] = best.1;
    }
    winners
}

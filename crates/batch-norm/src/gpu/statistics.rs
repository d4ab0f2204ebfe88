//! The mean and the variance of each channel.
//!
//! The kernels do not use the shortcut of the textbooks, the mean of the squares minus the square
//! of the mean: for a channel with values around 10,000 it subtracts two numbers that agree in all
//! digits of an f32. Instead each unit uses *Welford's* method: it keeps the mean of the values so
//! far and the sum of the squared distances from it (`m2`), and updates both with each value. The
//! results of the units are then merged with the method of *Chan, Golub and LeVeque*, here for many
//! parts at once:
//!
//! ```text
//! mean = sum(count_i * mean_i) / n
//! m2   = sum(m2_i + count_i * (mean_i - mean)^2)
//! ```
//!
//! The same two lines merge the lanes of a vector, the units of a cube and, in
//! `finish_statistics`, the cubes of a channel.

use cubecl::{self, prelude::*};

use super::{Cube, Grid, Layout, Share, add_lanes, cube_sum, first, in_row, lanes, spread};

/// The rows of the forward pass's results per channel, each `[channels]`, in f32.
pub mod row {
    /// The mean of the batch.
    pub const MEAN: usize = 0;
    /// `1 / sqrt(variance + epsilon)` of the batch.
    pub const INVERSE_STD: usize = 1;
    /// The running mean after this batch.
    pub const RUNNING_MEAN: usize = 2;
    /// The running variance after this batch.
    pub const RUNNING_VAR: usize = 3;
    /// The number of rows.
    pub const COUNT: usize = 4;
}

/// The layer's constants, see [`crate::ops::Options`].
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Rates {
    /// Added to the variance.
    epsilon: f32,
    /// The share of the batch in the new running mean and variance.
    momentum: f32,
    /// The factor from the biased variance of the batch to the one that updates the running
    /// variance.
    correction: f32,
}

/// The moments of some values, for each lane.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Moments<N: Size> {
    /// The mean.
    pub(super) mean: Vector<f32, N>,
    /// The sum of the squared distances from it.
    pub(super) m2: Vector<f32, N>,
}

/// Reads a unit's share of the values and returns their moments, merged over the cube.
///
/// If `keep` is set, the values are stored in `kept`, where the same unit reads them again.
#[cube]
pub(super) fn chunk_moments<F: Float, N: Size, A: Size>(
    input: &[Vector<F, N>],
    layout: &Layout,
    share: &Share,
    kept: &mut Shared<[Vector<F, N>]>,
    #[comptime] keep: bool,
    #[comptime] cube: Cube,
) -> Moments<A> {
    let mut count = 0.0f32;
    let mut mean = Vector::<f32, N>::new(0.0f32);
    let mut m2 = Vector::<f32, N>::new(0.0f32);
    let mut k = share.begin + share.unit;
    while k < share.end {
        let stored = input[layout.of_group(share.group, k)];
        if keep {
            kept[k * comptime!(cube.groups as usize) + share.column] = stored;
        }
        let value = Vector::<f32, N>::cast_from(stored);
        count += 1.0f32;
        let distance = value - mean;
        mean += distance * Vector::new(1.0f32 / count);
        m2 += distance * (value - mean);
        k += comptime!(cube.units as usize);
    }

    // One of the values: the means are added as small distances from it and keep their digits.
    let origin = Vector::<f32, N>::cast_from(input[layout.of_group(share.group, share.begin)]);
    let origin = first::<N, A>(origin);
    let n = f32::cast_from((share.end - share.begin) * lanes::<N, A>() as usize);
    merge::<N, A>(count, Moments::<N> { mean, m2 }, origin, n, cube)
}

/// Merges the moments of all units that share a group and of all lanes that share a channel.
///
/// `count` is the unit's number of values per lane, `n` the cube's per channel; `origin` is near
/// the values.
#[cube]
fn merge<N: Size, A: Size>(
    count: f32,
    part: Moments<N>,
    origin: Vector<f32, A>,
    n: f32,
    #[comptime] cube: Cube,
) -> Moments<A> {
    let weight = Vector::<f32, N>::new(count);
    let from_origin = add_lanes::<N, A>(weight * (part.mean - spread::<N, A>(origin)));
    let mean = origin + cube_sum::<A>(from_origin, cube) / Vector::new(n);
    let distance = part.mean - spread::<N, A>(mean);
    let m2 = cube_sum::<A>(add_lanes::<N, A>(part.m2 + weight * distance * distance), cube);
    Moments::<A> { mean, m2 }
}

/// `1 / sqrt(variance + epsilon)`.
#[cube]
pub(super) fn inverse_std<A: Size>(m2: Vector<f32, A>, n: f32, rates: &Rates) -> Vector<f32, A> {
    let variance = m2 / Vector::new(n);
    Vector::<f32, A>::new(1.0f32) / Vector::sqrt(variance + Vector::new(rates.epsilon))
}

/// Writes the batch's mean and inverse standard deviation, and the running mean and variance after
/// this batch.
#[cube]
pub(super) fn write_statistics<A: Size>(
    moments: &Moments<A>,
    n: f32,
    running_mean: &[Vector<f32, A>],
    running_var: &[Vector<f32, A>],
    statistics: &mut [Vector<f32, A>],
    group: usize,
    pitch: usize,
    rates: &Rates,
) {
    let one = Vector::<f32, A>::new(1.0f32);
    let taken = Vector::<f32, A>::new(rates.momentum);
    let new_var = moments.m2 * Vector::new(rates.correction / n);

    statistics[in_row(row::MEAN, group, pitch)] = moments.mean;
    statistics[in_row(row::INVERSE_STD, group, pitch)] = inverse_std(moments.m2, n, rates);
    statistics[in_row(row::RUNNING_MEAN, group, pitch)] =
        running_mean[group] * (one - taken) + moments.mean * taken;
    statistics[in_row(row::RUNNING_VAR, group, pitch)] =
        running_var[group] * (one - taken) + new_var * taken;
}

/// The moments of each chunk of each channel, `[2, chunks, channels]`: first the means, then the
/// sums of squared distances.
#[cube(launch_unchecked)]
pub fn partial_statistics<F: Float, N: Size, A: Size>(
    input: &[Vector<F, N>],
    partials: &mut [Vector<f32, A>],
    layout: Layout,
    grid: Grid,
    chunks: usize,
    #[comptime] cube: Cube,
    #[define(F)] _dtype: ElemType,
) {
    let share = grid.share(cube);
    let mut unused = Shared::<[Vector<F, N>]>::new_slice(1usize); // the smallest size
    let moments = chunk_moments::<F, N, A>(input, &layout, &share, &mut unused, false, cube);
    if share.busy && share.unit == 0 {
        let position = share.chunk * grid.groups + share.group;
        partials[position] = moments.mean;
        partials[position + chunks * grid.groups] = moments.m2;
    }
}

/// Merges the chunks of each channel and writes its statistics. A chunk has `chunk_values` values;
/// the last chunk has the remaining ones of the channel's `values`. Here a group is a channel and a
/// chunk is a vector.
#[cube(launch_unchecked)]
pub fn finish_statistics<A: Size>(
    partials: &[Vector<f32, A>],
    running_mean: &[Vector<f32, A>],
    running_var: &[Vector<f32, A>],
    statistics: &mut [Vector<f32, A>],
    grid: Grid,
    chunk_values: usize,
    values: usize,
    pitch: usize,
    rates: Rates,
    #[comptime] cube: Cube,
) {
    let share = grid.share(cube);
    let mut count = 0.0f32;
    let mut mean = Vector::<f32, A>::new(0.0f32);
    let mut m2 = Vector::<f32, A>::new(0.0f32);
    let mut k = share.unit;
    while k < share.end {
        let position = k * grid.groups + share.group;
        let added = f32::cast_from(min(chunk_values, values - k * chunk_values));
        let total = count + added;
        let distance = partials[position] - mean;
        let m2_added = partials[position + grid.vectors * grid.groups];
        mean += distance * Vector::new(added / total);
        m2 += m2_added + distance * distance * Vector::new(count * (added / total));
        count = total;
        k += comptime!(cube.units as usize);
    }

    let n = f32::cast_from(values);
    let part = Moments::<A> { mean, m2 };
    let moments = merge::<A, A>(count, part, partials[share.group], n, cube);
    if share.busy && share.unit == 0 {
        write_statistics::<A>(
            &moments,
            n,
            running_mean,
            running_var,
            statistics,
            share.group,
            pitch,
            &rates,
        );
    }
}

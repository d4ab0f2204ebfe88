//! The forward pass, in training and in prediction.
//!
//! | kernel | for | reads | writes |
//! |---|---|---|---|
//! | `normalize_at_once` | training, a channel fits into shared memory | x | y |
//! | `normalize` | training, the statistics are known | x | y |
//! | `scale_and_shift` | prediction | x | y, in place if possible |
//!
//! Before it writes, each adds the residual, if there is one, and applies ReLU, if it is wanted.

use cubecl::{self, prelude::*};

use super::{
    Cube, Grid, Layout, in_row, lanes, relu, spread,
    statistics::{Rates, chunk_moments, inverse_std, row, write_statistics},
    with_residual,
};

/// `(x - mean) * (gamma * inverse_std) + beta`. All passes share this expression: the backward pass
/// computes from it which values passed ReLU.
#[cube]
pub(super) fn normalized<N: Size, A: Size>(
    x: Vector<f32, N>,
    mean: Vector<f32, A>,
    scale: Vector<f32, A>,
    beta: Vector<f32, A>,
) -> Vector<f32, N> {
    (x - spread::<N, A>(mean)) * spread::<N, A>(scale) + spread::<N, A>(beta)
}

/// The batch's and the running statistics and the output in one kernel: each cube reads all values
/// of its groups once and keeps them.
#[cube(launch_unchecked)]
pub fn normalize_at_once<F: Float, N: Size, A: Size>(
    input: &[Vector<F, N>],
    gamma: &[Vector<F, A>],
    beta: &[Vector<F, A>],
    running_mean: &[Vector<f32, A>],
    running_var: &[Vector<f32, A>],
    residual: ComptimeOption<&[Vector<F, N>]>,
    output: &mut [Vector<F, N>],
    statistics: &mut [Vector<f32, A>],
    layout: Layout,
    grid: Grid,
    pitch: usize,
    rates: Rates,
    #[comptime] kept_vectors: usize,
    #[comptime] has_relu: bool,
    #[comptime] cube: Cube,
    #[define(F)] _dtype: ElemType,
) {
    let share = grid.share(cube);
    let mut kept = Shared::<[Vector<F, N>]>::new_slice(kept_vectors);
    let moments = chunk_moments::<F, N, A>(input, &layout, &share, &mut kept, true, cube);
    let n = f32::cast_from(grid.vectors * lanes::<N, A>() as usize);
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

    let inverse_std = inverse_std(moments.m2, n, &rates);
    let scale = Vector::<f32, A>::cast_from(gamma[share.group]) * inverse_std;
    let shift = Vector::<f32, A>::cast_from(beta[share.group]);
    let mut k = share.begin + share.unit;
    while k < share.end {
        let x = Vector::cast_from(kept[k * comptime!(cube.groups as usize) + share.column]);
        let position = layout.of_group(share.group, k);
        let y = normalized::<N, A>(x, moments.mean, scale, shift);
        let y = relu(with_residual::<F, N>(y, residual, position), has_relu);
        output[position] = Vector::cast_from(y);
        k += comptime!(cube.units as usize);
    }
}

/// The output, given the statistics: one unit per vector.
#[cube(launch_unchecked)]
pub fn normalize<F: Float, N: Size, A: Size>(
    input: &[Vector<F, N>],
    gamma: &[Vector<F, A>],
    beta: &[Vector<F, A>],
    statistics: &[Vector<f32, A>],
    residual: ComptimeOption<&[Vector<F, N>]>,
    output: &mut [Vector<F, N>],
    layout: Layout,
    vectors: usize,
    pitch: usize,
    #[comptime] has_relu: bool,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= vectors {
        terminate!();
    }
    let (position, group) = layout.of_tensor(ABSOLUTE_POS);
    let mean = statistics[in_row(row::MEAN, group, pitch)];
    let inverse_std = statistics[in_row(row::INVERSE_STD, group, pitch)];
    let scale = Vector::<f32, A>::cast_from(gamma[group]) * inverse_std;
    let shift = Vector::<f32, A>::cast_from(beta[group]);
    let x = Vector::cast_from(input[position]);
    let y = normalized::<N, A>(x, mean, scale, shift);
    let y = relu(with_residual::<F, N>(y, residual, position), has_relu);
    output[position] = Vector::cast_from(y);
}

/// Prediction: `scale * x + shift`, one multiply-add per value.
#[cube(launch_unchecked)]
pub fn scale_and_shift<F: Float, N: Size, A: Size>(
    input: &[Vector<F, N>],
    scale: &[Vector<F, A>],
    shift: &[Vector<F, A>],
    residual: ComptimeOption<&[Vector<F, N>]>,
    output: &mut [Vector<F, N>],
    layout: Layout,
    vectors: usize,
    #[comptime] has_relu: bool,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= vectors {
        terminate!();
    }
    let (position, group) = layout.of_tensor(ABSOLUTE_POS);
    let scale = Vector::<f32, A>::cast_from(scale[group]);
    let shift = Vector::<f32, A>::cast_from(shift[group]);
    let x = Vector::<f32, N>::cast_from(input[position]);
    let y = spread::<N, A>(scale) * x + spread::<N, A>(shift);
    let y = relu(with_residual::<F, N>(y, residual, position), has_relu);
    output[position] = Vector::cast_from(y);
}

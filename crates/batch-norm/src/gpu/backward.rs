//! The backward pass.
//!
//! Let g be the gradient of the output where the value passed ReLU, and 0 elsewhere. Let
//! `x_hat = (x - mean) * inverse_std` be the normalized input. Then:
//!
//! ```text
//! beta's gradient   = sum(g)                   over a channel's n values
//! gamma's gradient  = sum(g * x_hat)
//! x's gradient      = gamma * inverse_std * (g - sum(g) / n - x_hat * sum(g * x_hat) / n)
//! the residual's    = g
//! ```
//!
//! The two subtracted terms are the effect of x on the output through the mean and the variance; if
//! the statistics are given, there are none. Which values passed ReLU is not stored but computed
//! again, with the same expression as in the forward pass.
//!
//! | kernel | for | reads | writes |
//! |---|---|---|---|
//! | `pack` | all | four times `[channels]` | one `[4, channels]` |
//! | `backward_at_once` | a channel fits into shared memory | x, dy | dx |
//! | `partial_sums`, `finish_sums` | the two sums | x, dy | one pair per chunk |
//! | `input_gradient` | the sums are known, or not needed | x, dy | dx |
//!
//! If a residual was added before ReLU, every kernel that reads dy also reads the residual. The
//! first kernel that computes g then writes it as the residual's gradient, if that is wanted.

use cubecl::{self, prelude::*};

use super::{
    Cube, Grid, Layout, Share, add_lanes, cube_sum, in_row, normalize::normalized, relu, spread,
    with_residual,
};

/// The rows that `pack` writes, each `[channels]`, in f32.
pub mod coefficient {
    /// The mean.
    pub const MEAN: usize = 0;
    /// `1 / sqrt(variance + epsilon)`.
    pub const INVERSE_STD: usize = 1;
    /// `gamma * inverse_std`.
    pub const SCALE: usize = 2;
    /// The shift.
    pub const BETA: usize = 3;
    /// The number of rows.
    pub const COUNT: usize = 4;
}

/// The rows of sums, each `[channels]`, in f32.
pub mod sum {
    /// Of g: beta's gradient.
    pub const BETA: usize = 0;
    /// Of `g * x_hat`: gamma's gradient.
    pub const GAMMA: usize = 1;
    /// The number of rows.
    pub const COUNT: usize = 2;
}

/// The values that [`coefficient`] lists, for the channels of one group.
#[derive(CubeType, Clone, Copy)]
struct Coefficients<A: Size> {
    mean: Vector<f32, A>,
    inverse_std: Vector<f32, A>,
    scale: Vector<f32, A>,
    beta: Vector<f32, A>,
}

/// The sums of the channels of one group.
#[derive(CubeType, Clone, Copy)]
struct Sums<A: Size> {
    /// Of g.
    g: Vector<f32, A>,
    /// Of `g * x_hat`.
    gx: Vector<f32, A>,
}

/// Reads the packed values of one group.
#[cube]
fn coefficients<A: Size>(
    packed: &[Vector<f32, A>],
    groups: usize,
    group: usize,
) -> Coefficients<A> {
    Coefficients::<A> {
        mean: packed[in_row(coefficient::MEAN, group, groups)],
        inverse_std: packed[in_row(coefficient::INVERSE_STD, group, groups)],
        scale: packed[in_row(coefficient::SCALE, group, groups)],
        beta: packed[in_row(coefficient::BETA, group, groups)],
    }
}

/// The output's gradient where the value passed ReLU or is NaN; 0 elsewhere.
#[cube]
fn masked<F: Float, N: Size, A: Size>(
    x: Vector<f32, N>,
    output_grad: Vector<F, N>,
    residual: ComptimeOption<&[Vector<F, N>]>,
    position: usize,
    coefficients: &Coefficients<A>,
    #[comptime] has_relu: bool,
) -> Vector<F, N> {
    if has_relu {
        let y = normalized::<N, A>(x, coefficients.mean, coefficients.scale, coefficients.beta);
        let y = relu::<N>(with_residual::<F, N>(y, residual, position), true);
        let zero = Vector::<f32, N>::new(0.0f32);
        select_many(y.equal(&zero), Vector::cast_from(zero), output_grad)
    } else {
        output_grad
    }
}

/// Writes a gradient if it is wanted.
#[cube]
fn write_if_wanted<F: Float, N: Size>(
    gradient: &mut ComptimeOption<&mut [Vector<F, N>]>,
    position: usize,
    value: Vector<F, N>,
) {
    #[comptime]
    match gradient {
        ComptimeOption::Some(gradient) => gradient[position] = value,
        ComptimeOption::None => {}
    }
}

/// The gradient of x, given the two sums over its channel's values.
#[cube]
fn centred<N: Size, A: Size>(
    x: Vector<f32, N>,
    g: Vector<f32, N>,
    coefficients: &Coefficients<A>,
    sums: &Sums<A>,
    values: f32,
) -> Vector<f32, N> {
    let mean_g = spread::<N, A>(sums.g / Vector::new(values));
    let per_distance = spread::<N, A>(sums.gx / Vector::new(values) * coefficients.inverse_std);
    let distance = x - spread::<N, A>(coefficients.mean);
    spread::<N, A>(coefficients.scale) * (g - mean_g - distance * per_distance)
}

/// Packs the values per channel that the other kernels need into one buffer `[4, channels]`,
/// because the number of buffers of a kernel is limited.
#[cube(launch_unchecked)]
pub fn pack<F: Float>(
    gamma: &[F],
    beta: &[F],
    mean: &[f32],
    inverse_std: &[f32],
    packed: &mut [f32],
    channels: usize,
    #[define(F)] _dtype: ElemType,
) {
    let c = ABSOLUTE_POS;
    if c >= channels {
        terminate!();
    }
    packed[in_row(coefficient::MEAN, c, channels)] = mean[c];
    packed[in_row(coefficient::INVERSE_STD, c, channels)] = inverse_std[c];
    packed[in_row(coefficient::SCALE, c, channels)] = f32::cast_from(gamma[c]) * inverse_std[c];
    packed[in_row(coefficient::BETA, c, channels)] = f32::cast_from(beta[c]);
}

/// Reads a unit's share of x and of the output's gradient, and returns the two sums over the cube.
/// It also writes the residual's gradient, if that is wanted.
///
/// If `keep` is set, x and g are stored in `kept_x` and `kept_g`, where the same unit reads them
/// again.
#[cube]
fn chunk_sums<F: Float, N: Size, A: Size>(
    input: &[Vector<F, N>],
    output_grad: &[Vector<F, N>],
    residual: ComptimeOption<&[Vector<F, N>]>,
    residual_grad: &mut ComptimeOption<&mut [Vector<F, N>]>,
    coefficients: &Coefficients<A>,
    layout: &Layout,
    share: &Share,
    kept_x: &mut Shared<[Vector<F, N>]>,
    kept_g: &mut Shared<[Vector<F, N>]>,
    #[comptime] keep: bool,
    #[comptime] has_relu: bool,
    #[comptime] cube: Cube,
) -> Sums<A> {
    let mut sum_g = Vector::<f32, N>::new(0.0f32);
    let mut sum_gx = Vector::<f32, N>::new(0.0f32);
    let mut k = share.begin + share.unit;
    while k < share.end {
        let position = layout.of_group(share.group, k);
        let stored = input[position];
        let x = Vector::<f32, N>::cast_from(stored);
        let g =
            masked::<F, N, A>(x, output_grad[position], residual, position, coefficients, has_relu);
        write_if_wanted::<F, N>(residual_grad, position, g);
        if keep {
            let slot = k * comptime!(cube.groups as usize) + share.column;
            kept_x[slot] = stored;
            kept_g[slot] = g;
        }
        let g = Vector::<f32, N>::cast_from(g);
        sum_g += g;
        sum_gx += g * (x - spread::<N, A>(coefficients.mean));
        k += comptime!(cube.units as usize);
    }
    // The common factor of all summands is applied to the sum.
    Sums::<A> {
        g: cube_sum::<A>(add_lanes::<N, A>(sum_g), cube),
        gx: cube_sum::<A>(add_lanes::<N, A>(sum_gx), cube) * coefficients.inverse_std,
    }
}

/// The sums of each chunk of each channel, `[2, chunks, channels]`, and the residual's gradient.
#[cube(launch_unchecked)]
pub fn partial_sums<F: Float, N: Size, A: Size>(
    input: &[Vector<F, N>],
    output_grad: &[Vector<F, N>],
    packed: &[Vector<f32, A>],
    residual: ComptimeOption<&[Vector<F, N>]>,
    partials: &mut [Vector<f32, A>],
    mut residual_grad: ComptimeOption<&mut [Vector<F, N>]>,
    layout: Layout,
    grid: Grid,
    chunks: usize,
    #[comptime] has_relu: bool,
    #[comptime] cube: Cube,
    #[define(F)] _dtype: ElemType,
) {
    let share = grid.share(cube);
    let coefficients = coefficients::<A>(packed, grid.groups, share.group);
    let mut unused_x = Shared::<[Vector<F, N>]>::new_slice(1usize); // the smallest size
    let mut unused_g = Shared::<[Vector<F, N>]>::new_slice(1usize);
    let sums = chunk_sums::<F, N, A>(
        input,
        output_grad,
        residual,
        &mut residual_grad,
        &coefficients,
        &layout,
        &share,
        &mut unused_x,
        &mut unused_g,
        false,
        has_relu,
        cube,
    );
    if share.busy && share.unit == 0 {
        let position = share.chunk * grid.groups + share.group;
        partials[position] = sums.g;
        partials[position + chunks * grid.groups] = sums.gx;
    }
}

/// Adds the chunks of each channel. Here a group is a channel and a chunk is a vector.
#[cube(launch_unchecked)]
pub fn finish_sums<A: Size>(
    partials: &[Vector<f32, A>],
    sums: &mut [Vector<f32, A>],
    grid: Grid,
    pitch: usize,
    #[comptime] cube: Cube,
) {
    let share = grid.share(cube);
    let mut sum_g = Vector::<f32, A>::new(0.0f32);
    let mut sum_gx = Vector::<f32, A>::new(0.0f32);
    let mut k = share.unit;
    while k < share.end {
        let position = k * grid.groups + share.group;
        sum_g += partials[position];
        sum_gx += partials[position + grid.vectors * grid.groups];
        k += comptime!(cube.units as usize);
    }
    let sum_g = cube_sum::<A>(sum_g, cube);
    let sum_gx = cube_sum::<A>(sum_gx, cube);
    if share.busy && share.unit == 0 {
        sums[in_row(sum::BETA, share.group, pitch)] = sum_g;
        sums[in_row(sum::GAMMA, share.group, pitch)] = sum_gx;
    }
}

/// The gradients of x and of the residual, each if it is wanted: one unit per vector. Without sums,
/// the statistics are constants.
#[cube(launch_unchecked)]
pub fn input_gradient<F: Float, N: Size, A: Size>(
    input: &[Vector<F, N>],
    output_grad: &[Vector<F, N>],
    packed: &[Vector<f32, A>],
    residual: ComptimeOption<&[Vector<F, N>]>,
    sums: ComptimeOption<&[Vector<f32, A>]>,
    mut input_grad: ComptimeOption<&mut [Vector<F, N>]>,
    mut residual_grad: ComptimeOption<&mut [Vector<F, N>]>,
    layout: Layout,
    vectors: usize,
    groups: usize,
    pitch: usize,
    values: f32,
    #[comptime] has_relu: bool,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= vectors {
        terminate!();
    }
    let (position, group) = layout.of_tensor(ABSOLUTE_POS);
    let coefficients = coefficients::<A>(packed, groups, group);
    let x = Vector::<f32, N>::cast_from(input[position]);
    let g =
        masked::<F, N, A>(x, output_grad[position], residual, position, &coefficients, has_relu);
    write_if_wanted::<F, N>(&mut residual_grad, position, g);
    let g = Vector::<f32, N>::cast_from(g);
    #[comptime]
    let dx = match sums {
        ComptimeOption::Some(sums) => {
            let sums = Sums::<A> {
                g: sums[in_row(sum::BETA, group, pitch)],
                gx: sums[in_row(sum::GAMMA, group, pitch)],
            };
            centred::<N, A>(x, g, &coefficients, &sums, values)
        }
        ComptimeOption::None => spread::<N, A>(coefficients.scale) * g,
    };
    write_if_wanted::<F, N>(&mut input_grad, position, Vector::cast_from(dx));
}

/// The sums and both gradients in one kernel: each cube reads all values of its groups once and
/// keeps them.
#[cube(launch_unchecked)]
pub fn backward_at_once<F: Float, N: Size, A: Size>(
    input: &[Vector<F, N>],
    output_grad: &[Vector<F, N>],
    packed: &[Vector<f32, A>],
    residual: ComptimeOption<&[Vector<F, N>]>,
    input_grad: &mut [Vector<F, N>],
    mut residual_grad: ComptimeOption<&mut [Vector<F, N>]>,
    sums: &mut [Vector<f32, A>],
    layout: Layout,
    grid: Grid,
    pitch: usize,
    values: f32,
    #[comptime] kept_vectors: usize,
    #[comptime] has_relu: bool,
    #[comptime] cube: Cube,
    #[define(F)] _dtype: ElemType,
) {
    let share = grid.share(cube);
    let coefficients = coefficients::<A>(packed, grid.groups, share.group);
    let mut kept_x = Shared::<[Vector<F, N>]>::new_slice(kept_vectors);
    let mut kept_g = Shared::<[Vector<F, N>]>::new_slice(kept_vectors);
    let of_group = chunk_sums::<F, N, A>(
        input,
        output_grad,
        residual,
        &mut residual_grad,
        &coefficients,
        &layout,
        &share,
        &mut kept_x,
        &mut kept_g,
        true,
        has_relu,
        cube,
    );
    if share.busy && share.unit == 0 {
        sums[in_row(sum::BETA, share.group, pitch)] = of_group.g;
        sums[in_row(sum::GAMMA, share.group, pitch)] = of_group.gx;
    }

    let mut k = share.begin + share.unit;
    while k < share.end {
        let slot = k * comptime!(cube.groups as usize) + share.column;
        let x = Vector::<f32, N>::cast_from(kept_x[slot]);
        let g = Vector::<f32, N>::cast_from(kept_g[slot]);
        let dx = centred::<N, A>(x, g, &coefficients, &of_group, values);
        input_grad[layout.of_group(share.group, k)] = Vector::cast_from(dx);
        k += comptime!(cube.units as usize);
    }
}

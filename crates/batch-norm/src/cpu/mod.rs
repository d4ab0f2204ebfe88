//! The kernels of the CPU, on plain slices: one implementation for every CPU backend.
//!
//! A tensor is `[samples, channels, positions]` in memory order ([`Planes`]); channels last is the
//! case of one position. There are two ways to traverse it, between which [`Plan`] chooses:
//!
//! - [`planes`]: a channel's values are in strips, one per sample. If a few neighboring channels
//!   fit in a core's cache, one task reads them from memory once and computes everything; otherwise
//!   all tasks compute sums first, and then all tasks write.
//! - [`columns`]: neighboring values belong to different channels. The tensor is a table, and all
//!   of its columns are summed at once, row by row.
//!
//! Both sum a channel in small *units* (some strips, or some rows of a column). The sum of a unit
//! is around the unit's own mean, in the type [`Storage::Sum`], which keeps the precision that a
//! plain sum of squares loses. The units are then merged in f64, in memory order, with the formula
//! of Chan, Golub and LeVeque (Algorithms for computing the sample variance, 1983). The units
//! depend only on the shape and its order, so the number of threads does not change a bit of the
//! result.
//!
//! The loops themselves are in [`arithmetic`].

mod arithmetic;
mod columns;
mod element;
mod plan;
mod planes;
mod types;

use std::mem::MaybeUninit;

use arithmetic::{Affine, Slope};
use cpu_tensors::on_pool;
use plan::Plan;
use types::{Tensors, Wanted};

pub use element::{Real, Storage};
pub use types::{GradientSums, Moments, Planes};

use crate::ops::BackwardOptions;

/// What follows the normalization; the residual has the memory order of the input.
#[derive(Clone, Copy)]
pub enum Epilogue<'a, E> {
    /// Nothing.
    Identity,
    /// `max(y, 0)`.
    Relu,
    /// `max(y + residual, 0)`.
    AddRelu(&'a [E]),
}

/// The parameters, in the type of the arithmetic.
pub struct Parameters<A> {
    /// The scale.
    pub gamma: Vec<A>,
    /// The shift.
    pub beta: Vec<A>,
}

/// Calls a function whose last generic arguments are the epilogue: whether it applies ReLU, and
/// whether it adds a residual. Without a residual, the input is passed in its place and never read.
macro_rules! with_epilogue {
    ($epilogue:expr, $input:expr, |$residual:ident| $($function:ident)::+ ($($argument:expr),* $(,)?)) => {
        match $epilogue {
            $crate::cpu::Epilogue::Identity => {
                let $residual = $input;
                $($function)::+::<_, false, false>($($argument),*)
            }
            $crate::cpu::Epilogue::Relu => {
                let $residual = $input;
                $($function)::+::<_, true, false>($($argument),*)
            }
            $crate::cpu::Epilogue::AddRelu($residual) => {
                $($function)::+::<_, true, true>($($argument),*)
            }
        }
    };
}

/// Normalizes with the statistics of the input. Also returns the statistics.
pub fn normalize<E: Storage>(
    input: &[E],
    shape: Planes,
    parameters: &Parameters<E::Sum>,
    epsilon: f64,
    epilogue: Epilogue<E>,
) -> (Vec<E>, Vec<Moments>) {
    on_pool(input.len(), || {
        collect(input.len(), |output| {
            with_epilogue!(epilogue, input, |residual| normalize_as(
                input, residual, shape, parameters, epsilon, output
            ))
        })
    })
}

fn normalize_as<E: Storage, const RELU: bool, const ADD: bool>(
    input: &[E],
    residual: &[E],
    shape: Planes,
    parameters: &Parameters<E::Sum>,
    epsilon: f64,
    output: &mut [MaybeUninit<E>],
) -> Vec<Moments> {
    let affine = |channel: usize, moments: Moments| Affine {
        mean: E::Sum::from_f64(moments.mean),
        scale: parameters.gamma[channel] * E::Sum::from_f64(inverse_std(moments, epsilon)),
        shift: parameters.beta[channel],
    };
    let plan = Plan::reading_twice(shape, size_of::<E>(), rayon::current_num_threads());
    log::debug!("forward of {shape}: {plan}");
    match plan {
        Plan::Table(table) => {
            columns::normalize::<E, RELU, ADD>(input, residual, table, affine, output)
        }
        Plan::Blocks { channels } => planes::normalize_blocks::<E, RELU, ADD>(
            input, residual, shape, channels, affine, output,
        ),
        Plan::Strips => planes::normalize::<E, RELU, ADD>(input, residual, shape, affine, output),
    }
}

/// `1 / sqrt(variance + epsilon)`.
pub fn inverse_std(moments: Moments, epsilon: f64) -> f64 {
    1.0 / (moments.variance + epsilon).sqrt()
}

/// `input * scale + shift`, with the epilogue.
pub fn scale_and_shift<E: Storage>(
    input: &[E],
    shape: Planes,
    factors: &Parameters<E::Sum>,
    epilogue: Epilogue<E>,
) -> Vec<E> {
    collect(input.len(), |output| {
        with_epilogue!(epilogue, input, |residual| scale_and_shift_as(
            input, residual, shape, factors, output
        ))
    })
    .0
}

fn scale_and_shift_as<E: Storage, const RELU: bool, const ADD: bool>(
    input: &[E],
    residual: &[E],
    shape: Planes,
    factors: &Parameters<E::Sum>,
    output: &mut [MaybeUninit<E>],
) {
    let affine = |channel: usize| Affine {
        mean: E::Sum::ZERO,
        scale: factors.gamma[channel],
        shift: factors.beta[channel],
    };
    let affine: Vec<_> = (0..shape.channels).map(affine).collect();
    let plan = Plan::reading_once(shape);
    log::debug!("prediction of {shape}: {plan}");
    match plan {
        Plan::Table(table) => {
            columns::transform::<E, RELU, ADD>(input, residual, table, &affine, output)
        }
        _ => planes::transform::<E, RELU, ADD>(input, residual, shape, &affine, output),
    }
}

/// The arguments of the backward pass, other than the tensors of the input's size.
pub struct Backward<'a, A> {
    /// Gamma and beta.
    pub parameters: &'a Parameters<A>,
    /// The mean, one per channel.
    pub mean: &'a [A],
    /// `1 / sqrt(variance + epsilon)`, one per channel.
    pub inverse_std: &'a [A],
    /// Which gradients are wanted.
    pub options: BackwardOptions,
}

/// Computes the sums for the parameters' gradients, and the residual's gradient if wanted.
///
/// `gradient` contains the output's gradient. It is replaced by the input's, if that is wanted.
pub fn normalize_backward<E: Storage>(
    input: &[E],
    gradient: &mut [E],
    shape: Planes,
    backward: &Backward<E::Sum>,
    epilogue: Epilogue<E>,
) -> (Vec<GradientSums>, Option<Vec<E>>) {
    on_pool(input.len(), || {
        if backward.options.residual && matches!(epilogue, Epilogue::AddRelu(_)) {
            let (residual_grad, sums) = collect(input.len(), |residual_grad| {
                with_epilogue!(epilogue, input, |residual| normalize_backward_as(
                    input,
                    residual,
                    gradient,
                    Some(residual_grad),
                    shape,
                    backward
                ))
            });
            (sums, Some(residual_grad))
        } else {
            let sums = with_epilogue!(epilogue, input, |residual| normalize_backward_as(
                input, residual, gradient, None, shape, backward
            ));
            (sums, None)
        }
    })
}

fn normalize_backward_as<E: Storage, const RELU: bool, const ADD: bool>(
    input: &[E],
    residual: &[E],
    gradient: &mut [E],
    residual_grad: Option<&mut [MaybeUninit<E>]>,
    shape: Planes,
    backward: &Backward<E::Sum>,
) -> Vec<GradientSums> {
    let affine = |channel: usize| Affine {
        mean: backward.mean[channel],
        scale: backward.parameters.gamma[channel] * backward.inverse_std[channel],
        shift: backward.parameters.beta[channel],
    };
    let affine: Vec<_> = (0..shape.channels).map(affine).collect();
    let (options, n) = (backward.options, shape.values() as f64);
    let slope = |channel: usize, sums: GradientSums| {
        if !options.batch_statistics {
            return Slope { slope: E::Sum::ZERO, offset: E::Sum::ZERO };
        }
        let inverse_std: f64 = backward.inverse_std[channel].into();
        let scale: f64 = affine[channel].scale.into();
        Slope {
            slope: E::Sum::from_f64(-scale * inverse_std * inverse_std * sums.product / n),
            offset: E::Sum::from_f64(-scale * sums.gradient / n),
        }
    };
    let tensors = Tensors { input, residual, gradient, residual_grad };
    let wanted = Wanted {
        sums: options.parameters || options.input_needs_sums(),
        gradients: options.input || options.residual,
    };
    let plan = if wanted.sums && wanted.gradients {
        Plan::reading_twice(shape, 2 * size_of::<E>(), rayon::current_num_threads())
    } else {
        Plan::reading_once(shape)
    };
    log::debug!("backward of {shape}: {plan}");
    match plan {
        Plan::Table(table) => {
            columns::backward::<E, RELU, ADD>(tensors, table, &affine, slope, wanted)
        }
        Plan::Blocks { channels } => {
            planes::backward_blocks::<E, RELU, ADD>(tensors, shape, channels, &affine, slope)
        }
        Plan::Strips => planes::backward::<E, RELU, ADD>(tensors, shape, &affine, slope, wanted),
    }
}

/// [`cpu_tensors::collect`] for the kernels of this module.
fn collect<E: Storage, R>(
    length: usize,
    fill: impl FnOnce(&mut [MaybeUninit<E>]) -> R,
) -> (Vec<E>, R) {
    // SAFETY: every kernel writes the whole slice, in pieces that `chunks_mut` made.
    unsafe { cpu_tensors::collect(length, fill) }
}

//! The kernels of the CPU, over plain slices: one implementation for every CPU backend.
//!
//! A tensor is `[samples, channels, positions]` in the order of memory ([`Planes`]); channels last
//! is the case of one position. Two walks through memory follow from it:
//!
//! - [`planes`]: a channel's values lie in strips, one per sample. Where a few neighbouring
//!   channels fit in a core's cache, one task reads them from memory once and does everything;
//!   where they do not, all tasks sum up first and all tasks write after.
//! - [`columns`]: neighbouring values are of different channels, so the tensor is a table whose
//!   columns are all summed up at once, row by row.
//!
//! Both sum up a channel in small *units* (some strips, some rows of a column): around the unit's own
//! mean, in the type of [`Storage::Sum`], which keeps what a plain sum of squares loses; units are
//! then put together in f64, in the order of memory, by the formula of Chan, Golub and LeVeque
//! (Algorithms for computing the sample variance, 1983). What the units are follows from the shape
//! and its order alone, so the number of threads does not change a bit of the result.
//!
//! The loops themselves are in [`arithmetic`].

mod arithmetic;
mod columns;
mod element;
mod planes;

use std::mem::MaybeUninit;

use arithmetic::{Affine, Slope};
use columns::Table;
use cpu_tensors::Order;

pub use element::{Real, Storage};

use crate::ops::BackwardOptions;

/// `[samples, channels, positions]`, in memory in this order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planes {
    /// The outermost axis.
    pub samples: usize,
    /// What statistics are taken for.
    pub channels: usize,
    /// The innermost axis: 1 where channels are last.
    pub positions: usize,
}

impl Planes {
    /// Of a tensor `[batch, channels, ...]`.
    pub fn of(shape: &[usize], order: Order) -> Self {
        let (samples, channels) = (shape[0], shape[1]);
        let positions = shape[2..].iter().product();
        match order {
            // One channel is one strip.
            _ if channels == 1 => Self { samples: 1, channels, positions: samples * positions },
            Order::ChannelsFirst => Self { samples, channels, positions },
            Order::ChannelsLast => Self { samples: samples * positions, channels, positions: 1 },
        }
    }

    /// How many values make up a channel.
    pub fn values(&self) -> usize {
        self.samples * self.positions
    }

    fn elements(&self) -> usize {
        self.values() * self.channels
    }
}

/// What follows the normalization; the residual lies in memory as the input does.
#[derive(Clone, Copy)]
pub enum Epilogue<'a, E> {
    /// Nothing.
    Identity,
    /// `max(y, 0)`.
    Relu,
    /// `max(y + residual, 0)`.
    AddRelu(&'a [E]),
}

/// The parameters, in the type that is computed in.
pub struct Parameters<A> {
    /// The scale.
    pub gamma: Vec<A>,
    /// The shift.
    pub beta: Vec<A>,
}

/// A channel's statistics.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    /// The mean.
    pub mean: f64,
    /// The biased variance.
    pub variance: f64,
}

/// A channel's two sums over the gradient of the normalized values.
#[derive(Clone, Copy, Debug, Default)]
pub struct GradientSums {
    /// Of the gradient.
    pub gradient: f64,
    /// Of the gradient times the distance from the mean.
    pub product: f64,
}

/// Calls a function whose last generic arguments are the epilogue: whether it rectifies, and
/// whether it adds. The residual of an epilogue without one is the input, and never read.
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

/// Normalizes with the statistics of the input, and returns them.
pub fn normalize<E: Storage>(
    input: &[E],
    shape: Planes,
    parameters: &Parameters<E::Sum>,
    epsilon: f64,
    epilogue: Epilogue<E>,
) -> (Vec<E>, Vec<Moments>) {
    collect(input.len(), |output| {
        with_epilogue!(epilogue, input, |residual| normalize_as(
            input, residual, shape, parameters, epsilon, output
        ))
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
    match Table::of(shape) {
        Some(table) => columns::normalize::<E, RELU, ADD>(input, residual, table, affine, output),
        None => planes::normalize::<E, RELU, ADD>(input, residual, shape, affine, output),
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
    match Table::of(shape) {
        Some(table) => columns::transform::<E, RELU, ADD>(input, residual, table, &affine, output),
        None => planes::transform::<E, RELU, ADD>(input, residual, shape, &affine, output),
    }
}

/// What the backward pass is given beside the tensors of the input's size.
pub struct Backward<'a, A> {
    /// Gamma and beta.
    pub parameters: &'a Parameters<A>,
    /// The mean, one per channel.
    pub mean: &'a [A],
    /// `1 / sqrt(variance + epsilon)`, one per channel.
    pub inverse_std: &'a [A],
    /// What is asked for.
    pub options: BackwardOptions,
}

/// The sums that the parameters' gradients follow from, and the residual's gradient if wanted.
///
/// `gradient` holds the output's gradient and, if that is wanted, the input's in the end.
pub fn normalize_backward<E: Storage>(
    input: &[E],
    gradient: &mut [E],
    shape: Planes,
    backward: &Backward<E::Sum>,
    epilogue: Epilogue<E>,
) -> (Vec<GradientSums>, Option<Vec<E>>) {
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
        sums: options.parameters || (options.batch_statistics && options.input),
        gradients: options.input || options.residual,
    };
    match Table::of(shape) {
        Some(table) => columns::backward::<E, RELU, ADD>(tensors, table, &affine, slope, wanted),
        None => planes::backward::<E, RELU, ADD>(tensors, shape, &affine, slope, wanted),
    }
}

/// The tensors of the input's size that a backward pass reads and writes.
struct Tensors<'a, E> {
    input: &'a [E],
    residual: &'a [E],
    /// The output's gradient, then the input's.
    gradient: &'a mut [E],
    residual_grad: Option<&'a mut [MaybeUninit<E>]>,
}

/// Which of its two passes a backward pass needs.
#[derive(Clone, Copy)]
struct Wanted {
    sums: bool,
    gradients: bool,
}

/// [`cpu_tensors::collect`] for the walks of this module.
fn collect<E: Storage, R>(
    length: usize,
    fill: impl FnOnce(&mut [MaybeUninit<E>]) -> R,
) -> (Vec<E>, R) {
    // SAFETY: every walk covers the whole slice, in pieces that `chunks_mut` cut.
    unsafe { cpu_tensors::collect(length, fill) }
}

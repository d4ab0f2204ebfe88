//! The kernels. They work on slices and do not depend on a type of tensor.

use std::{mem::MaybeUninit, ops::Range};

use cpu_tensors::{PARALLEL, collect, on_pool};
use rayon::prelude::*;

use gather::{Finished, Source};
use geometry::Geometry;
use panels::Weights;
use plan::{Plan, WeightPlan};
use scratch::with_scratch;
use simd::Isa;

pub mod gather;
pub mod geometry;
pub mod panels;
mod plan;
pub mod pool;
pub mod scratch;
pub mod sigmoid;
pub mod simd;
pub mod tile;
pub mod weights;
pub mod winograd;

pub use weights::FEW;

/// Creates a vector whose values `fill` writes.
fn filled(length: usize, fill: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    // SAFETY: the kernels of this module write every value of what they compute.
    unsafe { collect(length, fill) }.0
}

/// The output `[batch, height, width, outputs]` of a convolution, with weights `[outputs, inputs,
/// height, width]`.
pub fn forward(
    geometry: &Geometry,
    input: Source,
    weight: &[f32],
    finish: Finished,
    winograd: bool,
    isa: Isa,
) -> Vec<f32> {
    let taps = geometry.taps();
    let weights = Weights { values: weight, n: geometry.inputs * taps, k: taps, tap: 1 };
    let problem = gather::Problem::forward(geometry);
    let of_winograd = winograd.then(|| winograd::Problem::forward(geometry)).flatten();
    gather("output", geometry, problem, of_winograd, input, weights, finish, isa)
}

/// The gradient of the input `[batch, height, width, inputs]`, given the gradient of the output.
pub fn input_gradient(
    geometry: &Geometry,
    gradient: Source,
    weight: &[f32],
    winograd: bool,
    isa: Isa,
) -> Vec<f32> {
    let taps = geometry.taps();
    let weights = Weights { values: weight, n: taps, k: geometry.inputs * taps, tap: 1 };
    let problem = gather::Problem::backward(geometry);
    let of_winograd = winograd.then(|| winograd::Problem::backward(geometry)).flatten();
    let finish = Finished::default();
    gather("input gradient", geometry, problem, of_winograd, gradient, weights, finish, isa)
}

#[expect(clippy::too_many_arguments)]
fn gather(
    what: &str,
    geometry: &Geometry,
    problem: gather::Problem,
    of_winograd: Option<winograd::Problem>,
    source: Source,
    weights: Weights,
    finish: Finished,
    isa: Isa,
) -> Vec<f32> {
    let (depth, length) = (problem.depth, problem.values());
    if length == 0 {
        return Vec::new();
    }
    // The window is flipped if the source is the output's gradient.
    let taps = problem.taps(geometry.kernel[1]);
    let plan = Plan::new(problem, of_winograd, &source, isa);
    log::debug!("{what} of {geometry}: {plan}");
    let (panels, isa) = plan.panels();
    let bias = finish.bias.map(|bias| panels::pad(bias, panels));
    let finish = Finished { bias: bias.as_deref(), ..finish };
    let compute = |target: &mut [MaybeUninit<f32>]| match &plan {
        Plan::Winograd(plan) => {
            with_scratch(winograd::weights_len(panels, depth), |transformed| {
                with_scratch(panels.len(taps.len() * depth), |packed| {
                    panels::pack(weights, &taps, depth, panels, packed);
                    winograd::transform_weights(packed, depth, panels, isa, transformed);
                });
                plan.run(source, transformed, target, finish);
            });
        }
        Plan::Direct(plan) => with_scratch(panels.len(taps.len() * depth), |packed| {
            panels::pack(weights, &taps, depth, panels, packed);
            plan.run(source, packed, target, finish);
        }),
    };
    on_pool(geometry.elements(), || filled(length, compute))
}

/// The gradient of the weights `[outputs, inputs, height, width]` and, if wanted, of the bias.
pub fn weight_gradient(
    geometry: &Geometry,
    input: Source,
    gradient: Source,
    bias: bool,
    winograd: bool,
    isa: Isa,
) -> (Vec<f32>, Option<Vec<f32>>) {
    let layout = weights::Layout::of(geometry);
    let plan = WeightPlan::new(geometry, winograd, isa);
    log::debug!("weight gradient of {geometry}: {plan}");
    on_pool(geometry.elements(), || match plan {
        WeightPlan::Winograd(plan) => {
            let weights = filled(geometry.weight_len(), |weights| {
                plan.run(input, gradient, weights, layout);
            });
            (weights, bias.then(|| sum_of_positions(geometry, gradient)))
        }
        WeightPlan::Direct(plan) => {
            let mut of_bias = None;
            let weights = filled(geometry.weight_len(), |weights| {
                if bias {
                    of_bias = Some(filled(geometry.outputs, |bias| {
                        plan.run(input, gradient, weights, layout, Some(bias));
                    }));
                } else {
                    plan.run(input, gradient, weights, layout, None)
                }
            });
            (weights, of_bias)
        }
    })
}

/// The sum of each output channel over all positions, in a fixed order for any number of threads.
fn sum_of_positions(geometry: &Geometry, gradient: Source) -> Vec<f32> {
    let Geometry { batch, outputs, output: [height, width], .. } = *geometry;
    let [image, channel, row, column] = gradient.strides;
    let sum_of = |index: usize| {
        let mut sums = vec![0.0; outputs];
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let values = &gradient.values[index * image + y * row + x * column..];
            match channel {
                1 => sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value),
                _ => sums
                    .iter_mut()
                    .zip(values.iter().step_by(channel))
                    .for_each(|(sum, value)| *sum += value),
            }
        }
        sums
    };
    let parts: Vec<_> = (0..batch).into_par_iter().map(sum_of).collect();
    let mut total = vec![0.0; outputs];
    for part in parts {
        total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
    }
    total
}

/// Sets the gradient to zero where the output of ReLU is zero. Where the output is NaN, the
/// gradient passes.
pub fn relu_backward(output: &[f32], gradient: &mut [f32]) {
    let chunks = gradient.par_chunks_mut(PARALLEL).zip(output.par_chunks(PARALLEL));
    chunks.for_each(|(gradient, output)| {
        for (gradient, output) in gradient.iter_mut().zip(output) {
            *gradient = if *output <= 0.0 { 0.0 } else { *gradient };
        }
    });
}

/// `a = factors[0] * a + factors[1] * b`.
pub fn weighted_sum(a: &mut [f32], b: &[f32], [of_a, of_b]: [f32; 2]) {
    let chunks = a.par_chunks_mut(PARALLEL).zip(b.par_chunks(PARALLEL));
    chunks.for_each(|(a, b)| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a = of_a * *a + of_b * b);
    });
}

/// The sum of all squares, in a fixed order for any number of threads.
pub fn sum_of_squares(values: &[f32]) -> f32 {
    const LANES: usize = 16;
    let sum_of = |values: &[f32]| -> f64 {
        let mut sums = [0.0; LANES];
        let (blocks, rest) = values.as_chunks::<LANES>();
        for block in blocks {
            sums.iter_mut().zip(block).for_each(|(sum, value)| *sum += value * value);
        }
        sums.iter_mut().zip(rest).for_each(|(sum, value)| *sum += value * value);
        sums.into_iter().map(f64::from).sum()
    };
    let parts: Vec<_> = values.par_chunks(PARALLEL).map(sum_of).collect();
    parts.into_iter().sum::<f64>() as f32
}

/// Pixels that a task copies.
const PIXELS: usize = 256;

/// Concatenates the channels of all images, pixel by pixel.
pub fn interleave(images: &[&[f32]], channels: &[usize], pixels: usize) -> Vec<f32> {
    let all: usize = channels.iter().sum();
    filled(pixels * all, |target| {
        let tasks = target.par_chunks_mut((PIXELS * all).max(1)).enumerate();
        tasks.for_each(|(task, target)| {
            for (index, pixel) in target.chunks_exact_mut(all).enumerate() {
                let index = task * PIXELS + index;
                let mut rest = pixel;
                for (image, &channels) in images.iter().zip(channels) {
                    let (to, others) = rest.split_at_mut(channels);
                    to.write_copy_of_slice(&image[index * channels..][..channels]);
                    rest = others;
                }
            }
        });
    })
}

/// Some channels of images of `all` channels.
pub fn take_channels(images: &[f32], all: usize, channels: Range<usize>) -> Vec<f32> {
    let pixels = images.len() / all.max(1);
    let count = channels.len();
    filled(pixels * count, |target| {
        let tasks = target.par_chunks_mut((PIXELS * count).max(1)).enumerate();
        tasks.for_each(|(task, target)| {
            for (index, pixel) in target.chunks_exact_mut(count).enumerate() {
                let from = (task * PIXELS + index) * all;
                pixel.write_copy_of_slice(&images[from + channels.start..from + channels.end]);
            }
        });
    })
}

#[cfg(test)]
mod tests;

//! Channels first: the values of a channel are in strips of `positions` values, one per sample.

use std::{
    mem::{MaybeUninit, size_of},
    ops::Range,
};

use cpu_tensors::map_tasks;
use multiversion::multiversion;

use super::{
    arithmetic::{
        Affine, LANES, Slope, add_gradients, add_squares, add_strip, backward_strip,
        residual_strip, total, transform_strip,
    },
    element::{Real, Storage},
    types::{GradientSums, Moments, Planes, Tensors, Wanted},
};

/// The approximate number of values of a unit, and the number of bytes that make a read efficient.
const UNIT: usize = 1024;
const READ: usize = 4096;

/// Part of the values of a channel: whole strips of a few samples, or part of one strip.
#[derive(Clone)]
struct Unit {
    samples: Range<usize>,
    positions: Range<usize>,
}

impl Unit {
    fn values(&self) -> usize {
        self.samples.len() * self.positions.len()
    }
}

impl Planes {
    /// Divides every channel into units.
    fn units(&self) -> Vec<Unit> {
        let Self { samples, positions, .. } = *self;
        let group = (UNIT / positions).max(1);
        let part = positions.div_ceil(positions.div_ceil(2 * UNIT));
        let unit = |sample: usize, position: usize| Unit {
            samples: sample..(sample + group).min(samples),
            positions: position..(position + part).min(positions),
        };
        let starts = (0..samples).step_by(group);
        starts.flat_map(|s| (0..positions).step_by(part).map(move |p| unit(s, p))).collect()
    }

    /// The strips of a unit for a block of neighboring channels, in memory order, each with its
    /// sample and the index of its channel in the block.
    #[inline(always)]
    fn strips(
        &self,
        block: Range<usize>,
        unit: &Unit,
    ) -> impl Iterator<Item = (usize, usize, Range<usize>)> {
        let Self { channels, positions, .. } = *self;
        let part = unit.positions.clone();
        unit.samples.clone().flat_map(move |sample| {
            let (first, part) = (block.start, part.clone());
            block.clone().map(move |channel| {
                let start = (sample * channels + channel) * positions;
                (sample, channel - first, start + part.start..start + part.end)
            })
        })
    }

    /// The strips of a contiguous range, each with its channel.
    #[inline(always)]
    fn walk(&self, range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
        let Self { channels, positions, .. } = *self;
        let mut start = range.start;
        std::iter::from_fn(move || {
            let strip = start / positions;
            let end = ((strip + 1) * positions).min(range.end);
            let found = (start < range.end).then_some((strip % channels, start..end));
            start = end;
            found
        })
    }

    /// The number of neighboring channels that make a read of memory efficient.
    fn narrow_block(&self, bytes: usize) -> usize {
        READ.div_ceil(self.positions * bytes).min(self.channels)
    }
}

/// A contiguous part of a tensor that is written, and where it starts.
struct Piece<'a, T> {
    start: usize,
    values: &'a mut [T],
}

impl<T> Piece<'_, T> {
    fn range(&self) -> Range<usize> {
        self.start..self.start + self.values.len()
    }

    /// The part of the piece at a range of the tensor.
    #[inline(always)]
    fn at(&mut self, range: &Range<usize>) -> &mut [T] {
        &mut self.values[range.start - self.start..range.end - self.start]
    }
}

/// A tensor divided among tasks, each with `block` neighboring channels of every sample.
fn by_channels<T>(values: &mut [T], shape: Planes, block: usize) -> Vec<Vec<Piece<'_, T>>> {
    let blocks = shape.channels.div_ceil(block);
    let mut tasks: Vec<Vec<_>> = (0..blocks).map(|_| Vec::with_capacity(shape.samples)).collect();
    let mut start = 0;
    for sample in values.chunks_mut(shape.channels * shape.positions) {
        for (values, task) in sample.chunks_mut(block * shape.positions).zip(&mut tasks) {
            let length = values.len();
            task.push(Piece { start, values });
            start += length;
        }
    }
    tasks
}

/// A tensor divided among tasks, each with a contiguous range of memory.
fn by_position<T>(values: &mut [T]) -> Vec<Vec<Piece<'_, T>>> {
    let pieces = values.chunks_mut(16 * UNIT).enumerate();
    pieces.map(|(index, values)| vec![Piece { start: index * 16 * UNIT, values }]).collect()
}

/// Training: the statistics, and the output. All tasks compute statistics, and then all write.
pub fn normalize<E: Storage, const RELU: bool, const ADD: bool>(
    input: &[E],
    residual: &[E],
    shape: Planes,
    affine: impl Fn(usize, Moments) -> Affine<E::Sum>,
    output: &mut [MaybeUninit<E>],
) -> Vec<Moments> {
    let units = shape.units();
    let summaries = by_unit(shape, &units, size_of::<E>(), |channels, unit| {
        summarize(input, shape, channels, unit)
    });
    let moments: Vec<_> = summaries.iter().flat_map(|units| per_channel(units, combine)).collect();
    let channels = moments.iter().enumerate();
    let affine: Vec<_> = channels.map(|(channel, &moments)| affine(channel, moments)).collect();
    transform::<E, RELU, ADD>(input, residual, shape, &affine, output);
    moments
}

/// The same, but each task computes everything for `block` neighboring channels.
pub fn normalize_blocks<E: Storage, const RELU: bool, const ADD: bool>(
    input: &[E],
    residual: &[E],
    shape: Planes,
    block: usize,
    affine: impl Fn(usize, Moments) -> Affine<E::Sum> + Sync,
    output: &mut [MaybeUninit<E>],
) -> Vec<Moments> {
    let units = shape.units();
    let tasks = by_channels(output, shape, block);
    let blocks = map_tasks(tasks, shape.elements(), |task, pieces| {
        let first = task * block;
        let channels = first..(first + block).min(shape.channels);
        let summaries = units.iter().map(|unit| summarize(input, shape, channels.clone(), unit));
        let moments = per_channel(&summaries.collect::<Vec<_>>(), combine);
        let affine: Vec<_> =
            channels.zip(&moments).map(|(channel, &moments)| affine(channel, moments)).collect();
        for piece in pieces {
            transform_piece::<E, RELU, ADD>(input, residual, shape, first, &affine, piece);
        }
        moments
    });
    blocks.concat()
}

/// The output, given the statistics.
pub fn transform<E: Storage, const RELU: bool, const ADD: bool>(
    input: &[E],
    residual: &[E],
    shape: Planes,
    affine: &[Affine<E::Sum>],
    output: &mut [MaybeUninit<E>],
) {
    map_tasks(by_position(output), shape.elements(), |_, pieces| {
        for piece in pieces {
            transform_piece::<E, RELU, ADD>(input, residual, shape, 0, affine, piece);
        }
    });
}

/// `affine` starts with the channel `first`.
#[multiversion(targets("x86_64+avx2"))]
fn transform_piece<E: Storage, const RELU: bool, const ADD: bool>(
    input: &[E],
    residual: &[E],
    shape: Planes,
    first: usize,
    affine: &[Affine<E::Sum>],
    mut output: Piece<MaybeUninit<E>>,
) {
    for (channel, range) in shape.walk(output.range()) {
        let affine = affine[channel - first];
        let (x, residual) = (&input[range.clone()], &residual[range.clone()]);
        transform_strip::<_, RELU, ADD>(affine, x, residual, output.at(&range));
    }
}

/// The sums of the gradients, and the gradients that are wanted. All tasks compute sums, and then
/// all write.
pub fn backward<E: Storage, const RELU: bool, const ADD: bool>(
    tensors: Tensors<E>,
    shape: Planes,
    affine: &[Affine<E::Sum>],
    slope: impl Fn(usize, GradientSums) -> Slope<E::Sum>,
    wanted: Wanted,
) -> Vec<GradientSums> {
    let Tensors { input, residual, gradient, residual_grad } = tensors;
    let mut sums = vec![GradientSums::default(); shape.channels];
    if wanted.sums {
        let gradient = &*gradient;
        let by_unit = by_unit(shape, &shape.units(), 2 * size_of::<E>(), |channels, unit| {
            let affine = &affine[channels.clone()];
            let gradient = |_, range: Range<usize>| &gradient[range];
            sum::<E, RELU, ADD, _>(affine, input, residual, gradient, shape, channels, unit)
        });
        sums = by_unit.iter().flat_map(|units| per_channel(units, add)).collect();
    }
    if wanted.gradients {
        let channels = sums.iter().enumerate();
        let slopes: Vec<_> = channels.map(|(channel, &sums)| slope(channel, sums)).collect();
        let gradients = by_position(gradient);
        let residuals = residual_grad.map(by_position).unwrap_or_default();
        map_tasks(pair(gradients, residuals), shape.elements(), |_, pieces| {
            backward_pieces::<E, RELU, ADD>(input, residual, shape, 0, affine, &slopes, pieces);
        });
    }
    sums
}

/// The sums and the gradients; each task computes everything for `block` neighboring channels.
pub fn backward_blocks<E: Storage, const RELU: bool, const ADD: bool>(
    tensors: Tensors<E>,
    shape: Planes,
    block: usize,
    affine: &[Affine<E::Sum>],
    slope: impl Fn(usize, GradientSums) -> Slope<E::Sum> + Sync,
) -> Vec<GradientSums> {
    let Tensors { input, residual, gradient, residual_grad } = tensors;
    let units = shape.units();
    let gradients = by_channels(gradient, shape, block);
    let residuals =
        residual_grad.map(|values| by_channels(values, shape, block)).unwrap_or_default();
    let tasks = pair(gradients, residuals);
    let blocks = map_tasks(tasks, shape.elements(), |task, pieces| {
        let first = task * block;
        let channels = first..(first + block).min(shape.channels);
        let affine = &affine[channels.clone()];
        let gradient = |sample: usize, range: Range<usize>| {
            let piece: &Piece<E> = &pieces.0[sample];
            &piece.values[range.start - piece.start..range.end - piece.start]
        };
        let sums = units.iter().map(|unit| {
            let channels = channels.clone();
            sum::<E, RELU, ADD, _>(affine, input, residual, gradient, shape, channels, unit)
        });
        let sums = per_channel(&sums.collect::<Vec<_>>(), add);
        let slopes: Vec<_> =
            channels.zip(&sums).map(|(channel, &sums)| slope(channel, sums)).collect();
        backward_pieces::<E, RELU, ADD>(input, residual, shape, first, affine, &slopes, pieces);
        sums
    });
    blocks.concat()
}

/// The pieces that a task writes of the gradient and, if wanted, of the residual's gradient.
type Pieces<'a, E> = (Vec<Piece<'a, E>>, Vec<Piece<'a, MaybeUninit<E>>>);

fn pair<'a, E>(
    gradients: Vec<Vec<Piece<'a, E>>>,
    residuals: Vec<Vec<Piece<'a, MaybeUninit<E>>>>,
) -> Vec<Pieces<'a, E>> {
    let residuals = residuals.into_iter().chain(std::iter::repeat_with(Vec::new));
    gradients.into_iter().zip(residuals).collect()
}

/// `affine` and `slopes` start with the channel `first`.
#[multiversion(targets("x86_64+avx2"))]
fn backward_pieces<E: Storage, const RELU: bool, const ADD: bool>(
    input: &[E],
    residual: &[E],
    shape: Planes,
    first: usize,
    affine: &[Affine<E::Sum>],
    slopes: &[Slope<E::Sum>],
    (gradients, residual_grads): Pieces<E>,
) {
    let mut residual_grads = residual_grads.into_iter();
    for mut gradient in gradients {
        let mut residual_grad = residual_grads.next();
        for (channel, range) in shape.walk(gradient.range()) {
            let (affine, slope) = (affine[channel - first], slopes[channel - first]);
            let (x, residual) = (&input[range.clone()], &residual[range.clone()]);
            let gradient = gradient.at(&range);
            if let Some(output) = &mut residual_grad {
                let output = output.at(&range);
                residual_strip::<_, RELU, ADD>(affine, x, residual, gradient, output);
            }
            backward_strip::<_, RELU, ADD>(affine, slope, x, residual, gradient);
        }
    }
}

/// Calls `task` for every block of neighboring channels and every unit. The results of each block
/// are in the order of the units.
fn by_unit<R: Send>(
    shape: Planes,
    units: &[Unit],
    bytes: usize,
    task: impl Fn(Range<usize>, &Unit) -> Vec<R> + Sync,
) -> Vec<Vec<Vec<R>>> {
    let block = shape.narrow_block(bytes);
    let firsts = (0..shape.channels).step_by(block);
    let tasks = firsts.flat_map(|first| units.iter().map(move |unit| (first, unit)));
    let results = map_tasks(tasks.collect(), shape.elements(), |_, (first, unit)| {
        task(first..(first + block).min(shape.channels), unit)
    });
    let mut results = results.into_iter();
    let blocks = 0..shape.channels.div_ceil(block);
    blocks.map(|_| results.by_ref().take(units.len()).collect()).collect()
}

/// Calls `of` with every channel's results, one per unit.
fn per_channel<T: Copy, R>(units: &[Vec<T>], of: impl Fn(&[T]) -> R) -> Vec<R> {
    let channel = |channel: usize| {
        let results: Vec<_> = units.iter().map(|results| results[channel]).collect();
        of(&results)
    };
    (0..units[0].len()).map(channel).collect()
}

/// The statistics of a unit.
#[derive(Clone, Copy)]
struct Summary {
    count: f64,
    mean: f64,
    squares: f64,
}

/// The statistics of a unit for neighboring channels.
#[multiversion(targets("x86_64+avx2"))]
fn summarize<E: Storage>(
    input: &[E],
    shape: Planes,
    channels: Range<usize>,
    unit: &Unit,
) -> Vec<Summary> {
    let none = [E::Sum::ZERO; LANES];
    let mut sums = vec![none; channels.len()];
    for (_, channel, range) in shape.strips(channels.clone(), unit) {
        add_strip(&input[range], &mut sums[channel]);
    }
    let count = unit.values() as f64;
    let means: Vec<_> = sums.into_iter().map(|sum| E::Sum::from_f64(total(sum) / count)).collect();
    let mut squares = vec![(none, none); channels.len()];
    for (_, channel, range) in shape.strips(channels, unit) {
        let (rest, squares) = &mut squares[channel];
        add_squares(&input[range], means[channel], rest, squares);
    }
    let summary = |(mean, (rest, squares)): (E::Sum, _)| {
        // Corrects the rounding of the mean: without it, a mean of 1e4 would have an error of 1e-3.
        let rest = total(rest) / count;
        Summary { count, mean: mean.into() + rest, squares: total(squares) - count * rest * rest }
    };
    means.into_iter().zip(squares).map(summary).collect()
}

/// The formula of Chan, Golub and LeVeque for all units of a channel at once.
fn combine(units: &[Summary]) -> Moments {
    let count: f64 = units.iter().map(|unit| unit.count).sum();
    let mean = units.iter().map(|unit| unit.count * unit.mean).sum::<f64>() / count;
    let squares = units.iter().map(|unit| {
        let distance = unit.mean - mean;
        unit.squares + unit.count * distance * distance
    });
    Moments { mean, variance: squares.sum::<f64>() / count }
}

/// The sums of the gradient over a unit for neighboring channels; `gradient` returns the values of
/// a range of a sample.
#[multiversion(targets("x86_64+avx2"))]
fn sum<'a, E: Storage, const RELU: bool, const ADD: bool, G>(
    affine: &[Affine<E::Sum>],
    input: &[E],
    residual: &[E],
    gradient: G,
    shape: Planes,
    channels: Range<usize>,
    unit: &Unit,
) -> Vec<GradientSums>
where
    G: Fn(usize, Range<usize>) -> &'a [E],
{
    let none = [E::Sum::ZERO; LANES];
    let mut sums = vec![(none, none); channels.len()];
    for (sample, channel, range) in shape.strips(channels, unit) {
        let (x, residual) = (&input[range.clone()], &residual[range.clone()]);
        let (gradients, products) = &mut sums[channel];
        let gradient = gradient(sample, range);
        add_gradients::<_, RELU, ADD>(affine[channel], x, residual, gradient, gradients, products);
    }
    let totals = sums.into_iter().map(|(gradients, products)| GradientSums {
        gradient: total(gradients),
        product: total(products),
    });
    totals.collect()
}

fn add(units: &[GradientSums]) -> GradientSums {
    units.iter().fold(GradientSums::default(), |sums, unit| GradientSums {
        gradient: sums.gradient + unit.gradient,
        product: sums.product + unit.product,
    })
}

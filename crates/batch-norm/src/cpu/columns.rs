//! Channels last, the fully connected case, and few positions: neighboring values belong to
//! different channels. The tensor is a table, and all of its columns are summed at once.

use std::mem::MaybeUninit;

use cpu_tensors::map_tasks;
use multiversion::multiversion;

use super::{
    arithmetic::{
        Affine, Affines, Slope, Slopes, add_row, add_row_gradients, add_row_squares, backward_row,
        residual_row, transform_row,
    },
    element::{Real, Storage},
    types::{GradientSums, Moments, Planes, Tensors, Wanted},
};

/// Strips shorter than this are treated as columns: they are too short for a loop of their own.
const SHORT: usize = 32;

/// In narrower tables several samples become one row, which is long enough for a loop.
const WIDTH: usize = 256;

/// A unit is a tile of the table: about `TILE` values, at most `TILE_COLUMNS` columns and
/// `TILE_ROWS` rows. Its values stay in a core's second-level cache and its sums in the first-level
/// cache. There are few sums compared with the values.
const TILE: usize = 1 << 16;
const TILE_COLUMNS: usize = 1 << 11;
const TILE_ROWS: std::ops::Range<usize> = 64..256;

/// How many values a task of [`transform`] writes, and how many channels a task merges.
const TASK: usize = 1 << 14;
const CHANNELS: usize = 32;

/// A tensor as a table in row-major order, in which each column belongs to one channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Table {
    shape: Planes,
    columns: usize,
}

impl Table {
    /// The table of a tensor; `None` if its strips are long enough for a loop each.
    pub fn of(shape: Planes) -> Option<Self> {
        let sample = shape.channels * shape.positions;
        let samples = (1..=WIDTH / sample).rev().find(|n| shape.samples.is_multiple_of(*n));
        let table = Self { shape, columns: sample * samples.unwrap_or(1) };
        (shape.positions < SHORT).then_some(table)
    }

    /// The columns: those of one sample, or of several if it has few.
    pub fn columns(&self) -> usize {
        self.columns
    }

    fn elements(&self) -> usize {
        self.shape.elements()
    }

    /// A value of the channels, repeated for every column.
    fn spread<T, A: Copy>(&self, channels: &[T], of: impl Fn(&T) -> A) -> Vec<A> {
        let sample = channels.iter().map(of);
        let sample = sample.flat_map(|value| std::iter::repeat_n(value, self.shape.positions));
        let sample: Vec<_> = sample.collect();
        sample.repeat(self.columns / sample.len())
    }

    fn tile_rows(&self) -> usize {
        let columns = self.columns.min(TILE_COLUMNS);
        (TILE / columns).clamp(TILE_ROWS.start, TILE_ROWS.end)
    }

    /// The tiles of the tensor.
    fn tiles(&self) -> Vec<Tile> {
        let (columns, rows) = (self.columns, self.tile_rows());
        let starts = (0..self.elements()).step_by(rows * columns);
        let tiles = starts.flat_map(|start| {
            let end = (start + rows * columns).min(self.elements());
            let firsts = (0..columns).step_by(TILE_COLUMNS);
            firsts.map(move |first| Tile {
                start,
                end,
                columns: first..(first + TILE_COLUMNS).min(columns),
            })
        });
        tiles.collect()
    }

    /// The rows of a tile.
    #[inline(always)]
    fn rows<'a, E>(&self, values: &'a [E], tile: &Tile) -> impl Iterator<Item = &'a [E]> {
        let columns = tile.columns.clone();
        values[tile.start..tile.end]
            .chunks_exact(self.columns)
            .map(move |row| &row[columns.clone()])
    }

    /// Merges the results of all tiles for each channel: `add` is given a channel's result so far,
    /// the number of rows of a tile, and the tile's result for one of the channel's columns.
    fn by_channel<T: Copy + Sync, R: Clone + Default + Send>(
        &self,
        tiles: &[Vec<T>],
        add: impl Fn(&mut R, f64, T) + Sync,
    ) -> Vec<R> {
        let Planes { channels, positions, .. } = self.shape;
        let across = self.columns.div_ceil(TILE_COLUMNS);
        let rows = self.elements() / self.columns;
        let mut results = vec![R::default(); channels];
        let tasks = results.chunks_mut(CHANNELS).enumerate().collect();
        map_tasks(tasks, self.elements(), |_, (task, results)| {
            let first = task * CHANNELS * positions;
            for (unit, tiles) in tiles.chunks_exact(across).enumerate() {
                let rows = (rows - unit * self.tile_rows()).min(self.tile_rows()) as f64;
                for sample in (0..self.columns).step_by(channels * positions) {
                    let mut columns = tiles.iter().flatten().skip(sample + first);
                    for result in &mut *results {
                        for &part in columns.by_ref().take(positions) {
                            add(result, rows, part);
                        }
                    }
                }
            }
        });
        results
    }
}

/// The range in memory of some whole rows, and some of their columns.
struct Tile {
    start: usize,
    end: usize,
    columns: std::ops::Range<usize>,
}

impl<A: Real> Affines<A> {
    fn new(table: &Table, channels: &[Affine<A>]) -> Self {
        Self {
            mean: table.spread(channels, |affine| affine.mean),
            scale: table.spread(channels, |affine| affine.scale),
            shift: table.spread(channels, |affine| affine.shift),
        }
    }
}

/// Training: the statistics, and the output.
pub fn normalize<E: Storage, const RELU: bool, const ADD: bool>(
    input: &[E],
    residual: &[E],
    table: Table,
    affine: impl Fn(usize, Moments) -> Affine<E::Sum>,
    output: &mut [MaybeUninit<E>],
) -> Vec<Moments> {
    let tiles =
        map_tasks(table.tiles(), table.elements(), |_, tile| summarize::<E>(&table, input, &tile));
    let moments = table.by_channel(&tiles, Combined::add);
    let moments: Vec<_> = moments.into_iter().map(Combined::moments).collect();
    let affine: Vec<_> =
        moments.iter().enumerate().map(|(channel, &moments)| affine(channel, moments)).collect();
    transform::<E, RELU, ADD>(input, residual, table, &affine, output);
    moments
}

/// The output, given the statistics.
pub fn transform<E: Storage, const RELU: bool, const ADD: bool>(
    input: &[E],
    residual: &[E],
    table: Table,
    affine: &[Affine<E::Sum>],
    output: &mut [MaybeUninit<E>],
) {
    let affines = Affines::new(&table, affine);
    let task = TASK.next_multiple_of(table.columns);
    let chunks = output.chunks_mut(task).zip(input.chunks(task)).zip(residual.chunks(task));
    map_tasks(chunks.collect(), table.elements(), |_, ((output, input), residual)| {
        transform_rows::<_, RELU, ADD>(&affines, input, residual, output);
    });
}

#[multiversion(targets("x86_64+avx2"))]
fn transform_rows<E: Storage, const RELU: bool, const ADD: bool>(
    affines: &Affines<E::Sum>,
    input: &[E],
    residual: &[E],
    output: &mut [MaybeUninit<E>],
) {
    let columns = affines.mean.len();
    let rows = input.chunks_exact(columns).zip(residual.chunks_exact(columns));
    for (output, (x, residual)) in output.chunks_exact_mut(columns).zip(rows) {
        transform_row::<_, RELU, ADD>(affines, x, residual, output);
    }
}

/// The sums of the gradients, and the gradients that are wanted.
pub fn backward<E: Storage, const RELU: bool, const ADD: bool>(
    tensors: Tensors<E>,
    table: Table,
    affine: &[Affine<E::Sum>],
    slope: impl Fn(usize, GradientSums) -> Slope<E::Sum>,
    wanted: Wanted,
) -> Vec<GradientSums> {
    let Tensors { input, residual, gradient, residual_grad } = tensors;
    let affines = Affines::new(&table, affine);
    let mut sums = vec![GradientSums::default(); affine.len()];
    if wanted.sums {
        let tiles = map_tasks(table.tiles(), table.elements(), |_, tile| {
            sum::<E, RELU, ADD>(&table, &affines, input, residual, gradient, &tile)
        });
        sums = table.by_channel(&tiles, |sums: &mut GradientSums, _, (gradient, product)| {
            sums.gradient += gradient.into();
            sums.product += product.into();
        });
    }
    if wanted.gradients {
        let slopes: Vec<_> =
            sums.iter().enumerate().map(|(channel, &sums)| slope(channel, sums)).collect();
        let slopes = Slopes {
            slope: table.spread(&slopes, |slope| slope.slope),
            offset: table.spread(&slopes, |slope| slope.offset),
        };
        let task = TASK.next_multiple_of(table.columns);
        let mut residual_grads = residual_grad.map(|values| values.chunks_mut(task));
        let chunks = gradient.chunks_mut(task).zip(input.chunks(task)).zip(residual.chunks(task));
        let chunks = chunks.map(|((gradient, input), residual)| {
            (gradient, input, residual, residual_grads.as_mut().and_then(Iterator::next))
        });
        map_tasks(chunks.collect(), table.elements(), |_, (gradient, input, residual, into)| {
            backward_rows::<E, RELU, ADD>(&affines, &slopes, input, residual, gradient, into);
        });
    }
    sums
}

#[multiversion(targets("x86_64+avx2"))]
fn backward_rows<E: Storage, const RELU: bool, const ADD: bool>(
    affines: &Affines<E::Sum>,
    slopes: &Slopes<E::Sum>,
    input: &[E],
    residual: &[E],
    gradient: &mut [E],
    mut residual_grad: Option<&mut [MaybeUninit<E>]>,
) {
    let columns = affines.mean.len();
    let rows = gradient.chunks_exact_mut(columns);
    let rows = rows.zip(input.chunks_exact(columns)).zip(residual.chunks_exact(columns));
    for (row, ((gradient, x), residual)) in rows.enumerate() {
        if let Some(residual_grad) = &mut residual_grad {
            let output = &mut residual_grad[row * columns..(row + 1) * columns];
            residual_row::<_, RELU, ADD>(affines, x, residual, gradient, output);
        }
        backward_row::<_, RELU, ADD>(affines, slopes, x, residual, gradient);
    }
}

/// A column's statistics in a tile.
#[derive(Clone, Copy)]
struct Summary<A> {
    mean: A,
    /// The sum of the distances from the mean, which is not zero because the mean is rounded.
    rest: A,
    squares: A,
}

#[multiversion(targets("x86_64+avx2"))]
fn summarize<E: Storage>(table: &Table, input: &[E], tile: &Tile) -> Vec<Summary<E::Sum>> {
    let columns = tile.columns.len();
    let rows = (tile.end - tile.start) / table.columns;
    let mut mean = vec![E::Sum::ZERO; columns];
    for row in table.rows(input, tile) {
        add_row(row, &mut mean);
    }
    let share = E::Sum::from_f64(1.0 / rows as f64);
    mean.iter_mut().for_each(|sum| *sum = *sum * share);

    let mut rest = vec![E::Sum::ZERO; columns];
    let mut squares = vec![E::Sum::ZERO; columns];
    for row in table.rows(input, tile) {
        add_row_squares(row, &mean, &mut rest, &mut squares);
    }
    let columns = mean.into_iter().zip(rest).zip(squares);
    columns.map(|((mean, rest), squares)| Summary { mean, rest, squares }).collect()
}

/// Parts of a channel, merged with the formula of Chan, Golub and LeVeque, all at once. Distances
/// are from the mean of the first part, in f64. They are about as large as the channel's own
/// spread, so the subtraction loses little.
#[derive(Clone, Copy, Default)]
struct Combined {
    count: f64,
    first: f64,
    distances: f64,
    squares: f64,
}

impl Combined {
    fn add<A: Real>(&mut self, rows: f64, part: Summary<A>) {
        let rest = part.rest.into() / rows;
        let mean = part.mean.into() + rest;
        if self.count == 0.0 {
            self.first = mean;
        } else {
            let distance = mean - self.first;
            self.distances += rows * distance;
            self.squares += rows * distance * distance;
        }
        self.count += rows;
        self.squares += part.squares.into() - rows * rest * rest;
    }

    fn moments(self) -> Moments {
        let distance = self.distances / self.count;
        let variance = self.squares / self.count - distance * distance;
        // Rounding may make it negative; a NaN must stay NaN.
        let variance = if variance < 0.0 { 0.0 } else { variance };
        Moments { mean: self.first + distance, variance }
    }
}

/// The sums over a tile for every column: of the gradient, and of the gradient times the distance
/// from the mean.
#[multiversion(targets("x86_64+avx2"))]
fn sum<E: Storage, const RELU: bool, const ADD: bool>(
    table: &Table,
    affines: &Affines<E::Sum>,
    input: &[E],
    residual: &[E],
    gradient: &[E],
    tile: &Tile,
) -> Vec<(E::Sum, E::Sum)> {
    let mut gradients = vec![E::Sum::ZERO; tile.columns.len()];
    let mut products = vec![E::Sum::ZERO; tile.columns.len()];
    let rows = table.rows(input, tile).zip(table.rows(residual, tile));
    for ((x, residual), gradient) in rows.zip(table.rows(gradient, tile)) {
        let sums = (&mut gradients[..], &mut products[..]);
        let columns = tile.columns.clone();
        add_row_gradients::<_, RELU, ADD>(affines, columns, x, residual, gradient, sums.0, sums.1);
    }
    gradients.into_iter().zip(products).collect()
}

//! How a convolution is divided into tasks.

use std::fmt;

use super::source::{Source, split};
use crate::cpu::{
    geometry::{Axis, Geometry},
    panels::Panels,
    simd::Isa,
};

/// A convolution that is computed position by position.
#[derive(Clone, Debug)]
pub struct Problem {
    pub batch: usize,
    /// Channels that are summed over.
    pub depth: usize,
    /// Channels that are computed.
    pub columns: usize,
    /// Height and width of what is read.
    pub source: [usize; 2],
    /// Height and width of what is written.
    pub target: [usize; 2],
    pub phases: Vec<[Axis; 2]>,
}

impl Problem {
    /// The output.
    pub fn forward(geometry: &Geometry) -> Self {
        Self {
            batch: geometry.batch,
            depth: geometry.inputs,
            columns: geometry.outputs,
            source: geometry.size,
            target: geometry.output,
            phases: vec![geometry.forward()],
        }
    }

    /// The gradient of the input.
    pub fn backward(geometry: &Geometry) -> Self {
        Self {
            batch: geometry.batch,
            depth: geometry.outputs,
            columns: geometry.inputs,
            source: geometry.output,
            target: geometry.size,
            phases: geometry.backward(),
        }
    }

    /// The number of values that are computed.
    pub fn values(&self) -> usize {
        self.batch * self.target[0] * self.target[1] * self.columns
    }

    /// The positions in the window, in the order in which the weights are packed.
    pub fn taps(&self, kernel_width: usize) -> Vec<usize> {
        let taps = self.phases.iter().flat_map(|[y, x]| {
            y.taps.iter().flat_map(|y| x.taps.iter().map(|x| y.index * kernel_width + x.index))
        });
        taps.collect()
    }

    /// Multiplications per image and column, with rows of tiles along a line or along the batch.
    fn work(&self, along: Along, isa: Isa, vectors: usize) -> usize {
        let most = isa.rows(vectors);
        let lines =
            |axis: &Axis| -> usize { axis.taps.iter().map(|tap| axis.valid(*tap).len()).sum() };
        let work = self.phases.iter().map(|[y, x]| match along {
            Along::Line => lines(y) * x.taps.len() * tiles_cost(x.grid, most),
            Along::Batch => {
                let images = self.batch.div_ceil(self.batch.div_ceil(most).max(1)).max(1);
                lines(y) * lines(x) * tiles_cost(images, most) / images
            }
        });
        work.sum::<usize>() * self.depth
    }
}

/// The axis of the rows of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Along {
    Line,
    Batch,
}

/// The time of all tiles of a line, in rows. A tile of fewer than four rows takes as long as one of
/// four, because its multiply-adds wait for each other.
fn tiles_cost(rows: usize, most: usize) -> usize {
    split(rows, rows.div_ceil(most)).map(|tile| tile.len().max(4.min(most))).sum()
}

/// The most pixels of a line of a pointwise convolution, whose images are one long line that is
/// divided into such lines: a multiple of the rows of every tile.
const LINE: usize = 168;

/// The fewest multiplications that justify a task, and the number of tasks that is enough.
const TASK: usize = 1 << 19;
const TASKS: usize = 48;

/// With fewer tasks than this, lines are divided into parts too, each of which copies whole lines.
const FEW_TASKS: usize = 32;

/// How a problem is divided into tasks: by its shape, never by the number of threads.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) problem: Problem,
    pub(super) panels: Panels,
    pub(super) along: Along,
    /// Whether the source is copied, to pad its lines or to avoid collisions in the cache.
    pub(super) copies: bool,
    /// The number of all pixels, if the images are one line.
    pub(super) pixels: Option<usize>,
    pub(super) groups: usize,
    pub(super) bands: usize,
    /// Parts of each line.
    pub(super) parts: usize,
    pub(super) chunks: usize,
    pub(super) isa: Isa,
}

impl Plan {
    /// Creates the plan for a source with these strides.
    pub fn new(mut problem: Problem, source: &Source, isa: Isa) -> Self {
        let isa = isa.for_row(problem.columns);
        let panels = Panels::new(problem.columns, isa);
        let wanted = |work: usize| (work / TASK).clamp(1, TASKS);
        let [height, width] = problem.source;
        let dense = source.is_channels_last([problem.depth, height, width]);
        let pointwise = dense
            && matches!(&problem.phases[..], [[y, x]] if y.step == 1 && x.step == 1
                && y.taps.len() == 1 && x.taps.len() == 1 && problem.source == problem.target);
        let mut pixels = None;
        if pointwise {
            let total = problem.batch * height * width;
            pixels = Some(total);
            // Shorter lines if there would be too few tasks.
            let lines = wanted(total * problem.depth * problem.columns).div_ceil(panels.count());
            let line = total.div_ceil(lines).clamp(1, LINE);
            let mut axis = problem.phases[0][1].clone();
            (axis.source, axis.grid) = (line, line);
            let one = Axis { source: 1, grid: 1, ..axis.clone() };
            problem = Problem {
                batch: total.div_ceil(line),
                source: [1, line],
                target: [1, line],
                phases: vec![[one, axis]],
                ..problem
            };
        }
        let vectors = panels.get(0).vectors;
        let line = problem.work(Along::Line, isa, vectors);
        let batch = problem.work(Along::Batch, isa, vectors);
        let along =
            if pixels.is_none() && batch * 20 < line * 19 { Along::Batch } else { Along::Line };
        let padded = problem.phases.iter().any(|[_, x]| x.padding() != [0, 0]);
        let step = problem.phases[0][1].step;
        let strides = source.strides;
        let copies = match along {
            Along::Line => {
                padded || strides[1] != 1 && problem.depth > 1 || collides(strides[3] * step)
            }
            Along::Batch => true,
        };
        let wanted = wanted(line.min(batch) * problem.columns * problem.batch);
        let rows = problem.phases.iter().map(|[y, _]| y.grid).max().unwrap_or(1);
        let (groups, bands, chunks);
        let missing = |tasks: usize| wanted.div_ceil(tasks);
        match along {
            Along::Line => {
                groups = missing(1).min(problem.batch).max(1);
                // Bands copy the lines that they share again, so fewer channels per task are better
                // than bands of one or two lines.
                let high = missing(groups).clamp(1, rows.div_ceil(4));
                chunks = missing(groups * high).clamp(1, panels.count());
                bands = missing(groups * chunks).clamp(high, rows.max(high));
            }
            Along::Batch => {
                let tiles = problem.batch.div_ceil(isa.rows(vectors)).max(1);
                chunks = missing(tiles).clamp(1, panels.count());
                bands = missing(tiles * chunks).clamp(1, rows);
                // Smaller tiles, if nothing else can be divided.
                groups = missing(chunks * bands).clamp(tiles, problem.batch.div_ceil(4).max(tiles));
            }
        }
        let width = problem.phases.iter().map(|[_, x]| x.grid).min().unwrap_or(1);
        let parts = wanted.min(FEW_TASKS).div_ceil(groups * bands * chunks);
        // Along a line, parts of fewer pixels would not fill a tile.
        let narrowest = if along == Along::Line { 4 } else { 1 };
        let parts = parts.clamp(1, (width / narrowest).max(1));
        Self { problem, panels, along, copies, pixels, groups, bands, parts, chunks, isa }
    }

    /// The number of tasks.
    pub fn tasks(&self) -> usize {
        self.groups * self.bands * self.parts * self.chunks
    }

    /// How the weights are packed, and for which instructions.
    pub fn panels(&self) -> (Panels, Isa) {
        (self.panels, self.isa)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let rows = match (self.along, self.pixels) {
            (_, Some(_)) => "one line of all pixels",
            (Along::Line, None) if self.problem.phases.len() > 1 => "phases, lines",
            (Along::Line, None) => "lines",
            (Along::Batch, None) => "images",
        };
        write!(f, "{rows}, {} tasks, {}", self.tasks(), self.isa)
    }
}

/// Whether rows at this distance, in values, map to the same few sets of a cache.
pub(super) fn collides(stride: usize) -> bool {
    stride.is_multiple_of(512)
}

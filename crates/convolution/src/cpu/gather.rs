//! The output of a convolution, and the gradient of its input: an implicit matrix product.
//!
//! The rows of a tile are positions of the result, its columns are channels. The window around a
//! position is never copied to the row of a matrix (im2col): with the channels last in memory, a
//! row of the window is one contiguous range of values, and the rows of a tile are at a constant
//! distance. A tile needs only the ranges of its first row and that distance.
//!
//! Rows are along one of two axes:
//! - **along a line of the image**, whose ends read padding: the image is first copied with its
//!   padding;
//! - **along the images of the batch**, all at one position: there are no multiplications with
//!   padding. This is for small images, where the padding would be a large part.

use std::{mem::MaybeUninit, ops::Range};

use rayon::prelude::*;

use super::{
    geometry::{Axis, Geometry},
    panels::Panels,
    scratch::{Shared, with_scratch},
    simd::{Isa, Simd, rows, with_isa},
    tile::{Dot, Finish, Segment, enter_tile},
};

/// A tensor `[batch, channels, height, width]` that is read, with any strides.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The values, from the tensor's first one on.
    pub values: &'a [f32],
    /// Strides of images, channels, rows and columns.
    pub strides: [usize; 4],
}

impl<'a> Source<'a> {
    /// A tensor with its channels last in memory, without gaps.
    pub fn channels_last(values: &'a [f32], [channels, height, width]: [usize; 3]) -> Self {
        Self { values, strides: [height * width * channels, 1, width * channels, channels] }
    }

    /// The same tensor without the channels before this one.
    pub fn skip_channels(self, channel: usize) -> Self {
        Self { values: &self.values[channel * self.strides[1]..], ..self }
    }

    /// Checks that the channels are adjacent and that the slice contains the last value.
    ///
    /// # Panics
    ///
    /// If not.
    pub fn assert_channels_last(&self, [batch, channels, height, width]: [usize; 4]) {
        let [n, c, y, x] = self.strides;
        assert!(c == 1 || channels == 1, "the channels must be last in memory");
        if batch * channels * height * width > 0 {
            let last = (batch - 1) * n + channels - 1 + (height - 1) * y + (width - 1) * x;
            assert!(self.values.len() > last, "the tensor's slice is too short");
        }
    }

    fn is_channels_last(&self, [channels, height, width]: [usize; 3]) -> bool {
        let Source { strides, .. } = Self::channels_last(&[], [channels, height, width]);
        self.strides == strides
            || channels == 1 && self.strides[2..] == strides[2..] && self.strides[0] == strides[0]
    }
}

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
enum Along {
    Line,
    Batch,
}

/// The time of all tiles of a line, in rows. A tile of fewer than four rows takes as long as one of
/// four, because its multiply-adds wait for each other.
fn tiles_cost(rows: usize, most: usize) -> usize {
    split(rows, rows.div_ceil(most)).map(|tile| tile.len().max(4.min(most))).sum()
}

/// Divides `0..length` into `parts` ranges, as equal as possible.
pub fn split(length: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    (0..parts).map(move |part| part_of(length, parts, part))
}

fn part_of(length: usize, parts: usize, part: usize) -> Range<usize> {
    let start = |part: usize| part * (length / parts) + part.min(length % parts);
    start(part)..start(part + 1)
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
    problem: Problem,
    panels: Panels,
    along: Along,
    /// Whether the source is copied, to pad its lines or to avoid collisions in the cache.
    copies: bool,
    /// The number of all pixels, if the images are one line.
    pixels: Option<usize>,
    groups: usize,
    bands: usize,
    /// Parts of each line.
    parts: usize,
    chunks: usize,
    isa: Isa,
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
        let along = match pixels.is_none() && batch * 20 < line * 19 {
            true => Along::Batch,
            false => Along::Line,
        };
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

    /// How the weights are packed.
    pub fn panels(&self) -> (Panels, Isa) {
        (self.panels, self.isa)
    }

    /// Computes the result. It writes every value of `target`, `[batch, height, width, columns]`.
    ///
    /// # Panics
    ///
    /// If a slice is too short.
    pub fn run(
        &self,
        source: Source,
        panels: &[f32],
        target: &mut [MaybeUninit<f32>],
        finish: Finished,
    ) {
        let Problem { batch, depth, columns, .. } = self.problem;
        let [height, width] = self.problem.target;
        let pixels = self.pixels.unwrap_or(batch * height * width);
        assert_eq!(target.len(), pixels * columns, "wrong length of `target`");
        let taps: usize =
            self.problem.phases.iter().map(|[y, x]| y.taps.len() * x.taps.len()).sum();
        assert!(panels.len() >= self.panels.len(taps * depth), "the packed weights are too short");
        if pixels > 0 {
            let [h, w] = self.problem.source;
            let last = match self.pixels {
                Some(pixels) => pixels * depth - 1,
                None => {
                    let [n, c, y, x] = source.strides;
                    (batch - 1) * n + (depth - 1) * c + (h - 1) * y + (w - 1) * x
                }
            };
            assert!(source.values.len() > last, "the source's slice is too short");
        }
        finish.assert_fits(self.panels, target.len());
        let target = Shared::uninit(target);
        let source = match self.pixels {
            Some(_) => Source::channels_last(source.values, [depth, 1, self.problem.source[1]]),
            None => source,
        };
        (0..self.tasks()).into_par_iter().with_max_len(1).for_each(|task| {
            let (task, chunk) = (task / self.chunks, task % self.chunks);
            let (task, part) = (task / self.parts, task % self.parts);
            let (group, band) = (task / self.bands, task % self.bands);
            let task = Task {
                plan: self,
                images: part_of(batch, self.groups, group),
                band,
                part,
                panels: part_of(self.panels.count(), self.chunks, chunk),
                source,
                weights: panels,
                target,
                finish,
            };
            // SAFETY: the processor has the instructions of `isa`; the slices are long enough, as
            // checked above; no other task has the same images, band, part and panels.
            unsafe { with_isa!(self.isa, S => task.run::<S>()) }
        });
    }
}

/// The epilogue of a convolution.
#[derive(Clone, Copy, Default)]
pub struct Finished<'a> {
    /// Added to every position, padded to whole vectors.
    pub bias: Option<&'a [f32]>,
    /// Added, in the layout of the result.
    pub residual: Option<&'a [f32]>,
    /// Whether ReLU is applied last.
    pub relu: bool,
}

impl Finished<'_> {
    /// Checks that bias and residual are long enough for a result of `length` values.
    ///
    /// # Panics
    ///
    /// If not.
    pub fn assert_fits(&self, panels: Panels, length: usize) {
        let fits = |values: Option<&[f32]>, length| values.is_none_or(|it| it.len() >= length);
        assert!(fits(self.bias, panels.padded()), "the bias with its padding is too short");
        assert!(fits(self.residual, length), "the residual is too short");
    }
}

/// Whether rows at this distance, in values, map to the same few sets of a cache.
fn collides(stride: usize) -> bool {
    stride.is_multiple_of(512)
}

/// Part of a plan.
struct Task<'a> {
    plan: &'a Plan,
    images: Range<usize>,
    band: usize,
    part: usize,
    panels: Range<usize>,
    source: Source<'a>,
    weights: &'a [f32],
    target: Shared,
    finish: Finished<'a>,
}

/// Where tiles read a pixel: at
/// `image * strides[0] + (y - top) * strides[1] + (x + left) * strides[2]`.
struct Read {
    start: *const f32,
    strides: [usize; 3],
    top: usize,
    left: usize,
}

impl Task<'_> {
    /// # Safety
    ///
    /// As [`Plan::run`] ensures.
    unsafe fn run<S: Simd>(&self) {
        let Plan { problem, along, bands, copies, .. } = self.plan;
        let rows = |[y, _]: &[Axis; 2]| part_of(y.grid, *bands, self.band);
        let reads = problem.phases.iter().map(|phase| phase[0].reads(rows(phase)));
        let read = reads.filter(|reads| !reads.is_empty());
        let read = read.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..0);
        if !copies {
            let [image, _, y, x] = self.source.strides;
            let start = self.images.start * image + read.start * y;
            let read = Read {
                start: self.source.values[start.min(self.source.values.len())..].as_ptr(),
                strides: [image, y, x],
                top: read.start,
                left: 0,
            };
            return unsafe { self.tiles::<S>(&read) };
        }
        let images = self.images.len();
        let padding = problem.phases.iter().map(|[_, x]| x.padding());
        let [left, right] =
            padding.fold([0, 0], |[a, b], [left, right]| [a.max(left), b.max(right)]);
        let (depth, width) = (problem.depth, problem.source[1]);
        let apart =
            |stride: usize, step: usize| stride + if collides(stride * step) { 16 } else { 0 };
        let (strides, length, left) = match along {
            Along::Line => {
                let step = problem.phases[0][1].step;
                let pixel = apart(depth, step);
                let line = (left + width + right) * pixel;
                ([read.len() * line, line, pixel], images * read.len() * line, left)
            }
            Along::Batch => {
                let image = apart(depth, 1);
                let pixel = images * image;
                ([image, width * pixel, pixel], read.len() * width * pixel, 0)
            }
        };
        with_scratch(length, |copy| {
            unsafe { self.copy(read.clone(), left, right, strides, copy) };
            let read = Read { start: copy.as_ptr(), strides, top: read.start, left };
            unsafe { self.tiles::<S>(&read) };
        });
    }

    /// Copies the lines `read` of the images, with padding to the left and to the right.
    ///
    /// # Safety
    ///
    /// `copy` has space for every pixel.
    unsafe fn copy(
        &self,
        read: Range<usize>,
        left: usize,
        right: usize,
        strides: [usize; 3],
        copy: &mut [f32],
    ) {
        let problem = &self.plan.problem;
        let (depth, width) = (problem.depth, problem.source[1]);
        let [image_stride, channel, row, column] = self.source.strides;
        let right = if self.plan.along == Along::Line { right } else { 0 };
        for (index, image) in self.images.clone().enumerate() {
            let width = self.line(image, width);
            for (line, y) in read.clone().enumerate() {
                let to = index * strides[0] + line * strides[1];
                let from = image * image_stride + y * row;
                for x in (0..left).chain(left + width..left + width + right) {
                    copy[to + x * strides[2]..][..depth].fill(0.0);
                }
                let to = to + left * strides[2];
                if (channel == 1 || depth == 1) && column == depth && strides[2] == depth {
                    let from = &self.source.values[from..][..width * depth];
                    copy[to..][..width * depth].copy_from_slice(from);
                } else if channel == 1 || depth == 1 {
                    for x in 0..width {
                        let from = &self.source.values[from + x * column..][..depth];
                        copy[to + x * strides[2]..][..depth].copy_from_slice(from);
                    }
                } else {
                    for c in 0..depth {
                        let from = &self.source.values[from + c * channel..];
                        for x in 0..width {
                            copy[to + x * strides[2] + c] = from[x * column];
                        }
                    }
                }
            }
        }
    }

    /// How many pixels a line of an image has.
    fn line(&self, image: usize, line: usize) -> usize {
        self.plan.pixels.map_or(line, |pixels| (pixels - image * line).min(line))
    }

    /// This task's part of a line.
    fn columns(&self, line: usize) -> Range<usize> {
        part_of(line, self.plan.parts, self.part)
    }

    /// # Safety
    ///
    /// `read` has all pixels that the taps read.
    unsafe fn tiles<S: Simd>(&self, read: &Read) {
        let Plan { problem, panels, along, .. } = self.plan;
        let mut segments = Vec::with_capacity(
            problem.phases.iter().map(|[y, x]| y.taps.len() * x.taps.len()).max().unwrap_or(0),
        );
        for panel in self.panels.clone() {
            // The rows of weights before those of the phase.
            let mut before = 0;
            for [y, x] in &problem.phases {
                for row in part_of(y.grid, self.plan.bands, self.band) {
                    match along {
                        Along::Line => {
                            self.segments(
                                &mut segments,
                                [y, x],
                                [row, 0],
                                0..x.taps.len(),
                                read,
                                before,
                            );
                            for (index, image) in self.images.clone().enumerate() {
                                let line = self.columns(self.line(image, x.grid));
                                let from = read.strides[2] * x.step;
                                for tile in split(
                                    line.len(),
                                    line.len().div_ceil(rows::<S>(panels.get(panel).vectors)),
                                ) {
                                    let first = line.start + tile.start;
                                    let a = index * read.strides[0] + first * from;
                                    unsafe {
                                        let at = self.target(image, [y, x], [row, first]);
                                        let next = x.stride * problem.columns;
                                        self.tile::<S>(
                                            panel,
                                            &segments,
                                            (read.start.add(a), from),
                                            tile.len(),
                                            (at, next),
                                        );
                                    }
                                }
                            }
                        }
                        Along::Batch => {
                            for column in self.columns(x.grid) {
                                self.segments(
                                    &mut segments,
                                    [y, x],
                                    [row, column],
                                    x.taps_at(column),
                                    read,
                                    before,
                                );
                                let images = self.images.len();
                                let image = problem.target[0] * problem.target[1] * problem.columns;
                                for tile in split(
                                    images,
                                    images.div_ceil(rows::<S>(panels.get(panel).vectors)),
                                ) {
                                    unsafe {
                                        let a = read.start.add(tile.start * read.strides[0]);
                                        let at = self.target(
                                            self.images.start + tile.start,
                                            [y, x],
                                            [row, column],
                                        );
                                        self.tile::<S>(
                                            panel,
                                            &segments,
                                            (a, read.strides[0]),
                                            tile.len(),
                                            (at, image),
                                        );
                                    }
                                }
                            }
                        }
                    }
                }
                before += y.taps.len() * x.taps.len();
            }
        }
    }

    /// The segments of a position's sum, for the columns `across` of the window.
    fn segments(
        &self,
        segments: &mut Vec<Segment>,
        [y, x]: [&Axis; 2],
        [row, column]: [usize; 2],
        across: Range<usize>,
        read: &Read,
        before: usize,
    ) {
        let depth = self.plan.problem.depth;
        segments.clear();
        let [_, line, pixel] = read.strides;
        for down in y.taps_at(row) {
            let source = ((row * y.step) as isize + y.taps[down].offset) as usize;
            let weights = (before + down * x.taps.len()) * depth;
            let reads = |across: usize| {
                (column * x.step) as isize + x.taps[across].offset + read.left as isize
            };
            if pixel == depth && !across.is_empty() {
                segments.push(Segment {
                    a: (source - read.top) * line + reads(across.start) as usize * pixel,
                    b: weights + across.start * depth,
                    k: across.len() * depth,
                });
                continue;
            }
            for across in across.clone() {
                segments.push(Segment {
                    a: (source - read.top) * line + reads(across) as usize * pixel,
                    b: weights + across * depth,
                    k: depth,
                });
            }
        }
    }

    /// The offset of a position's result.
    fn target(&self, image: usize, [y, x]: [&Axis; 2], [row, column]: [usize; 2]) -> usize {
        let [height, width] = self.plan.problem.target;
        let (row, column) = (y.first + row * y.stride, x.first + column * x.stride);
        ((image * height + row) * width + column) * self.plan.problem.columns
    }

    /// # Safety
    ///
    /// As [`Dot`] requires.
    unsafe fn tile<S: Simd>(
        &self,
        panel: usize,
        segments: &[Segment],
        (a, a_stride): (*const f32, usize),
        rows: usize,
        (at, next): (usize, usize),
    ) {
        let problem = &self.plan.problem;
        let depth: usize =
            problem.phases.iter().map(|[y, x]| y.taps.len() * x.taps.len()).sum::<usize>()
                * problem.depth;
        let start = self.plan.panels.start(panel, depth);
        let panel = self.plan.panels.get(panel);
        let offset = |values: Option<&[f32]>, at: usize| {
            values.map_or(std::ptr::null(), |values| unsafe { values.as_ptr().add(at) })
        };
        unsafe {
            enter_tile!(
                S,
                rows,
                panel.vectors,
                Dot {
                    segments,
                    a,
                    a_stride,
                    b: self.weights.as_ptr().add(start),
                    output: self.target.at(at + panel.first),
                    output_stride: next,
                    columns: panel.columns,
                    finish: Finish {
                        bias: offset(self.finish.bias, panel.first),
                        residual: offset(self.finish.residual, at + panel.first),
                        relu: self.finish.relu,
                    },
                }
            );
        }
    }
}

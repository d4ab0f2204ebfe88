//! The tasks of a convolution.

use std::{mem::MaybeUninit, ops::Range};

use rayon::prelude::*;

use super::{
    plan::{Along, Plan, Problem, collides},
    source::{Finished, Source, part_of, split},
};
use crate::cpu::{
    geometry::Axis,
    scratch::{Shared, with_scratch},
    simd::{Simd, rows, with_isa},
    tile::{Dot, Finish, Segment, enter_tile},
};

impl Plan {
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

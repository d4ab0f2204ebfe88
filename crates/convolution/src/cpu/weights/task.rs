//! The tasks of the gradient of the weights.

use std::{mem::MaybeUninit, ops::Range};

use rayon::prelude::*;

use super::{
    plan::{Piece, Plan},
    sums::{Layout, add_up},
};
use crate::cpu::{
    gather::{Source, split},
    geometry::{Axis, Geometry},
    panels::Panel,
    scratch::{Shared, with_scratch},
    simd::{Kernel, Simd, outer_rows, with_isa},
    tile::{Outer, Run, enter_tile},
};

impl Plan {
    /// Computes the gradient of the weights and, if wanted, of the bias; every value is written.
    ///
    /// # Panics
    ///
    /// If a slice is too short.
    pub fn run(
        &self,
        input: Source,
        gradient: Source,
        weights: &mut [MaybeUninit<f32>],
        layout: Layout,
        bias: Option<&mut [MaybeUninit<f32>]>,
    ) {
        let geometry = &self.geometry;
        let Geometry { inputs, outputs, .. } = *geometry;
        let taps = geometry.taps();
        assert_eq!(weights.len(), geometry.weight_len(), "`weights` must fit the gradient");
        assert!(
            bias.as_ref().is_none_or(|bias| bias.len() == outputs),
            "`bias` must fit the gradient of the bias"
        );
        if self.pieces.is_empty() {
            weights.fill(MaybeUninit::new(0.0));
            bias.into_iter().for_each(|bias| bias.fill(MaybeUninit::new(0.0)));
            return;
        }
        let columns = self.panels.padded();
        // For each split: all weights, then the bias.
        let size = (taps * inputs + 1) * columns;
        with_scratch(self.splits * size, |partial| {
            let shared = Shared::new(partial);
            (0..self.tasks()).into_par_iter().with_max_len(1).for_each(|task| {
                let (task, across) = (task / self.inputs.len(), task % self.inputs.len());
                let (part, down) = (task / self.outputs.len(), task % self.outputs.len());
                let pieces = split(self.pieces.len(), self.splits).nth(part).unwrap_or(0..0);
                let task = Task {
                    plan: self,
                    pieces: &self.pieces[pieces],
                    inputs: self.inputs[across].clone(),
                    outputs: self.outputs[down].clone(),
                    input,
                    gradient,
                    bias: bias.is_some() && across == 0,
                };
                // SAFETY: `sums` is the split's part of the scratch buffer; no other task has the
                // same rows and columns of it. The processor has the instructions of `isa`.
                unsafe {
                    let sums = shared.at(part * size);
                    with_isa!(self.isa, S => task.run::<S>(sums));
                }
            });
            let partial: Vec<&[f32]> = partial.chunks_exact(size).collect();
            add_up(taps, inputs, outputs, weights, layout, self.isa, |block, sums| {
                let count = block.len();
                for (tap, input) in
                    (0..taps).flat_map(|tap| block.clone().map(move |input| (tap, input)))
                {
                    let sums =
                        &mut sums[(tap * count + input - block.start) * outputs..][..outputs];
                    let from = (tap * inputs + input) * columns;
                    sums.copy_from_slice(&partial[0][from..][..outputs]);
                    for part in &partial[1..] {
                        for (sum, value) in sums.iter_mut().zip(&part[from..][..outputs]) {
                            *sum += value;
                        }
                    }
                }
            });
            if let Some(bias) = bias {
                for (column, bias) in bias.iter_mut().enumerate() {
                    let sum =
                        partial.iter().map(|sums| sums[taps * inputs * columns + column]).sum();
                    bias.write(sum);
                }
            }
        });
    }
}

/// Part of a plan.
struct Task<'a> {
    plan: &'a Plan,
    pieces: &'a [Piece],
    inputs: Range<usize>,
    outputs: Range<usize>,
    input: Source<'a>,
    gradient: Source<'a>,
    bias: bool,
}

/// The sums that a task adds to: `[tap][input][column]`, then the bias, for all columns.
#[derive(Clone, Copy)]
struct Sums {
    start: *mut f32,
    /// Whether they contain earlier sums.
    add: bool,
}

/// A piece of the output's gradient: for each panel, the vectors of all positions.
struct Gradient<'a> {
    values: &'a [f32],
    positions: usize,
    /// Strides of images, rows and columns.
    strides: [usize; 3],
}

impl Task<'_> {
    /// # Safety
    ///
    /// `sums` has `taps * inputs + 1` rows of all columns; the rows of this task's inputs and, if
    /// it is wanted, of the bias belong to this task alone, in the columns of its outputs.
    unsafe fn run<S: Simd>(&self, sums: *mut f32) {
        let Plan { axes: [y, x], lines, .. } = self.plan;
        let lines = *lines;
        let most = |of: &dyn Fn(&Piece) -> usize| self.pieces.iter().map(of).max().unwrap_or(0);
        let positions = most(&|piece| piece.images.len() * piece.rows.len()) * x.grid;
        let pixels =
            most(&|piece| piece.images.len() * y.reads(piece.rows.clone()).len()) * self.line();
        with_scratch(positions * self.columns().len(), |gradient| {
            with_scratch(pixels * self.inputs.len(), |input| {
                let mut runs = Vec::new();
                for (index, piece) in self.pieces.iter().enumerate() {
                    let images = piece.images.len();
                    let strides = if lines {
                        [piece.rows.len() * x.grid, x.grid, 1]
                    } else {
                        [1, x.grid * images, images]
                    };
                    let positions = images * piece.rows.len() * x.grid;
                    let mut gradient = Gradient { values: gradient, positions, strides };
                    unsafe {
                        self.pack_gradient::<S>(piece, &mut gradient);
                        let sums = Sums { start: sums, add: index > 0 };
                        if lines {
                            self.lines::<S>(piece, input, &gradient, sums, &mut runs)
                        } else {
                            self.channels::<S>(piece, input, &gradient, sums, &mut runs)
                        }
                        if self.bias {
                            self.bias::<S>(&gradient, sums);
                        }
                    }
                }
            });
        });
    }

    /// The columns of the task, padded to whole vectors.
    fn columns(&self) -> Range<usize> {
        let Plan { panels, isa, .. } = self.plan;
        let last = panels.get(self.outputs.end - 1);
        panels.get(self.outputs.start).first..last.first + last.vectors * isa.lanes()
    }

    /// Pixels of a packed line.
    fn line(&self) -> usize {
        let [_, x] = &self.plan.axes;
        let [left, right] = x.padding();
        if self.plan.lines { left + x.source + right } else { x.source.div_ceil(x.step) * x.step }
    }

    /// # Safety
    ///
    /// The gradient's values are a scratch buffer that is long enough.
    unsafe fn pack_gradient<S: Simd>(&self, piece: &Piece, to: &mut Gradient) {
        let [image_stride, channel, row_stride, column_stride] = self.gradient.strides;
        let [_, x] = &self.plan.axes;
        let start = self.columns().start;
        let values = to.values.as_ptr().cast_mut();
        for index in self.outputs.clone() {
            let Panel { first, columns, vectors } = self.plan.panels.get(index);
            let width = vectors * S::LANES;
            for (i, image) in piece.images.clone().enumerate() {
                for (r, row) in piece.rows.clone().enumerate() {
                    let from = image * image_stride + row * row_stride + first * channel;
                    let at = (first - start) * to.positions
                        + (i * to.strides[0] + r * to.strides[1]) * width;
                    let from = &self.gradient.values[from..];
                    let last = (x.grid - 1) * column_stride + (columns - 1) * channel;
                    assert!(from.len() > last, "the gradient is too short");
                    unsafe {
                        S::enter(CopyRow {
                            from: from.as_ptr(),
                            step: column_stride,
                            channel,
                            to: values.add(at),
                            to_step: to.strides[2] * width,
                            count: x.grid,
                            columns,
                            width,
                        });
                    }
                }
            }
        }
    }

    /// Runs the tiles of the same rows for all panels of the task.
    ///
    /// # Safety
    ///
    /// All runs are within `a` and the gradient.
    unsafe fn tiles<S: Simd>(
        &self,
        rows: Range<usize>,
        (a, step): (*const f32, usize),
        runs: &[Run],
        gradient: &Gradient,
        sums: Sums,
    ) {
        let panels = &self.plan.panels;
        let start = self.columns().start;
        for index in self.outputs.clone() {
            let panel = panels.get(index);
            unsafe {
                enter_tile!(
                    S,
                    rows.len(),
                    panel.vectors,
                    Outer {
                        runs,
                        a,
                        a_step: step,
                        b: gradient.values.as_ptr().add((panel.first - start) * gradient.positions),
                        b_step: panel.vectors * S::LANES,
                        output: sums.start.add(rows.start * panels.padded() + panel.first),
                        output_stride: panels.padded(),
                        add: sums.add,
                    }
                );
            }
        }
    }

    /// Divides these rows into tiles.
    fn rows<S: Simd>(&self, rows: usize) -> impl Iterator<Item = Range<usize>> + use<S> {
        let vectors = self.plan.panels.get(self.outputs.start).vectors;
        let most = outer_rows::<S>(vectors);
        split(rows, rows.div_ceil(most))
    }

    /// Runs tiles whose rows are the values of a line of the window.
    ///
    /// # Safety
    ///
    /// `packed` is long enough.
    unsafe fn lines<S: Simd>(
        &self,
        piece: &Piece,
        packed: &mut [f32],
        gradient: &Gradient,
        sums: Sums,
        runs: &mut Vec<Run>,
    ) {
        let [y, x] = &self.plan.axes;
        let [image_stride, channel, row_stride, column_stride] = self.input.strides;
        let depth = self.inputs.len();
        let read = y.reads(piece.rows.clone());
        let (line, [left, _]) = (self.line(), x.padding());
        let mut to = packed.chunks_exact_mut(line * depth);
        for image in piece.images.clone() {
            for row in read.clone() {
                let to = to.next().expect("the buffer holds all lines");
                let from = &self.input.values[image * image_stride + row * row_stride..];
                to.fill(0.0);
                for (column, to) in
                    to[left * depth..].chunks_exact_mut(depth).take(x.source).enumerate()
                {
                    for (c, to) in to.iter_mut().enumerate() {
                        *to = from[column * column_stride + c * channel];
                    }
                }
            }
        }
        for (down, &tap) in y.taps.iter().enumerate() {
            runs.clear();
            for image in 0..piece.images.len() {
                for row in overlap(y.valid(tap), &piece.rows) {
                    let source = ((row * y.step) as isize + tap.offset) as usize - read.start;
                    runs.push(Run {
                        a: (image * read.len() + source) * line * depth,
                        b: image * gradient.strides[0]
                            + (row - piece.rows.start) * gradient.strides[1],
                        length: x.grid,
                    });
                }
            }
            let all = x.taps.len() * depth;
            for rows in self.rows::<S>(all) {
                let start = down * all;
                unsafe {
                    let a = packed.as_ptr().add(rows.start);
                    let rows = start + rows.start..start + rows.end;
                    self.tiles::<S>(rows, (a, x.step * depth), runs, gradient, sums);
                }
            }
        }
    }

    /// Runs tiles whose rows are the channels at one position of the window. Images are innermost
    /// in the packed order, and with a stride the columns that one position of the window reads are
    /// adjacent: both make runs long.
    ///
    /// # Safety
    ///
    /// `packed` is long enough.
    unsafe fn channels<S: Simd>(
        &self,
        piece: &Piece,
        packed: &mut [f32],
        gradient: &Gradient,
        sums: Sums,
        runs: &mut Vec<Run>,
    ) {
        let Plan { geometry, axes: [y, x], .. } = self.plan;
        let [image_stride, channel, row_stride, column_stride] = self.input.strides;
        let (images, depth, line) = (piece.images.len(), self.inputs.len(), self.line());
        let read = y.reads(piece.rows.clone());
        let phase = x.source.div_ceil(x.step);
        let pixels = images * read.len() * line;
        let touched = |axis: &Axis, at: usize| {
            axis.taps
                .iter()
                .any(|tap| (at as isize - tap.offset).rem_euclid(axis.step as isize) == 0)
        };
        for (r, row) in read.clone().enumerate().filter(|(_, row)| touched(y, *row)) {
            for (i, image) in piece.images.clone().enumerate() {
                for first in (0..x.step.min(x.source)).filter(|first| touched(x, *first)) {
                    let count = (x.source - first).div_ceil(x.step);
                    let from = image * image_stride
                        + row * row_stride
                        + first * column_stride
                        + self.inputs.start * channel;
                    let from = &self.input.values[from..];
                    let last = (count - 1) * x.step * column_stride + (depth - 1) * channel;
                    assert!(from.len() > last, "the input is too short");
                    let at = (r * line + first * phase) * images + i;
                    for rows in self.rows::<S>(depth) {
                        let width = rows.len();
                        unsafe {
                            S::enter(CopyRow {
                                from: from.as_ptr().add(rows.start * channel),
                                step: x.step * column_stride,
                                channel,
                                to: packed.as_mut_ptr().add(rows.start * pixels + at * width),
                                to_step: images * width,
                                count,
                                columns: width,
                                width,
                            });
                        }
                    }
                }
            }
        }
        for (down, &tap_y) in y.taps.iter().enumerate() {
            for (across, &tap_x) in x.taps.iter().enumerate() {
                let columns = x.valid(tap_x);
                let step = x.step as isize;
                let start = tap_x.offset.rem_euclid(step) * phase as isize
                    + tap_x.offset.div_euclid(step)
                    + columns.start as isize;
                for rows in self.rows::<S>(depth) {
                    let width = rows.len();
                    runs.clear();
                    for row in overlap(y.valid(tap_y), &piece.rows).filter(|_| !columns.is_empty())
                    {
                        let source = ((row * y.step) as isize + tap_y.offset) as usize - read.start;
                        let a = (source * line) as isize + start;
                        runs.push(Run {
                            a: a as usize * images * width,
                            b: ((row - piece.rows.start) * x.grid + columns.start) * images,
                            length: columns.len() * images,
                        });
                    }
                    let first =
                        (down * x.taps.len() + across) * geometry.inputs + self.inputs.start;
                    unsafe {
                        let a = packed.as_ptr().add(rows.start * pixels);
                        let rows = first + rows.start..first + rows.end;
                        self.tiles::<S>(rows, (a, width), runs, gradient, sums);
                    }
                }
            }
        }
    }

    /// The sums of the gradient's columns.
    ///
    /// # Safety
    ///
    /// The last row of the sums belongs to this task alone.
    unsafe fn bias<S: Simd>(&self, gradient: &Gradient, sums: Sums) {
        // A row whose values are all one.
        let geometry = &self.plan.geometry;
        let row = geometry.taps() * geometry.inputs;
        let run = Run { a: 0, b: 0, length: gradient.positions };
        unsafe { self.tiles::<S>(row..row + 1, (&raw const ONE, 0), &[run], gradient, sums) };
    }
}

static ONE: f32 = 1.0;

fn overlap(a: Range<usize>, b: &Range<usize>) -> Range<usize> {
    let start = a.start.max(b.start);
    start..a.end.min(b.end).max(start)
}

/// Copies `columns` neighboring channels of `count` pixels to rows of `width` values, the rest
/// zeros.
///
/// # Safety
///
/// All of these channels and rows exist.
struct CopyRow {
    from: *const f32,
    step: usize,
    channel: usize,
    to: *mut f32,
    to_step: usize,
    count: usize,
    columns: usize,
    width: usize,
}

impl Kernel for CopyRow {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe {
            for pixel in 0..self.count {
                let from = self.from.add(pixel * self.step);
                let to = self.to.add(pixel * self.to_step);
                if self.channel != 1 {
                    for column in 0..self.columns {
                        *to.add(column) = *from.add(column * self.channel);
                    }
                    for column in self.columns..self.width {
                        *to.add(column) = 0.0;
                    }
                    continue;
                }
                let mut column = 0;
                while column + S::LANES <= self.columns {
                    S::store(to.add(column), S::load(from.add(column)));
                    column += S::LANES;
                }
                if column < self.width {
                    let value = S::load_first(from.add(column), self.columns - column);
                    S::store_first(to.add(column), value, self.width - column);
                }
            }
        }
    }
}

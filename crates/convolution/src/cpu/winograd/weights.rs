//! The gradient of the weights.

use std::{fmt, mem::MaybeUninit, ops::Range};

use rayon::prelude::*;

use super::{
    tiles::{
        ALL_POINTS, BUDGET, GROUP, Problem, STEP, TILE, TRANSFORM, Transformed, WEIGHT_SUM, Window,
    },
    transforms::{TransformGradient, TransformInput, TransformSums},
};
use crate::cpu::{
    gather::{Source, split},
    geometry::Geometry,
    panels::Panels,
    scratch::{Shared, with_scratch},
    simd::{Isa, Simd, outer_rows, with_isa},
    tile::{Outer, Run, enter_tile},
    weights::{self, Layout},
};

/// How the gradient of the weights is divided into tasks.
#[derive(Clone, Debug)]
pub struct WeightPlan {
    geometry: Geometry,
    isa: Isa,
    panels: Panels,
    splits: usize,
    inputs: Vec<Range<usize>>,
    outputs: Vec<Range<usize>>,
    /// Tiles that are transformed at a time.
    group: usize,
}

impl WeightPlan {
    /// Creates the plan for a convolution that [`Problem::forward`] supports.
    pub fn new(geometry: &Geometry, isa: Isa) -> Option<Self> {
        let problem = Problem::forward(geometry)?;
        let isa = isa.for_row(geometry.outputs);
        let panels = Panels::new(geometry.outputs, isa);
        let tiles = problem.tiles().total;
        let [splits, across, down] = weights::blocks(
            [geometry.inputs, geometry.outputs],
            panels.count(),
            tiles,
            [ALL_POINTS, TRANSFORM / 16],
            tiles.div_ceil(STEP),
        );
        let channels = geometry.inputs.div_ceil(across) + geometry.outputs.div_ceil(down);
        let group = BUDGET / (ALL_POINTS * channels) / STEP * STEP;
        Some(Self {
            isa,
            panels,
            splits,
            inputs: split(geometry.inputs, across).collect(),
            outputs: split(panels.count(), down).collect(),
            group: group.clamp(GROUP.start, 2 * GROUP.end),
            geometry: *geometry,
        })
    }

    /// The number of tasks.
    pub fn tasks(&self) -> usize {
        self.splits * self.inputs.len() * self.outputs.len()
    }

    /// Whether it takes less time than the direct sum.
    pub fn wins(&self) -> bool {
        let Some(problem) = Problem::forward(&self.geometry) else { return false };
        let Geometry { inputs, outputs, .. } = self.geometry;
        let tiles = problem.tiles().total;
        let pixels = problem.batch * problem.target[0] * problem.target[1];
        let direct = 9 * pixels * inputs * outputs;
        let multiplied = ALL_POINTS * tiles * inputs * outputs;
        let transformed =
            TRANSFORM * tiles * (inputs * self.outputs.len() + outputs * self.inputs.len());
        let summed = (WEIGHT_SUM + 288 * self.splits) * inputs * outputs;
        inputs >= 16 && outputs >= 16 && multiplied + transformed + summed < direct
    }

    /// Computes the gradient of the weights; every value is written.
    ///
    /// # Panics
    ///
    /// If a slice is too short, or channels are not adjacent in memory.
    pub fn run(
        &self,
        input: Source,
        gradient: Source,
        weights: &mut [MaybeUninit<f32>],
        layout: Layout,
    ) {
        let Geometry { batch, inputs, outputs, size, output, .. } = self.geometry;
        assert_eq!(weights.len(), 9 * inputs * outputs, "`weights` must fit the gradient");
        input.assert_channels_last([batch, inputs, size[0], size[1]]);
        gradient.assert_channels_last([batch, outputs, output[0], output[1]]);
        let Some(problem) = Problem::forward(&self.geometry) else { return };
        let tiles = problem.tiles();
        let columns = self.panels.padded();
        let size = ALL_POINTS * inputs * columns;
        with_scratch(self.splits * size, |partial| {
            let shared = Shared::new(partial);
            (0..self.tasks()).into_par_iter().with_max_len(1).for_each(|task| {
                let (task, across) = (task / self.inputs.len(), task % self.inputs.len());
                let (part, down) = (task / self.outputs.len(), task % self.outputs.len());
                let tiles = split(tiles.total, self.splits).nth(part).unwrap_or(0..0);
                let (inputs, panels) = (self.inputs[across].clone(), self.outputs[down].clone());
                // SAFETY: the processor has the instructions of `isa`; no other task has the same
                // inputs and panels of the split's sums.
                unsafe {
                    let sums = shared.at(part * size);
                    with_isa!(self.isa, S => self.task::<S>(problem, tiles, inputs, panels, input, gradient, sums));
                }
            });
            let partial: Vec<&[f32]> = partial.chunks_exact(size).collect();
            weights::add_up(9, inputs, outputs, weights, layout, self.isa, |block, sums| {
                // SAFETY: the processor has the instructions of `isa`; the parts have all points of
                // all inputs and columns, and `sums` has nine taps of the block's inputs and all
                // outputs.
                unsafe {
                    with_isa!(self.isa, S => S::enter(TransformSums {
                        parts: &partial,
                        point: inputs * columns,
                        row: columns,
                        inputs: block,
                        outputs,
                        to: sums.as_mut_ptr(),
                    }));
                }
            });
        });
    }

    /// # Safety
    ///
    /// As [`run`](Self::run) ensures.
    #[expect(clippy::too_many_arguments)]
    unsafe fn task<S: Simd>(
        &self,
        problem: Problem,
        tiles: Range<usize>,
        channels: Range<usize>,
        panels: Range<usize>,
        input: Source,
        gradient: Source,
        sums: *mut f32,
    ) {
        let Geometry { inputs, .. } = self.geometry;
        let columns = self.panels.padded();
        let first = self.panels.get(panels.start).first;
        let last = self.panels.get(panels.end - 1);
        let chunk = last.first + last.columns - first;
        let count = tiles.len().div_ceil(self.group);
        let most = tiles.len().div_ceil(count);
        let a = Transformed::new::<S>(channels.len(), most);
        let b = Transformed::new::<S>(chunk, most);
        let at = problem.tiles();
        with_scratch(a.len(), |inputs_of| {
            with_scratch(b.len(), |gradients| unsafe {
                for (index, part) in split(tiles.len(), count).enumerate() {
                    for (place, tile) in part.clone().enumerate() {
                        let [image, row, column] = at.at(tiles.start + tile);
                        let tile = [row, column];
                        S::enter(TransformInput {
                            window: Window::new(
                                input.skip_channels(channels.start),
                                image,
                                problem.source,
                                tile,
                                problem.padding,
                            ),
                            depth: channels.len(),
                            to: inputs_of.as_mut_ptr().add(place * a.tile),
                            point: a.point,
                        });
                        S::enter(TransformGradient {
                            window: Window::of(
                                gradient.skip_channels(first),
                                image,
                                problem.target,
                                tile,
                                [0, 0],
                                TILE,
                            ),
                            depth: chunk,
                            to: gradients.as_mut_ptr().add(place * b.tile),
                            point: b.point,
                        });
                    }
                    let runs = [Run { a: 0, b: 0, length: part.len() }];
                    for point in 0..ALL_POINTS {
                        for panel in panels.clone() {
                            let panel = self.panels.get(panel);
                            let most = outer_rows::<S>(panel.vectors);
                            for rows in split(channels.len(), channels.len().div_ceil(most)) {
                                let row = point * inputs + channels.start + rows.start;
                                enter_tile!(
                                    S,
                                    rows.len(),
                                    panel.vectors,
                                    Outer {
                                        runs: &runs,
                                        a: inputs_of.as_ptr().add(point * a.point + rows.start),
                                        a_step: a.tile,
                                        b: gradients
                                            .as_ptr()
                                            .add(point * b.point + panel.first - first),
                                        b_step: b.tile,
                                        output: sums.add(row * columns + panel.first),
                                        output_stride: columns,
                                        add: index > 0,
                                    }
                                );
                            }
                        }
                    }
                }
            });
        });
    }
}

impl fmt::Display for WeightPlan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} tasks, {}", self.tasks(), self.isa)
    }
}

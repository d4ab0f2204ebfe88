//! The output of a convolution, and the gradient of its input.

use std::{fmt, mem::MaybeUninit, ops::Range};

use rayon::prelude::*;

use super::{
    tiles::{
        ALL_POINTS, BUDGET, FEWEST, GROUP, Problem, STEP, TASK, TASKS, TILE, Transformed, Window,
    },
    transforms::{TransformInput, TransformOutput, TransformWeights},
};
use crate::cpu::{
    gather::{Finished, Source, split},
    panels::Panels,
    scratch::{Shared, with_scratch},
    simd::{Isa, Simd, rows, with_isa},
    tile::{Dot, Finish, Segment, enter_tile},
};

/// The length of the transformed weights, in values.
pub fn weights_len(panels: Panels, depth: usize) -> usize {
    ALL_POINTS * panels.len(depth)
}

/// Transforms packed weights of nine taps.
pub fn transform_weights(packed: &[f32], depth: usize, panels: Panels, isa: Isa, to: &mut [f32]) {
    assert!(packed.len() >= panels.len(9 * depth) && to.len() >= weights_len(panels, depth));
    let point = panels.len(depth);
    let to = Shared::new(to);
    let blocks = depth.div_ceil(16);
    (0..panels.count() * blocks).into_par_iter().for_each(|task| {
        let (index, block) = (task / blocks, task % blocks);
        let width = panels.get(index).vectors * isa.lanes();
        let from = panels.start(index, 9 * depth);
        let start = panels.start(index, depth);
        let rows = block * 16..((block + 1) * 16).min(depth);
        // SAFETY: a task reads and writes the rows of its own block, in its panel; the processor
        // has the instructions of `isa`.
        unsafe {
            with_isa!(isa, S => S::enter(TransformWeights {
                from: packed.as_ptr().add(from + rows.start * width),
                tap: depth * width,
                to: to.at(start + rows.start * width),
                point,
                length: rows.len() * width,
            }));
        }
    });
}

/// How a problem is divided into tasks: by its shape, never by the number of threads.
#[derive(Clone, Debug)]
pub struct Plan {
    problem: Problem,
    panels: Panels,
    isa: Isa,
    groups: usize,
    chunks: usize,
}

impl Plan {
    /// Creates the plan for a problem.
    pub fn new(problem: Problem, isa: Isa) -> Self {
        let isa = isa.for_row(problem.columns);
        let panels = Panels::new(problem.columns, isa);
        let tiles = problem.tiles().total;
        let group = BUDGET / (ALL_POINTS * (problem.depth + problem.columns));
        let group = (group / STEP * STEP).clamp(GROUP.start, GROUP.end);
        let groups = tiles.div_ceil(group).max(1);
        let work = ALL_POINTS * tiles * problem.depth * problem.columns;
        let wanted = (work / TASK).clamp(1, TASKS);
        let chunks = wanted.div_ceil(groups).clamp(1, panels.count());
        // Smaller groups for one small image, if there are not enough panels.
        let groups = wanted.div_ceil(chunks).clamp(groups, tiles.div_ceil(FEWEST).max(groups));
        Self { problem, panels, isa, groups, chunks }
    }

    /// The number of tasks.
    pub fn tasks(&self) -> usize {
        self.groups * self.chunks
    }

    /// How the weights are packed, and for which instructions.
    pub fn panels(&self) -> (Panels, Isa) {
        (self.panels, self.isa)
    }

    /// Computes the result. It writes every value of `target`, `[batch, height, width, columns]`.
    ///
    /// # Panics
    ///
    /// If a slice is too short, or the source's channels are not adjacent in memory.
    pub fn run(
        &self,
        source: Source,
        weights: &[f32],
        target: &mut [MaybeUninit<f32>],
        finish: Finished,
    ) {
        let Problem { batch, depth, columns, source: [height, width], target: size, .. } =
            self.problem;
        assert_eq!(target.len(), batch * size[0] * size[1] * columns, "wrong length of `target`");
        assert!(weights.len() >= weights_len(self.panels, depth), "`weights` is too short");
        source.assert_channels_last([batch, depth, height, width]);
        finish.assert_fits(self.panels, target.len());
        let target = Shared::uninit(target);
        let tiles = self.problem.tiles();
        (0..self.tasks()).into_par_iter().with_max_len(1).for_each(|task| {
            let (group, chunk) = (task / self.chunks, task % self.chunks);
            let group = split(tiles.total, self.groups).nth(group).unwrap_or(0..0);
            let panels = split(self.panels.count(), self.chunks).nth(chunk).unwrap_or(0..0);
            // SAFETY: the processor has the instructions of `isa`; the slices are long enough, as
            // checked above; no other task has the same tiles and panels.
            unsafe {
                with_isa!(self.isa, S => self.task::<S>(group, panels, source, weights, target, finish));
            }
        });
    }

    /// # Safety
    ///
    /// As [`run`](Self::run) ensures.
    unsafe fn task<S: Simd>(
        &self,
        group: Range<usize>,
        panels: Range<usize>,
        source: Source,
        weights: &[f32],
        target: Shared,
        finish: Finished,
    ) {
        let Problem { depth, columns, source: size, target: target_size, padding, .. } =
            self.problem;
        let tiles = self.problem.tiles();
        let first = self.panels.get(panels.start).first;
        let last = self.panels.get(panels.end - 1);
        let chunk = last.first + last.columns - first;
        let from = Transformed::new::<S>(depth, group.len());
        let to = Transformed::new::<S>(chunk, group.len());
        with_scratch(from.len(), |inputs| {
            with_scratch(to.len(), |products| unsafe {
                for (index, tile) in group.clone().enumerate() {
                    let [image, row, column] = tiles.at(tile);
                    S::enter(TransformInput {
                        window: Window::new(source, image, size, [row, column], padding),
                        depth,
                        to: inputs.as_mut_ptr().add(index * from.tile),
                        point: from.point,
                    });
                }
                let weights_of_point = self.panels.len(depth);
                for point in 0..ALL_POINTS {
                    for index in panels.clone() {
                        let panel = self.panels.get(index);
                        let most = rows::<S>(panel.vectors);
                        let b = weights.as_ptr();
                        let b = b.add(point * weights_of_point + self.panels.start(index, depth));
                        for rows in split(group.len(), group.len().div_ceil(most)) {
                            let a =
                                inputs.as_ptr().add(point * from.point + rows.start * from.tile);
                            let at = point * to.point + rows.start * to.tile + panel.first - first;
                            enter_tile!(
                                S,
                                rows.len(),
                                panel.vectors,
                                Dot {
                                    segments: &[Segment { a: 0, b: 0, k: depth }],
                                    a,
                                    a_stride: from.tile,
                                    b,
                                    output: products.as_mut_ptr().add(at),
                                    output_stride: to.tile,
                                    columns: panel.columns,
                                    finish: Finish::NONE,
                                }
                            );
                        }
                    }
                }
                let offset = |values: Option<&[f32]>, at: usize| {
                    values.map_or(std::ptr::null(), |values| values.as_ptr().add(at))
                };
                for (index, tile) in group.clone().enumerate() {
                    let [image, row, column] = tiles.at(tile);
                    let [height, width] = target_size;
                    let at = (image * height + row * TILE) * width + column * TILE;
                    let at = at * columns + first;
                    S::enter(TransformOutput {
                        from: products.as_ptr().add(index * to.tile),
                        point: to.point,
                        columns: chunk,
                        to: target.at(at),
                        size: [(height - row * TILE).min(TILE), (width - column * TILE).min(TILE)],
                        strides: [width * columns, columns],
                        finish: Finish {
                            bias: offset(finish.bias, first),
                            residual: offset(finish.residual, at),
                            relu: finish.relu,
                        },
                    });
                }
            });
        });
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} tasks, {}", self.tasks(), self.isa)
    }
}

//! How the sums are divided into tasks.

use std::{fmt, ops::Range};

use crate::cpu::{
    gather::split,
    geometry::{Axis, Geometry},
    panels::Panels,
    simd::Isa,
};

/// Up to this many input channels, the rows of a tile are a line of the window.
pub const FEW: usize = 4;

/// Values of a piece: a quarter of a megabyte.
const PIECE: usize = 1 << 16;

/// The fewest multiplications that justify a task, and the number of tasks that is enough.
const TASK: usize = 1 << 19;
const TASKS: usize = 32;

/// A part of the images.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) images: Range<usize>,
    pub(super) rows: Range<usize>,
}

/// How the sums are divided into tasks: by shape, never by the number of threads.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) geometry: Geometry,
    pub(super) axes: [Axis; 2],
    pub(super) isa: Isa,
    pub(super) panels: Panels,
    /// Whether the rows of a tile are a line of the window.
    pub(super) lines: bool,
    pub(super) pieces: Vec<Piece>,
    pub(super) splits: usize,
    /// Input channels of each task.
    pub(super) inputs: Vec<Range<usize>>,
    /// Panels of output channels of each task.
    pub(super) outputs: Vec<Range<usize>>,
}

/// Divides a sum `[inputs x outputs]` over positions, for each of `places`, into tasks. Returns the
/// numbers of splits of the images, the inputs and the panels of outputs with the lowest total cost
/// of packing, which costs `packing` per value, and of adding partial sums.
pub fn blocks(
    [inputs, outputs]: [usize; 2],
    panels: usize,
    positions: usize,
    [places, packing]: [usize; 2],
    most_splits: usize,
) -> [usize; 3] {
    let work = positions * inputs * outputs * places;
    let wanted = (work / TASK).clamp(1, TASKS);
    let powers =
        |most: usize| (0..8).map(|power| 1usize << power).take_while(move |n| *n <= most.max(1));
    let mut best = (usize::MAX, [1, 1, 1]);
    for splits in powers(most_splits) {
        for across in powers(inputs / 16) {
            for down in powers(panels) {
                let tasks = splits * across * down;
                let packed = packing * positions * (inputs * down + outputs * across);
                let summed = if splits == 1 { 1 } else { 2 * splits } * places * inputs * outputs;
                let cost = packed + summed;
                if tasks >= wanted && cost < best.0 {
                    best = (cost, [splits, across, down]);
                }
            }
        }
    }
    if best.0 == usize::MAX {
        // As many tasks as possible.
        let last = |most: usize| powers(most).last().unwrap_or(1);
        return [last(most_splits), last(inputs / 16), last(panels)];
    }
    best.1
}

impl Plan {
    /// Creates the plan for a convolution.
    pub fn new(geometry: &Geometry, isa: Isa) -> Self {
        let isa = isa.for_row(geometry.outputs);
        let panels = Panels::new(geometry.outputs, isa);
        let axes = geometry.forward();
        let lines = geometry.inputs <= FEW && geometry.kernel[1] > 1;
        let [height, width] = geometry.output;
        let lines_of_batch = geometry.batch * height;
        let [splits, across, down] = blocks(
            [if lines { 1 } else { geometry.inputs }, geometry.outputs],
            panels.count(),
            lines_of_batch * width,
            [geometry.taps() * if lines { geometry.inputs } else { 1 }, 1],
            lines_of_batch,
        );
        // Values of a line for the channels of a task.
        let line = geometry.outputs.div_ceil(down) * width
            + geometry.inputs.div_ceil(across) * geometry.size[1] * geometry.stride[0];
        let rows = (PIECE / line.max(1)).clamp(1, (lines_of_batch / splits).max(1));
        let bands = height.div_ceil(rows);
        let images = if bands == 1 { (rows / height.max(1)).max(1) } else { 1 };
        let groups = geometry.batch.div_ceil(images);
        let pieces: Vec<_> = split(geometry.batch, groups)
            .flat_map(|images| {
                split(height, bands).map(move |rows| Piece { images: images.clone(), rows })
            })
            .collect();
        let splits = splits.min(pieces.len());
        Self {
            axes,
            isa,
            panels,
            lines,
            splits,
            inputs: split(geometry.inputs, across).collect(),
            outputs: split(panels.count(), down).collect(),
            pieces,
            geometry: *geometry,
        }
    }

    /// The number of tasks.
    pub fn tasks(&self) -> usize {
        self.splits * self.inputs.len() * self.outputs.len()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let rows = if self.lines { "window lines" } else { "channels" };
        write!(f, "{rows}, {} tasks, {}", self.tasks(), self.isa)
    }
}

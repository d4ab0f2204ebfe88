//! The weights in the order in which tiles read them.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    scratch::Shared,
    simd::{Isa, Kernel, Simd, with_isa},
};

/// Weights in their original layout `[n][k][tap]`, with the stride of each axis.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    pub values: &'a [f32],
    /// Stride of the channels that are computed: outputs, or inputs for their gradient.
    pub n: usize,
    /// Stride of the channels that are summed over.
    pub k: usize,
    /// Stride of the positions in the window.
    pub tap: usize,
}

/// Which columns a panel has.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    /// The first column.
    pub first: usize,
    /// The number of columns; the other lanes of the vectors are zero.
    pub columns: usize,
    /// Vectors in a row: 1 or 2.
    pub vectors: usize,
}

/// How the columns of a matrix are divided into panels.
#[derive(Clone, Copy, Debug)]
pub struct Panels {
    columns: usize,
    width: usize,
    lanes: usize,
    isa: Isa,
}

impl Panels {
    /// Divides this number of columns.
    pub fn new(columns: usize, isa: Isa) -> Self {
        let lanes = isa.lanes();
        Self { columns, width: if columns <= lanes { lanes } else { 2 * lanes }, lanes, isa }
    }

    /// The number of panels.
    pub fn count(&self) -> usize {
        self.columns.div_ceil(self.width)
    }

    /// One panel.
    pub fn get(&self, index: usize) -> Panel {
        let first = index * self.width;
        let columns = (self.columns - first).min(self.width);
        Panel { first, columns, vectors: columns.div_ceil(self.lanes) }
    }

    /// The number of columns, rounded up to whole vectors.
    pub fn padded(&self) -> usize {
        self.columns.next_multiple_of(self.lanes)
    }

    /// The length of all panels together, in values, with `rows` rows each.
    pub fn len(&self, rows: usize) -> usize {
        rows * self.padded()
    }

    /// Where a panel begins, with `rows` rows each.
    pub fn start(&self, index: usize, rows: usize) -> usize {
        index * self.width * rows
    }
}

/// Rows that a task packs.
const BLOCK: usize = 32;

/// Packs weights. Each panel has first the rows of the first tap, one for each of `depth` values
/// that are summed over, then the rows of the second tap, and so on.
///
/// # Panics
///
/// If a slice is too short.
pub fn pack(weights: Weights, taps: &[usize], depth: usize, panels: Panels, packed: &mut [f32]) {
    let rows = taps.len() * depth;
    assert!(packed.len() >= panels.len(rows), "`packed` is too short for the panels");
    if rows * panels.columns == 0 {
        return;
    }
    let last = (panels.columns - 1) * weights.n
        + (depth - 1) * weights.k
        + taps.iter().max().map_or(0, |tap| tap * weights.tap);
    assert!(last < weights.values.len(), "the slice of weights is too short");
    let blocks = depth.div_ceil(BLOCK);
    let packed = Shared::new(packed);
    (0..panels.count() * blocks).into_par_iter().for_each(|task| {
        let (panel, block) = (task / blocks, task % blocks);
        let start = panels.start(panel, rows);
        let Panel { first, columns, vectors } = panels.get(panel);
        // SAFETY: a task writes the rows of its block, in its panel, which are within `packed`; the
        // weights that it reads are within `weights`; the processor has the instructions of `isa`.
        unsafe {
            with_isa!(panels.isa, S => S::enter(Pack {
                from: weights.values.as_ptr().add(first * weights.n),
                weights,
                taps,
                depth,
                block: block * BLOCK..((block + 1) * BLOCK).min(depth),
                columns,
                width: vectors * panels.lanes,
                to: packed.at(start),
            }));
        }
    });
}

/// Packs a block of rows of a panel.
///
/// # Safety
///
/// All weights of the block exist, and the panel has space for them.
struct Pack<'a> {
    from: *const f32,
    weights: Weights<'a>,
    taps: &'a [usize],
    depth: usize,
    block: Range<usize>,
    columns: usize,
    width: usize,
    to: *mut f32,
}

impl Pack<'_> {
    #[inline(always)]
    unsafe fn from(&self, column: usize, row: usize, tap: usize) -> *const f32 {
        let Weights { n, k, tap: step, .. } = self.weights;
        unsafe { self.from.add(column * n + row * k + tap * step) }
    }

    #[inline(always)]
    unsafe fn to(&self, column: usize, row: usize, place: usize) -> *mut f32 {
        unsafe { self.to.add((place * self.depth + row) * self.width + column) }
    }

    /// Packs up to eight columns of `count` pairs of a row and a tap that are adjacent in memory.
    /// Each call of `target` returns where to write the first column of the next pair.
    #[inline(always)]
    unsafe fn pairs<S: Simd>(
        &self,
        columns: Range<usize>,
        count: usize,
        source: *const f32,
        mut target: impl FnMut() -> *mut f32,
    ) {
        unsafe {
            let mut done = 0;
            if columns.len() == 8 {
                while done + 8 <= count {
                    let mut from = [source; 8];
                    let mut to = [self.to; 8];
                    for i in 0..8 {
                        from[i] = source.add(i * self.weights.n + done);
                        to[i] = target();
                    }
                    S::transpose(from, to);
                    done += 8;
                }
            }
            for pair in done..count {
                let to = target();
                for column in 0..columns.len() {
                    *to.add(column) = *source.add(column * self.weights.n + pair);
                }
            }
        }
    }
}

impl Kernel for Pack<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Weights { n, k, tap: step, .. } = self.weights;
        let taps = self.taps.len();
        // Whether the taps are in the order of memory, or in reverse.
        let forth = (0..taps).all(|place| self.taps[place] == place) && step == 1;
        let back = (0..taps).all(|place| self.taps[place] == taps - 1 - place) && step == 1;
        unsafe {
            if n == 1 {
                for row in self.block.clone() {
                    for (place, &tap) in self.taps.iter().enumerate() {
                        let from = self.from(0, row, tap);
                        self.to(0, row, place).copy_from_nonoverlapping(from, self.columns);
                    }
                }
            } else if (forth || back) && (k == taps || n == taps) {
                for first in (0..self.columns).step_by(8) {
                    let columns = first..(first + 8).min(self.columns);
                    let place = |tap: usize| if forth { tap } else { taps - 1 - tap };
                    if k == taps {
                        // All pairs of a row and a tap of the block are adjacent.
                        let start = self.block.start;
                        let source = self.from(first, start, 0);
                        let (mut row, mut tap) = (start, 0);
                        self.pairs::<S>(columns, self.block.len() * taps, source, || {
                            let to = self.to(first, row, place(tap));
                            tap += 1;
                            if tap == taps {
                                (row, tap) = (row + 1, 0);
                            }
                            to
                        });
                    } else {
                        for row in self.block.clone() {
                            let source = self.from(first, row, 0);
                            let mut tap = 0;
                            self.pairs::<S>(columns.clone(), taps, source, || {
                                tap += 1;
                                self.to(first, row, place(tap - 1))
                            });
                        }
                    }
                }
            } else {
                for row in self.block.clone() {
                    for column in 0..self.columns {
                        for (place, &tap) in self.taps.iter().enumerate() {
                            *self.to(column, row, place) = *self.from(column, row, tap);
                        }
                    }
                }
            }
            for row in self.block.clone() {
                for place in 0..taps {
                    for column in self.columns..self.width {
                        *self.to(column, row, place) = 0.0;
                    }
                }
            }
        }
    }
}

/// Values per output channel, with zeros up to the end of the last vector.
pub fn pad(values: &[f32], panels: Panels) -> Vec<f32> {
    let mut padded = values.to_vec();
    padded.resize(panels.padded(), 0.0);
    padded
}

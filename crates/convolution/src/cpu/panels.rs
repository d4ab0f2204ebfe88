//! The weights in the order in which tiles read them.

use rayon::prelude::*;

use super::{
    scratch::Shared,
    simd::{Isa, Simd, with_isa},
};

/// Weights where they lie: `[n][k][tap]`, with the distance from one to the next in each axis.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    pub values: &'a [f32],
    /// Of what is computed: outputs, or inputs for their gradient.
    pub n: usize,
    /// Of what is summed over.
    pub k: usize,
    /// Of the places of the window.
    pub tap: usize,
}

/// Which columns a panel has.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    /// The first.
    pub first: usize,
    /// How many there are; the vectors' other lanes are zero.
    pub columns: usize,
    /// Vectors in a row: 1 or 2.
    pub vectors: usize,
}

/// How the columns of a matrix are cut into panels.
#[derive(Clone, Copy, Debug)]
pub struct Panels {
    columns: usize,
    width: usize,
    lanes: usize,
}

impl Panels {
    /// For so many columns.
    pub fn new(columns: usize, isa: Isa) -> Self {
        let lanes = isa.lanes();
        Self { columns, width: if columns <= lanes { lanes } else { 2 * lanes }, lanes }
    }

    /// How many panels.
    pub fn count(&self) -> usize {
        self.columns.div_ceil(self.width)
    }

    /// One of them.
    pub fn get(&self, index: usize) -> Panel {
        let first = index * self.width;
        let columns = (self.columns - first).min(self.width);
        Panel { first, columns, vectors: columns.div_ceil(self.lanes) }
    }

    /// Columns with those that fill up the last vector.
    pub fn padded(&self) -> usize {
        self.columns.next_multiple_of(self.lanes)
    }

    /// Values of all panels, of so many rows.
    pub fn len(&self, rows: usize) -> usize {
        rows * self.padded()
    }

    /// Where a panel of so many rows begins.
    pub fn start(&self, index: usize, rows: usize) -> usize {
        index * self.width * rows
    }
}

/// Rows that a task packs.
const BLOCK: usize = 32;

/// Packs weights: of each panel first the rows of the first tap, one for each of `depth` values that
/// are summed over, then those of the second.
pub fn pack(weights: Weights, taps: &[usize], depth: usize, panels: Panels, packed: &mut [f32]) {
    let rows = taps.len() * depth;
    assert!(packed.len() >= panels.len(rows), "the panels have a place");
    let blocks = depth.div_ceil(BLOCK);
    let packed = Shared::new(packed);
    (0..panels.count() * blocks).into_par_iter().for_each(|task| {
        let (panel, block) = (task / blocks, task % blocks);
        let start = panels.start(panel, rows);
        let Panel { first, columns, vectors } = panels.get(panel);
        let width = vectors * panels.lanes;
        let block = block * BLOCK..((block + 1) * BLOCK).min(depth);
        let source = |column: usize, row: usize| (first + column) * weights.n + row * weights.k;
        // SAFETY: a task writes the rows of its block, in its panel, which `packed` has.
        let write = |column: usize, row: usize, tap: usize, value: f32| unsafe {
            *packed.at(start + (tap * depth + row) * width + column) = value;
        };
        let copy = |column: usize, row: usize| {
            let source = &weights.values[source(column, row)..];
            for (place, &tap) in taps.iter().enumerate() {
                write(column, row, place, source[tap * weights.tap]);
            }
        };
        // The order in which the weights lie.
        if weights.n == 1 {
            for row in block.clone() {
                for (place, &tap) in taps.iter().enumerate() {
                    let source = &weights.values[source(0, row) + tap * weights.tap..][..columns];
                    // SAFETY: as above.
                    let row = unsafe {
                        let row = packed.at(start + (place * depth + row) * width);
                        std::slice::from_raw_parts_mut(row, columns)
                    };
                    row.copy_from_slice(source);
                }
            }
        } else if weights.n < weights.k {
            for row in block.clone() {
                (0..columns).for_each(|column| copy(column, row));
            }
        } else {
            for column in 0..columns {
                block.clone().for_each(|row| copy(column, row));
            }
        }
        for row in block {
            for place in 0..taps.len() {
                (columns..width).for_each(|column| write(column, row, place, 0.0));
            }
        }
    });
}

/// Values per output channel, with zeros up to the end of the last vector.
pub fn pad(values: &[f32], panels: Panels) -> Vec<f32> {
    let mut padded = values.to_vec();
    padded.resize(panels.padded(), 0.0);
    padded
}

impl Isa {
    /// Rows of a tile so many vectors wide.
    pub fn rows(self, vectors: usize) -> usize {
        with_isa!(self, S => if vectors == 1 { S::NARROW_ROWS } else { S::ROWS })
    }
}

//! The two innermost loops: a tile of the result stays in registers until its sum is complete.
//!
//! Both multiply one value, broadcast to a vector, with a vector of neighboring output channels.
//! They sum over different axes: [`Dot`] over the channels (and the window) of a few positions, for
//! the output and the gradient of the input; [`Outer`] over positions, for the gradient of the
//! weights.

#![expect(clippy::needless_range_loop, reason = "a loop over registers names them by number")]

use super::simd::{Kernel, Simd};

/// A contiguous part of the sum of a tile.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// The offset of its first value from the start of the tile's first row.
    pub a: usize,
    /// Its first row in the panel of weights.
    pub b: usize,
    /// The number of values.
    pub k: usize,
}

/// The epilogue of a tile.
#[derive(Clone, Copy)]
pub struct Finish {
    /// Added to every row, one value per column of all vectors; none if null.
    pub bias: *const f32,
    /// Added to the tile, in the layout of the output; none if null.
    pub residual: *const f32,
    /// Whether ReLU is applied last.
    pub relu: bool,
}

/// A tile of `MR` rows and `NV` vectors of columns:
/// `output[r][..] = sum of a[r * a_stride + segment.a + i] * b[segment.b + i][..]`.
///
/// # Safety
///
/// All rows of all segments are in one allocation after `a`, `b` has a row of `NV` vectors for each
/// value, `output` (and the residual) have `MR` rows of `columns` values, which nothing else uses.
pub struct Dot<'a, const MR: usize, const NV: usize> {
    pub segments: &'a [Segment],
    pub a: *const f32,
    pub a_stride: usize,
    pub b: *const f32,
    pub output: *mut f32,
    pub output_stride: usize,
    /// At most `NV` vectors, and more than `NV - 1`.
    pub columns: usize,
    pub finish: Finish,
}

impl<const MR: usize, const NV: usize> Kernel for Dot<'_, MR, NV> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe {
            let mut sums = [[S::splat(0.0); NV]; MR];
            for segment in self.segments {
                let mut a = self.a.add(segment.a);
                let mut b = self.b.add(segment.b * NV * S::LANES);
                for _ in 0..segment.k {
                    let mut weights = [S::splat(0.0); NV];
                    for j in 0..NV {
                        weights[j] = S::load(b.add(j * S::LANES));
                    }
                    for r in 0..MR {
                        let value = S::splat(*a.add(r * self.a_stride));
                        for j in 0..NV {
                            sums[r][j] = S::mul_add(value, weights[j], sums[r][j]);
                        }
                    }
                    a = a.add(1);
                    b = b.add(NV * S::LANES);
                }
            }
            let last = self.columns - (NV - 1) * S::LANES;
            // The bodies are so small that the compiler unrolls both loops and keeps the sums in
            // registers.
            if last == S::LANES {
                for r in 0..MR {
                    for j in 0..NV {
                        S::store(
                            self.output.add(r * self.output_stride + j * S::LANES),
                            sums[r][j],
                        );
                    }
                }
            } else {
                for r in 0..MR {
                    let output = self.output.add(r * self.output_stride);
                    for j in 0..NV - 1 {
                        S::store(output.add(j * S::LANES), sums[r][j]);
                    }
                    S::store_first(output.add((NV - 1) * S::LANES), sums[r][NV - 1], last);
                }
            }
            if self.finish.is_needed() {
                for r in 0..MR {
                    self.finish.run::<S>(self.output, r * self.output_stride, self.columns);
                }
            }
        }
    }
}

impl Finish {
    /// No epilogue.
    pub const NONE: Self = Self { bias: std::ptr::null(), residual: std::ptr::null(), relu: false };

    fn is_needed(&self) -> bool {
        !self.bias.is_null() || !self.residual.is_null() || self.relu
    }

    /// Applies the epilogue to a row, which was just written and is in the cache.
    ///
    /// # Safety
    ///
    /// The row, the bias and the residual have `columns` values.
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, output: *mut f32, row: usize, columns: usize) {
        unsafe {
            let mut column = 0;
            while column < columns {
                let lanes = (columns - column).min(S::LANES);
                let mut value = S::load_first(output.add(row + column), lanes);
                if !self.bias.is_null() {
                    value = S::add(value, S::load_first(self.bias.add(column), lanes));
                }
                if !self.residual.is_null() {
                    value = S::add(value, S::load_first(self.residual.add(row + column), lanes));
                }
                if self.relu {
                    value = S::relu(value);
                }
                S::store_first(output.add(row + column), value, lanes);
                column += S::LANES;
            }
        }
    }
}

/// Consecutive positions.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The offset in `a` of the first position's values.
    pub a: usize,
    /// The first position in `b`.
    pub b: usize,
    /// The number of positions.
    pub length: usize,
}

/// A tile of `MR` rows and `NV` vectors of columns, over positions `p`:
/// `output[r][..] (+)= sum of a[p * a_step + r] * b[p * b_step + ..]`.
///
/// # Safety
///
/// For all positions of all runs, `a` has `MR` values and `b` has `NV` vectors; `output` has `MR`
/// rows of `NV` vectors, which nothing else uses and which are initialized if they are added to.
pub struct Outer<'a, const MR: usize, const NV: usize> {
    pub runs: &'a [Run],
    pub a: *const f32,
    pub a_step: usize,
    pub b: *const f32,
    pub b_step: usize,
    pub output: *mut f32,
    pub output_stride: usize,
    /// Whether to add to the output.
    pub add: bool,
}

impl<const MR: usize, const NV: usize> Kernel for Outer<'_, MR, NV> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe {
            let mut sums = [[S::splat(0.0); NV]; MR];
            for run in self.runs {
                let mut a = self.a.add(run.a);
                let mut b = self.b.add(run.b * self.b_step);
                for _ in 0..run.length {
                    let mut gradients = [S::splat(0.0); NV];
                    for j in 0..NV {
                        gradients[j] = S::load(b.add(j * S::LANES));
                    }
                    for r in 0..MR {
                        let value = S::splat(*a.add(r));
                        for j in 0..NV {
                            sums[r][j] = S::mul_add(value, gradients[j], sums[r][j]);
                        }
                    }
                    a = a.add(self.a_step);
                    b = b.add(self.b_step);
                }
            }
            for r in 0..MR {
                for j in 0..NV {
                    let output = self.output.add(r * self.output_stride + j * S::LANES);
                    let sum =
                        if self.add { S::add(S::load(output), sums[r][j]) } else { sums[r][j] };
                    S::store(output, sum);
                }
            }
        }
    }
}

/// Runs the kernel `$tile::<MR, NV> { fields }`, whose numbers of rows `MR` and of vectors `NV` are known
/// only at run time.
macro_rules! enter_tile {
    ($simd:ty, $rows:expr, $vectors:expr, $tile:ident { $($field:tt)* }) => {
        enter_tile!(@match $simd, $rows, $vectors, $tile, { $($field)* },
            1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    };
    (@match $simd:ty, $rows:expr, $vectors:expr, $tile:ident, $fields:tt, $($mr:literal)*) => {
        match ($rows, $vectors) {
            $(
                ($mr, 1) if $mr <= <$simd>::NARROW_ROWS => {
                    enter_tile!(@enter $simd, $tile, $mr, 1, $fields)
                }
                ($mr, 2) if $mr <= <$simd>::ROWS => {
                    enter_tile!(@enter $simd, $tile, $mr, 2, $fields)
                }
            )*
            (rows, vectors) => unreachable!("no tile has {rows} rows of {vectors} vectors"),
        }
    };
    (@enter $simd:ty, $tile:ident, $mr:literal, $nv:literal, { $($field:tt)* }) => {
        <$simd>::enter($tile::<$mr, $nv> { $($field)* })
    };
}
pub(crate) use enter_tile;

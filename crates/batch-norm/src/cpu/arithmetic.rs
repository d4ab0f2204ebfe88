//! The arithmetic of one strip or one row: loops over slices of equal length.
//!
//! They are plain Rust that the compiler vectorizes. The functions that call them are compiled
//! twice, for the baseline and for AVX2, which is used if the processor has it. Neither version
//! fuses a multiplication and an addition into one rounding, so both give the same bits.

use std::{mem::MaybeUninit, ops::Range};

use super::element::{Real, Storage};

/// Partial sums of a strip: as many as the values in two AVX2 vectors of f32.
pub const LANES: usize = 16;

/// The partial sums of a strip, one per lane.
pub type Lanes<A> = [A; LANES];

/// The sum of all lanes.
#[inline(always)]
pub fn total<A: Real>(lanes: Lanes<A>) -> f64 {
    lanes.into_iter().map(Into::<f64>::into).sum()
}

/// `y = (x - mean) * scale + shift`, of one channel.
#[derive(Clone, Copy)]
pub struct Affine<A> {
    pub mean: A,
    pub scale: A,
    pub shift: A,
}

/// `dx = g * scale + (x - mean) * slope + offset`, of one channel.
#[derive(Clone, Copy)]
pub struct Slope<A> {
    pub slope: A,
    pub offset: A,
}

/// [`Affine`] of every column of a table.
pub struct Affines<A> {
    pub mean: Vec<A>,
    pub scale: Vec<A>,
    pub shift: Vec<A>,
}

/// [`Slope`] of every column of a table.
pub struct Slopes<A> {
    pub slope: Vec<A>,
    pub offset: Vec<A>,
}

/// `y` after the epilogue. The comparison keeps NaN.
#[inline(always)]
fn finish<A: Real, const RELU: bool, const ADD: bool>(y: A, residual: A) -> A {
    let y = if ADD { y + residual } else { y };
    if RELU && y < A::ZERO { A::ZERO } else { y }
}

/// The gradient of the epilogue's input, given the gradient of its output and the input itself.
/// Where the input of ReLU is NaN, the gradient passes, as in Burn's ReLU.
#[inline(always)]
fn unfinish<A: Real, const RELU: bool, const ADD: bool>(y: A, residual: A, gradient: A) -> A {
    let y = if ADD { y + residual } else { y };
    if RELU && y <= A::ZERO { A::ZERO } else { gradient }
}

/// Adds a strip to the sums of its values.
#[inline(always)]
pub fn add_strip<E: Storage>(x: &[E], sums: &mut Lanes<E::Sum>) {
    let mut total = *sums;
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for (total, x) in total.iter_mut().zip(block) {
            *total += x.widen();
        }
    }
    for (total, x) in total.iter_mut().zip(rest) {
        *total += x.widen();
    }
    *sums = total;
}

/// Adds a strip to the sums of its distances from the mean, and of their squares.
#[inline(always)]
pub fn add_squares<E: Storage>(
    x: &[E],
    mean: E::Sum,
    sums: &mut Lanes<E::Sum>,
    squares: &mut Lanes<E::Sum>,
) {
    let (mut total, mut total_squares) = (*sums, *squares);
    let mut add = |lane: usize, x: E| {
        let centred = x.widen() - mean;
        total[lane] += centred;
        total_squares[lane] += centred * centred;
    };
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for (lane, x) in block.iter().enumerate() {
            add(lane, *x);
        }
    }
    for (lane, x) in rest.iter().enumerate() {
        add(lane % LANES, *x);
    }
    (*sums, *squares) = (total, total_squares);
}

/// Adds a strip to the sums of its gradient, and of the gradient times the distance from the mean.
#[inline(always)]
pub fn add_gradients<E: Storage, const RELU: bool, const ADD: bool>(
    affine: Affine<E::Sum>,
    x: &[E],
    residual: &[E],
    gradient: &[E],
    sums: &mut Lanes<E::Sum>,
    products: &mut Lanes<E::Sum>,
) {
    let (mut total, mut total_products) = (*sums, *products);
    let mut add = |lane: usize, x: E, r: E, g: E| {
        let centred = x.widen() - affine.mean;
        let y = centred * affine.scale + affine.shift;
        let g = unfinish::<_, RELU, ADD>(y, r.widen(), g.widen());
        total[lane] += g;
        total_products[lane] += g * centred;
    };
    let (blocks, rest) = x.as_chunks::<LANES>();
    let (residuals, residual_rest) = residual.as_chunks::<LANES>();
    let (gradients, gradient_rest) = gradient.as_chunks::<LANES>();
    for ((x, r), g) in blocks.iter().zip(residuals).zip(gradients) {
        for lane in 0..LANES {
            add(lane, x[lane], r[lane], g[lane]);
        }
    }
    let rest = rest.iter().zip(residual_rest).zip(gradient_rest);
    for (lane, ((x, r), g)) in rest.enumerate() {
        add(lane % LANES, *x, *r, *g);
    }
    (*sums, *products) = (total, total_products);
}

/// The output of a strip.
#[inline(always)]
pub fn transform_strip<E: Storage, const RELU: bool, const ADD: bool>(
    affine: Affine<E::Sum>,
    x: &[E],
    residual: &[E],
    output: &mut [MaybeUninit<E>],
) {
    for ((output, x), r) in output.iter_mut().zip(x).zip(residual) {
        let y = (x.widen() - affine.mean) * affine.scale + affine.shift;
        output.write(E::narrow(finish::<_, RELU, ADD>(y, r.widen())));
    }
}

/// The gradient of a strip's residual, given the gradient of its output.
#[inline(always)]
pub fn residual_strip<E: Storage, const RELU: bool, const ADD: bool>(
    affine: Affine<E::Sum>,
    x: &[E],
    residual: &[E],
    gradient: &[E],
    output: &mut [MaybeUninit<E>],
) {
    for (((output, x), r), g) in output.iter_mut().zip(x).zip(residual).zip(gradient) {
        let y = (x.widen() - affine.mean) * affine.scale + affine.shift;
        output.write(E::narrow(unfinish::<_, RELU, ADD>(y, r.widen(), g.widen())));
    }
}

/// Replaces the gradient of a strip's output with the gradient of its input.
#[inline(always)]
pub fn backward_strip<E: Storage, const RELU: bool, const ADD: bool>(
    affine: Affine<E::Sum>,
    slope: Slope<E::Sum>,
    x: &[E],
    residual: &[E],
    gradient: &mut [E],
) {
    for ((gradient, x), r) in gradient.iter_mut().zip(x).zip(residual) {
        let centred = x.widen() - affine.mean;
        let y = centred * affine.scale + affine.shift;
        let g = unfinish::<_, RELU, ADD>(y, r.widen(), gradient.widen());
        *gradient = E::narrow(g * affine.scale + centred * slope.slope + slope.offset);
    }
}

/// Adds a row to every column's sum.
#[inline(always)]
pub fn add_row<E: Storage>(x: &[E], sums: &mut [E::Sum]) {
    for (sum, x) in sums.iter_mut().zip(x) {
        *sum += x.widen();
    }
}

/// Adds a row to every column's sum of distances from the mean, and of their squares.
#[inline(always)]
pub fn add_row_squares<E: Storage>(
    x: &[E],
    mean: &[E::Sum],
    sums: &mut [E::Sum],
    squares: &mut [E::Sum],
) {
    for (((x, mean), sum), square) in x.iter().zip(mean).zip(sums).zip(squares) {
        let centred = x.widen() - *mean;
        *sum += centred;
        *square += centred * centred;
    }
}

/// Adds a row to every column's sum of the gradient, and of the gradient times the distance from
/// the mean.
#[inline(always)]
pub fn add_row_gradients<E: Storage, const RELU: bool, const ADD: bool>(
    affines: &Affines<E::Sum>,
    columns: Range<usize>,
    x: &[E],
    residual: &[E],
    gradient: &[E],
    sums: &mut [E::Sum],
    products: &mut [E::Sum],
) {
    let values = x.iter().zip(residual).zip(gradient);
    let of = |values| -> &[E::Sum] { &Vec::as_slice(values)[columns.clone()] };
    let (mean, scale, shift) = (of(&affines.mean), of(&affines.scale), of(&affines.shift));
    let affines = mean.iter().zip(scale).zip(shift);
    for ((((x, r), g), ((mean, scale), shift)), (sum, product)) in
        values.zip(affines).zip(sums.iter_mut().zip(products))
    {
        let centred = x.widen() - *mean;
        let y = centred * *scale + *shift;
        let g = unfinish::<_, RELU, ADD>(y, r.widen(), g.widen());
        *sum += g;
        *product += g * centred;
    }
}

/// The output of a row.
#[inline(always)]
pub fn transform_row<E: Storage, const RELU: bool, const ADD: bool>(
    Affines { mean, scale, shift }: &Affines<E::Sum>,
    x: &[E],
    residual: &[E],
    output: &mut [MaybeUninit<E>],
) {
    let affines = mean.iter().zip(scale).zip(shift);
    for (((output, x), r), ((mean, scale), shift)) in
        output.iter_mut().zip(x).zip(residual).zip(affines)
    {
        let y = (x.widen() - *mean) * *scale + *shift;
        output.write(E::narrow(finish::<_, RELU, ADD>(y, r.widen())));
    }
}

/// The gradient of a row's residual, given the gradient of its output.
#[inline(always)]
pub fn residual_row<E: Storage, const RELU: bool, const ADD: bool>(
    Affines { mean, scale, shift }: &Affines<E::Sum>,
    x: &[E],
    residual: &[E],
    gradient: &[E],
    output: &mut [MaybeUninit<E>],
) {
    let affines = mean.iter().zip(scale).zip(shift);
    for ((((output, x), r), g), ((mean, scale), shift)) in
        output.iter_mut().zip(x).zip(residual).zip(gradient).zip(affines)
    {
        let y = (x.widen() - *mean) * *scale + *shift;
        output.write(E::narrow(unfinish::<_, RELU, ADD>(y, r.widen(), g.widen())));
    }
}

/// Replaces the gradient of a row's output with the gradient of its input.
#[inline(always)]
pub fn backward_row<E: Storage, const RELU: bool, const ADD: bool>(
    Affines { mean, scale, shift }: &Affines<E::Sum>,
    Slopes { slope, offset }: &Slopes<E::Sum>,
    x: &[E],
    residual: &[E],
    gradient: &mut [E],
) {
    let affines = mean.iter().zip(scale).zip(shift);
    for ((((gradient, x), r), ((mean, scale), shift)), (slope, offset)) in
        gradient.iter_mut().zip(x).zip(residual).zip(affines).zip(slope.iter().zip(offset))
    {
        let centred = x.widen() - *mean;
        let y = centred * *scale + *shift;
        let g = unfinish::<_, RELU, ADD>(y, r.widen(), gradient.widen());
        *gradient = E::narrow(g * *scale + centred * *slope + *offset);
    }
}

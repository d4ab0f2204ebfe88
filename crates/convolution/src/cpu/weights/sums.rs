//! Adds partial sums, and writes them in the layout of the weights.

use std::{mem::MaybeUninit, ops::Range};

use rayon::prelude::*;

use crate::cpu::{
    geometry::Geometry,
    scratch::{Shared, with_scratch},
    simd::{Isa, Kernel, Simd, with_isa},
};

/// The layout of a gradient of weights: the strides of `[output][input][tap]`.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub output: usize,
    pub input: usize,
    pub tap: usize,
}

impl Layout {
    /// The layout of the weights of a convolution.
    pub fn of(geometry: &Geometry) -> Self {
        Self { output: geometry.inputs * geometry.taps(), input: geometry.taps(), tap: 1 }
    }
}

/// Input channels whose sums a task adds.
const BLOCK: usize = 16;

/// Writes all sums in the layout of the weights. `fill` computes those of some inputs,
/// `[tap][input][output]`.
pub fn add_up(
    taps: usize,
    inputs: usize,
    outputs: usize,
    weights: &mut [MaybeUninit<f32>],
    layout: Layout,
    isa: Isa,
    fill: impl Fn(Range<usize>, &mut [f32]) + Sync,
) {
    let weights = Shared::uninit(weights);
    (0..inputs.div_ceil(BLOCK)).into_par_iter().for_each(|block| {
        let block = block * BLOCK..((block + 1) * BLOCK).min(inputs);
        with_scratch(block.len() * taps * outputs, |sums| {
            fill(block.clone(), sums);
            let row =
                |tap: usize, input: usize| (tap * block.len() + input - block.start) * outputs;
            let to = |output: usize, input: usize, tap: usize| {
                output * layout.output + input * layout.input + tap * layout.tap
            };
            // SAFETY: a task writes the weights of its own inputs; all are written once; the
            // processor has the instructions of `isa`.
            unsafe {
                if layout.output == 1 {
                    for (tap, input) in
                        (0..taps).flat_map(|tap| block.clone().map(move |input| (tap, input)))
                    {
                        let sums = sums[row(tap, input)..][..outputs].as_ptr();
                        weights.at(to(0, input, tap)).copy_from_nonoverlapping(sums, outputs);
                    }
                } else {
                    with_isa!(isa, S => S::enter(Unpack {
                        sums: sums.as_ptr(),
                        inputs: block.len(),
                        outputs,
                        taps,
                        to: weights.at(to(0, block.start, 0)),
                        layout,
                    }));
                }
            }
        });
    });
}

/// Copies sums `[tap][input][output]` to weights whose inputs and taps are adjacent.
///
/// # Safety
///
/// All sums and all weights exist.
struct Unpack {
    sums: *const f32,
    inputs: usize,
    outputs: usize,
    taps: usize,
    to: *mut f32,
    layout: Layout,
}

impl Kernel for Unpack {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { sums, inputs, outputs, taps, to, layout } = self;
        unsafe {
            // Pairs of an input and a tap, which are adjacent in the weights.
            let pairs = inputs * taps;
            for first in (0..outputs).step_by(8) {
                let columns = (outputs - first).min(8);
                let (mut input, mut tap, mut done) = (0, 0, 0);
                while done < pairs {
                    let count = (pairs - done).min(8);
                    let mut from = [sums; 8];
                    for from in &mut from[..count] {
                        *from = sums.add((tap * inputs + input) * outputs + first);
                        tap += 1;
                        if tap == taps {
                            (input, tap) = (input + 1, 0);
                        }
                    }
                    let at = to.add(first * layout.output + done);
                    if count == 8 && columns == 8 {
                        let mut to = [at; 8];
                        for (i, to) in to.iter_mut().enumerate() {
                            *to = at.add(i * layout.output);
                        }
                        S::transpose(from, to);
                    } else {
                        for (pair, from) in from[..count].iter().enumerate() {
                            for column in 0..columns {
                                *at.add(column * layout.output + pair) = *from.add(column);
                            }
                        }
                    }
                    done += count;
                }
            }
        }
    }
}

//! The GPU kernels: one source, which CubeCL compiles for Vulkan, Metal, WebGPU, CUDA or ROCm.
//!
//! | file | kernels |
//! |---|---|
//! | [`statistics`] | the mean and the variance of each channel, and the running ones |
//! | [`normalize`] | the forward pass, in training and in prediction |
//! | [`backward`] | the gradients |
//!
//! # Which kernel when
//!
//! Memory limits batch normalization, not arithmetic. So the cost of a pass is how often it reads
//! (r) and writes (w) the whole tensor, and, for small tensors, how many kernels it launches.
//!
//! | pass | one cube per channel | many cubes per channel |
//! |---|---|---|
//! | training, forward | r1 w1, 1 kernel | r2 w1, 3 kernels |
//! | with a residual | r2 w1 | r3 w1 |
//! | training, backward | r2 w1, 2 kernels | r4 w1, 4 kernels |
//! | with a residual and its gradient | r3 w2 | r5 w2 |
//! | prediction | r1 w1, 1 kernel | the same |
//! | with a residual | r2 w1 | the same |
//!
//! The first column is for channels whose values all fit into the fast memory that the units of a
//! cube (a workgroup, a thread block) share. The second is for all others. The mean must be known
//! before a value can be normalized, so the values are read twice. Each channel is split over many
//! cubes, so that a few channels with many values still keep the whole device busy.
//!
//! If the statistics are given, x's gradient needs no sums: r2 w1 in 2 kernels; the parameters'
//! gradients, if wanted too, add r2 and 2 kernels.
//!
//! WebGPU guarantees eight buffers per kernel, and wgpu uses one of them itself. So the tensors
//! `[channels]` share buffers, as rows: a forward pass returns four rows of one buffer, and a
//! backward pass first packs four tensors into one buffer. No kernel binds more than seven buffers,
//! except `normalize_at_once` with a residual, which binds eight; if that is too many, the other
//! kernels run instead.
//!
//! # Two layouts, one index
//!
//! A tensor is `[batch, channels, positions]`, or, from a convolution, channels last:
//! `[batch, positions, channels]`. Values are read up to four at a time, along the last axis in
//! memory. So each vector belongs to a *group*:
//!
//! - channels first: all lanes belong to one channel; a group is a channel;
//! - channels last: each lane is a separate channel; a group is as many adjacent channels as there
//!   are lanes.
//!
//! In a kernel, only two vector sizes differ: `N` lanes for tensors of the input's shape, `A` lanes
//! for tensors `[channels]`. `A` is 1 in the first case and `N` in the second. [`Layout`] finds
//! the vectors of a group, `add_lanes` adds the lanes that belong to one channel, `spread` is the
//! reverse.
//!
//! # Precision and reproducibility
//!
//! All arithmetic is in f32, whatever the tensor stores. There are no atomic additions: every sum
//! has a fixed order, so a run repeats to the last bit.

pub mod backward;
pub mod launch;
pub mod normalize;
pub mod plan;
pub mod statistics;
#[cfg(all(test, feature = "wgpu"))]
mod tests;

use cubecl::{self, prelude::*, std::FastDivmod};

/// Where the vectors of a tensor are, counted in vectors.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Layout {
    /// From the start of one row to that of the next: a row is one sample of a tensor with the
    /// channels first, and one position of a tensor with the channels last.
    pitch: usize,
    /// The vectors in a row, without the padding of the pitch.
    row: FastDivmod<usize>,
    /// The vectors of one group in a row, which are adjacent.
    run: FastDivmod<usize>,
    /// The same number, for multiplications.
    run_length: usize,
}

#[cube]
impl Layout {
    /// Where the `k`-th vector of a group is.
    fn of_group(&self, group: usize, k: usize) -> usize {
        let (row, i) = self.run.div_mod(k);
        row * self.pitch + group * self.run_length + i
    }

    /// Where the `i`-th vector of the tensor is, and which group it belongs to.
    fn of_tensor(&self, i: usize) -> (usize, usize) {
        let (row, i) = self.row.div_mod(i);
        (row * self.pitch + i, self.run.div(i))
    }
}

/// How the units of a cube are arranged. Both counts are powers of two.
#[derive_cube_comptime]
pub struct Cube {
    /// Adjacent groups that the cube processes, by adjacent units, which so read adjacent memory.
    pub groups: u32,
    /// Units that share the vectors of one group.
    pub units: u32,
    /// The units of a plane (a warp, a subgroup) if planes can add; 0 otherwise.
    pub plane: u32,
}

impl Cube {
    /// All units of the cube.
    pub fn dim(&self) -> CubeDim {
        CubeDim::new_1d(self.groups * self.units)
    }

    /// The vectors of shared memory that one `cube_sum` uses.
    pub fn scratch(&self) -> usize {
        match self.plane {
            0 => (self.groups * self.units) as usize,
            plane => (self.units / plane) as usize,
        }
    }
}

/// The work of a whole grid of cubes: every group's vectors, in chunks.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Grid {
    /// The groups of the tensor.
    groups: usize,
    /// The vectors of a group.
    vectors: usize,
    /// How many of them one cube processes, at most.
    chunk: usize,
}

/// The work of one unit: the vectors `begin + unit, begin + unit + units, ...` below `end`.
#[derive(CubeType, Clone, Copy)]
struct Share {
    /// The group; a valid one even if the unit is idle.
    group: usize,
    /// Whether there is work. An idle unit still takes part in the cube's sums, with zeros.
    busy: bool,
    /// The index of the chunk in the group.
    chunk: usize,
    /// The chunk's first vector; 0 for an idle unit.
    begin: usize,
    /// One past its last vector; 0 for an idle unit.
    end: usize,
    /// The index of this unit among those that share the group.
    unit: usize,
    /// The index of the group in the cube.
    column: usize,
}

#[cube]
impl Grid {
    /// The work of this unit. Some units are idle if the grid has more cubes than needed, or a cube
    /// has more columns than there are groups.
    fn share(&self, #[comptime] cube: Cube) -> Share {
        let columns = comptime!(cube.groups as usize);
        let blocks = self.groups.div_ceil(columns);
        let chunk = CUBE_POS / blocks;
        let column = UNIT_POS as usize % columns;
        let group = (CUBE_POS % blocks) * columns + column;

        let begin = chunk * self.chunk;
        let busy = group < self.groups && begin < self.vectors;
        Share {
            group: min(group, self.groups - 1),
            busy,
            chunk,
            begin: select(busy, begin, 0),
            end: select(busy, min(begin + self.chunk, self.vectors), 0),
            unit: UNIT_POS as usize / columns,
            column,
        }
    }
}

/// The sum of `value` over the units of the cube that share a group, returned to all of them.
///
/// All units of a cube must call it at the same time. The order of the additions depends only on
/// the shape of the cube.
#[cube]
fn cube_sum<A: Size>(value: Vector<f32, A>, #[comptime] cube: Cube) -> Vector<f32, A> {
    if comptime!(cube.plane > 0) {
        // Each plane adds in registers; the sums of the planes go through shared memory.
        let planes = comptime!((cube.units / cube.plane) as usize);
        let mut sums = Shared::<[Vector<f32, A>]>::new_slice(planes);
        let sum = plane_sum(value);
        if UNIT_POS_PLANE == 0 {
            sums[(UNIT_POS / comptime!(cube.plane)) as usize] = sum;
        }
        sync_cube();
        let mut total = sums[0];
        #[unroll]
        for plane in 1..planes {
            total += sums[plane];
        }
        total
    } else {
        // A tree: in each step the first half of the units adds the values of the second half.
        let columns = comptime!(cube.groups as usize);
        let units = comptime!(cube.units as usize);
        let mut sums = Shared::<[Vector<f32, A>]>::new_slice(comptime!(columns * units));
        let me = UNIT_POS as usize;
        sums[me] = value;
        sync_cube();
        #[unroll]
        for step in 0..comptime!(cube.units.trailing_zeros()) {
            let half = comptime!(units >> (step + 1));
            if me / columns < half {
                let other = sums[me + half * columns];
                sums[me] += other;
            }
            sync_cube();
        }
        sums[me % columns]
    }
}

/// Adds the lanes that belong to one channel: all lanes, or none if each lane is a channel.
#[cube]
fn add_lanes<N: Size, A: Size>(value: Vector<f32, N>) -> Vector<f32, A> {
    let (from, to) = (N::value(), A::value());
    if comptime!(from == to) {
        Vector::cast_from(value)
    } else {
        let mut sum = value.extract(0usize);
        #[unroll]
        for lane in 1..N::value() {
            sum += value.extract(lane);
        }
        Vector::new(sum)
    }
}

/// One of the values of each channel.
#[cube]
fn first<N: Size, A: Size>(value: Vector<f32, N>) -> Vector<f32, A> {
    let (from, to) = (N::value(), A::value());
    if comptime!(from == to) {
        Vector::cast_from(value)
    } else {
        Vector::new(value.extract(0usize))
    }
}

/// Copies the value of each channel to its lanes.
#[cube]
fn spread<N: Size, A: Size>(value: Vector<f32, A>) -> Vector<f32, N> {
    Vector::cast_from(value)
}

/// Where a group is in one of several rows `[channels]` that share a buffer, because the number of
/// buffers of a kernel is limited.
#[cube]
fn in_row(#[comptime] row: usize, group: usize, pitch: usize) -> usize {
    group + pitch * row
}

/// How many of a vector's lanes belong to one channel.
#[cube]
fn lanes<N: Size, A: Size>() -> comptime_type!(u32) {
    let (vector, channels) = (N::value(), A::value());
    comptime!((vector / channels) as u32)
}

/// The input of ReLU: the normalized values plus the residual, if there is one.
#[cube]
fn with_residual<F: Float, N: Size>(
    value: Vector<f32, N>,
    residual: ComptimeOption<&[Vector<F, N>]>,
    position: usize,
) -> Vector<f32, N> {
    #[comptime]
    match residual {
        ComptimeOption::Some(residual) => value + Vector::cast_from(residual[position]),
        ComptimeOption::None => value,
    }
}

/// `max(value, 0)`, but NaN stays NaN, so that a network with NaN does not look like one with dead
/// ReLUs.
///
/// The bits decide what is negative: shader compilers may assume that there is no NaN, and turn a
/// comparison with 0 into a maximum that drops NaN.
#[cube]
fn relu<N: Size>(value: Vector<f32, N>, #[comptime] has_relu: bool) -> Vector<f32, N> {
    if has_relu {
        // With the sign bit flipped, negative numbers are from 0 to infinity; NaN and positive
        // numbers are above.
        let bits = Vector::<u32, N>::reinterpret(value) ^ Vector::new(SIGN);
        select_many(bits.less_equal(&Vector::new(INFINITY)), Vector::new(0.0f32), value)
    } else {
        value
    }
}

/// The sign bit of an f32.
const SIGN: u32 = 1 << 31;

/// The bits of the f32 infinity, the largest number that is not NaN.
const INFINITY: u32 = 0x7F80_0000;

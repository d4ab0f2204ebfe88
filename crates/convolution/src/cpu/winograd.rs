//! Winograd's convolution F(4 x 4, 3 x 3): fewer multiplications for 3 x 3 windows with stride 1.
//!
//! A tile of 4 x 4 outputs depends on 6 x 6 inputs. The window and the inputs are treated as
//! polynomials: their product is computed from its values at enough points. Two axes need 6 x 6 =
//! 36 points and so 36 multiplications, whereas the window itself takes 4 x 4 x 9 = 144. The points
//! are 0, 1, -1, 2, -2 and infinity, for which the transforms are sums with small factors:
//!
//! ```text
//! output = A' [ (G window G') . (B' input B) ] A        . multiplies element by element
//! ```
//!
//! Lavin and Gray, [Fast Algorithms for Convolutional Neural
//! Networks](https://arxiv.org/abs/1509.09308) (2016), section 4.3. For each of the 36 points the
//! products over all channels are one matrix product, `[tiles, inputs] x [inputs, outputs]`, with
//! the same register tiles as in the other kernels.
//!
//! The algorithm is less accurate: the factors are up to 8, and differences of large numbers lose
//! digits. The error is about ten times that of the direct sum, 1e-5 of the largest value. A NaN or
//! an infinity reaches all outputs of the tiles that read it.
//!
//! The gradient of the input is the same convolution with the flipped window. The gradient of the
//! weights goes backward through the three transforms.

#![expect(clippy::needless_range_loop, reason = "a loop over registers names them by number")]

use std::{mem::MaybeUninit, ops::Range};

use rayon::prelude::*;

use super::{
    gather::{Finished, Source, split},
    geometry::Geometry,
    panels::Panels,
    scratch::{Shared, with_scratch},
    simd::{Isa, Kernel, Simd, outer_rows, rows, with_isa},
    tile::{Dot, Finish, Outer, Run, Segment, enter_tile},
    weights::{self, Layout},
};

/// Outputs of a tile along an axis, its inputs and points along an axis, and all points.
const TILE: usize = 4;
const POINTS: usize = 6;
const ALL_POINTS: usize = POINTS * POINTS;

/// Values of a task's transformed tiles: as many as a core's second-level cache holds.
const BUDGET: usize = 1 << 18;

/// Tiles of a task: multiples of the rows of a register tile.
const STEP: usize = 12;
const GROUP: Range<usize> = 24..48;
const FEWEST: usize = 2;

const TASK: usize = 1 << 19;
const TASKS: usize = 32;

/// A convolution with a window of 3 x 3: its output, or the gradient of its input.
#[derive(Clone, Copy, Debug)]
pub struct Problem {
    pub batch: usize,
    /// Channels that are summed over.
    pub depth: usize,
    /// Channels that are computed.
    pub columns: usize,
    pub source: [usize; 2],
    pub target: [usize; 2],
    pub padding: [usize; 2],
}

impl Problem {
    /// The output, if Winograd's algorithm can compute it.
    pub fn forward(geometry: &Geometry) -> Option<Self> {
        let fits = geometry.kernel == [3, 3] && geometry.stride == [1, 1];
        fits.then_some(Self {
            batch: geometry.batch,
            depth: geometry.inputs,
            columns: geometry.outputs,
            source: geometry.size,
            target: geometry.output,
            padding: geometry.padding,
        })
    }

    /// The gradient of the input.
    pub fn backward(geometry: &Geometry) -> Option<Self> {
        let forward = Self::forward(geometry)?;
        (geometry.padding[0] <= 2 && geometry.padding[1] <= 2).then(|| Self {
            depth: geometry.outputs,
            columns: geometry.inputs,
            source: geometry.output,
            target: geometry.size,
            padding: geometry.padding.map(|padding| 2 - padding),
            ..forward
        })
    }

    fn tiles(&self) -> Tiles {
        let [down, across] = self.target.map(|size| size.div_ceil(TILE));
        Tiles { down, across, total: self.batch * down * across }
    }

    /// Whether it takes less time than the direct sum, estimated from the multiplications of both
    /// and the number of values that are transformed.
    pub fn wins(&self) -> bool {
        let tiles = self.tiles().total;
        let pixels = self.batch * self.target[0] * self.target[1];
        let direct = 9 * pixels * self.depth * self.columns;
        // The direct sum needs no multiplications where the window is outside a padded image.
        let [touched_down, touched_across] =
            self.target.map(|size| 1.0 - 2.0 / (3.0 * size as f64));
        let direct = direct as f64 * touched_down * touched_across;
        let multiplied = (ALL_POINTS * tiles * self.depth * self.columns) as f64;
        let transformed = (TRANSFORM * tiles * (self.depth + self.columns)) as f64;
        let weights = (WEIGHT * self.depth * self.columns) as f64;
        self.depth >= 16 && self.columns >= 16 && multiplied + transformed + weights < direct
    }
}

/// The costs, in multiplications, of the transforms of one channel of a tile, and of one pair of
/// channels of the weights.
const TRANSFORM: usize = 256;
const WEIGHT: usize = 512;

/// The cost of the sums for the gradient of the weights, for one pair of channels.
const WEIGHT_SUM: usize = 1100;

/// The tiles of a batch, image by image.
#[derive(Clone, Copy)]
struct Tiles {
    down: usize,
    across: usize,
    total: usize,
}

impl Tiles {
    /// Image, row and column of a tile.
    fn at(&self, tile: usize) -> [usize; 3] {
        let (rest, across) = (tile / self.across, tile % self.across);
        [rest / self.down, rest % self.down, across]
    }
}

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

    /// How the weights are packed.
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

/// The layout of transformed tiles, `[point][tile][channel]`.
#[derive(Clone, Copy)]
struct Transformed {
    /// Stride of the tiles: their channels, padded to whole vectors.
    tile: usize,
    /// Stride of the points: not a power of two, because all points are written at the same time
    /// and would map to the same few sets of the cache.
    point: usize,
}

impl Transformed {
    fn new<S: Simd>(channels: usize, tiles: usize) -> Self {
        let tile = channels.next_multiple_of(S::LANES);
        Self { tile, point: tiles * tile + 16 }
    }

    fn len(&self) -> usize {
        ALL_POINTS * self.point
    }
}

/// The 6 x 6 pixels that a tile reads, or its 4 x 4 pixels, without those outside the image.
#[derive(Clone, Copy)]
struct Window {
    /// The first pixel inside.
    start: *const f32,
    strides: [usize; 2],
    /// The ranges of the pixels inside, down and across.
    down: [usize; 2],
    across: [usize; 2],
}

impl Window {
    fn new(
        source: Source,
        image: usize,
        size: [usize; 2],
        tile: [usize; 2],
        padding: [usize; 2],
    ) -> Self {
        Self::of(source, image, size, tile, padding, POINTS)
    }

    fn of(
        source: Source,
        image: usize,
        size: [usize; 2],
        tile: [usize; 2],
        padding: [usize; 2],
        length: usize,
    ) -> Self {
        let [n, _, y, x] = source.strides;
        let inside = |axis: usize| {
            let at = tile[axis] * TILE;
            let begin = padding[axis].saturating_sub(at).min(length);
            let end = (size[axis] + padding[axis]).saturating_sub(at).min(length);
            (at + begin - padding[axis].min(at + begin), [begin, end.max(begin)])
        };
        let ((row, down), (column, across)) = (inside(0), inside(1));
        let empty = down[0] == down[1] || across[0] == across[1];
        let start = if empty { 0 } else { image * n + row * y + column * x };
        Self {
            start: source.values[start..].as_ptr(),
            strides: [y, x],
            down: if empty { [0, 0] } else { down },
            across: if empty { [0, 0] } else { across },
        }
    }

    fn has(&self, row: usize, column: usize) -> bool {
        (self.down[0]..self.down[1]).contains(&row)
            && (self.across[0]..self.across[1]).contains(&column)
    }
}

/// `B' d`, of one column.
#[inline(always)]
unsafe fn input_points<S: Simd>(d: [S::Vector; POINTS]) -> [S::Vector; POINTS] {
    unsafe {
        let (two, four, minus_five) = (S::splat(2.0), S::splat(4.0), S::splat(-5.0));
        let minus_four = S::splat(-4.0);
        let even = S::mul_add(minus_four, d[2], d[4]);
        let odd = S::mul_add(minus_four, d[1], d[3]);
        let even_two = S::sub(d[4], d[2]);
        let odd_two = S::mul(two, S::sub(d[3], d[1]));
        [
            S::mul_add(four, d[0], S::mul_add(minus_five, d[2], d[4])),
            S::add(even, odd),
            S::sub(even, odd),
            S::add(even_two, odd_two),
            S::sub(even_two, odd_two),
            S::mul_add(four, d[1], S::mul_add(minus_five, d[3], d[5])),
        ]
    }
}

/// `A' m`, of one column.
#[inline(always)]
unsafe fn output_tile<S: Simd>(m: [S::Vector; POINTS]) -> [S::Vector; TILE] {
    unsafe {
        let (sum, difference) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (sum_two, difference_two) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(m[0], S::add(sum, sum_two)),
            S::mul_add(S::splat(2.0), difference_two, difference),
            S::mul_add(S::splat(4.0), sum_two, sum),
            S::add(m[5], S::mul_add(S::splat(8.0), difference_two, difference)),
        ]
    }
}

/// `A y`, of one column: backward through [`output_tile`].
#[inline(always)]
unsafe fn gradient_points<S: Simd>(y: [S::Vector; TILE]) -> [S::Vector; POINTS] {
    unsafe {
        let (even, odd) = (S::add(y[0], y[2]), S::add(y[1], y[3]));
        let even_two = S::mul_add(S::splat(4.0), y[2], y[0]);
        let odd_two = S::mul_add(S::splat(8.0), y[3], S::mul(S::splat(2.0), y[1]));
        [
            y[0],
            S::add(even, odd),
            S::sub(even, odd),
            S::add(even_two, odd_two),
            S::sub(even_two, odd_two),
            y[3],
        ]
    }
}

/// `G g`, of one column.
#[inline(always)]
unsafe fn weight_points<S: Simd>(g: [S::Vector; 3]) -> [S::Vector; POINTS] {
    unsafe {
        let sixth = S::splat(1.0 / 6.0);
        let sum = S::mul(S::splat(-1.0 / 6.0), S::add(g[0], g[2]));
        let middle = S::mul(sixth, g[1]);
        let sum_two = S::mul_add(S::splat(1.0 / 24.0), g[0], S::mul(sixth, g[2]));
        let middle_two = S::mul(S::splat(1.0 / 12.0), g[1]);
        [
            S::mul(S::splat(0.25), g[0]),
            S::sub(sum, middle),
            S::add(sum, middle),
            S::add(sum_two, middle_two),
            S::sub(sum_two, middle_two),
            g[2],
        ]
    }
}

/// `G' u`, of one column: backward through [`weight_points`].
#[inline(always)]
unsafe fn weight_window<S: Simd>(u: [S::Vector; POINTS]) -> [S::Vector; 3] {
    unsafe {
        let (sixth, twelfth) = (S::splat(1.0 / 6.0), S::splat(1.0 / 12.0));
        let sum = S::mul(sixth, S::add(u[1], u[2]));
        let difference = S::mul(sixth, S::sub(u[2], u[1]));
        let (sum_two, difference_two) = (S::add(u[3], u[4]), S::sub(u[3], u[4]));
        let first = S::mul_add(S::splat(0.25), u[0], S::mul(S::splat(1.0 / 24.0), sum_two));
        let last = S::mul_add(sixth, sum_two, u[5]);
        [S::sub(first, sum), S::mul_add(twelfth, difference_two, difference), S::sub(last, sum)]
    }
}

/// Transforms the windows of `length` neighboring weights.
///
/// # Safety
///
/// `length` is a multiple of the lanes; each tap and each point has `length` values.
struct TransformWeights {
    from: *const f32,
    tap: usize,
    to: *mut f32,
    point: usize,
    length: usize,
}

impl Kernel for TransformWeights {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe {
            for at in (0..self.length).step_by(S::LANES) {
                let mut columns = [[S::splat(0.0); POINTS]; 3];
                for x in 0..3 {
                    let load = |y: usize| self.from.add((y * 3 + x) * self.tap + at);
                    columns[x] =
                        weight_points::<S>([S::load(load(0)), S::load(load(1)), S::load(load(2))]);
                }
                for y in 0..POINTS {
                    let row = weight_points::<S>([columns[0][y], columns[1][y], columns[2][y]]);
                    for x in 0..POINTS {
                        S::store(self.to.add((y * POINTS + x) * self.point + at), row[x]);
                    }
                }
            }
        }
    }
}

/// Transforms a tile of the input.
///
/// # Safety
///
/// The window's pixels inside have `depth` channels; `to` has as many, padded to whole vectors, at
/// each point.
struct TransformInput {
    window: Window,
    depth: usize,
    to: *mut f32,
    point: usize,
}

impl Kernel for TransformInput {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe {
            let whole = self.window.down == [0, POINTS] && self.window.across == [0, POINTS];
            for channel in (0..self.depth).step_by(S::LANES) {
                let lanes = (self.depth - channel).min(S::LANES);
                let mut columns = [[S::splat(0.0); POINTS]; POINTS];
                if whole && lanes == S::LANES {
                    for x in 0..POINTS {
                        let mut column = [S::splat(0.0); POINTS];
                        for y in 0..POINTS {
                            let [row, pixel] = self.window.strides;
                            column[y] =
                                S::load(self.window.start.add(y * row + x * pixel + channel));
                        }
                        columns[x] = input_points::<S>(column);
                    }
                } else {
                    for x in 0..POINTS {
                        columns[x] = input_points::<S>(load_column::<S, POINTS>(
                            &self.window,
                            x,
                            channel,
                            lanes,
                        ));
                    }
                }
                for y in 0..POINTS {
                    let row = input_points::<S>([
                        columns[0][y],
                        columns[1][y],
                        columns[2][y],
                        columns[3][y],
                        columns[4][y],
                        columns[5][y],
                    ]);
                    for x in 0..POINTS {
                        S::store(self.to.add((y * POINTS + x) * self.point + channel), row[x]);
                    }
                }
            }
        }
    }
}

/// A column of a window, with zeros outside the image.
#[inline(always)]
unsafe fn load_column<S: Simd, const N: usize>(
    window: &Window,
    x: usize,
    channel: usize,
    lanes: usize,
) -> [S::Vector; N] {
    unsafe {
        let mut column = [S::splat(0.0); N];
        for y in 0..N {
            if window.has(y, x) {
                let [row, pixel] = window.strides;
                let at = (y - window.down[0]) * row + (x - window.across[0]) * pixel + channel;
                column[y] = S::load_first(window.start.add(at), lanes);
            }
        }
        column
    }
}

/// Transforms a tile of the output's gradient.
///
/// # Safety
///
/// As [`TransformInput`].
struct TransformGradient {
    window: Window,
    depth: usize,
    to: *mut f32,
    point: usize,
}

impl Kernel for TransformGradient {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe {
            for channel in (0..self.depth).step_by(S::LANES) {
                let lanes = (self.depth - channel).min(S::LANES);
                let mut columns = [[S::splat(0.0); POINTS]; TILE];
                for x in 0..TILE {
                    columns[x] = gradient_points::<S>(load_column::<S, TILE>(
                        &self.window,
                        x,
                        channel,
                        lanes,
                    ));
                }
                for y in 0..POINTS {
                    let row = gradient_points::<S>([
                        columns[0][y],
                        columns[1][y],
                        columns[2][y],
                        columns[3][y],
                    ]);
                    for x in 0..POINTS {
                        S::store(self.to.add((y * POINTS + x) * self.point + channel), row[x]);
                    }
                }
            }
        }
    }
}

/// Transforms products to a tile of the output.
///
/// # Safety
///
/// `from` has the columns, padded to whole vectors, at each point; `to` (and the residual) have
/// them at each pixel.
struct TransformOutput {
    from: *const f32,
    point: usize,
    columns: usize,
    to: *mut f32,
    size: [usize; 2],
    strides: [usize; 2],
    finish: Finish,
}

impl Kernel for TransformOutput {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe {
            let Finish { bias, residual, relu } = self.finish;
            for channel in (0..self.columns).step_by(S::LANES) {
                let lanes = (self.columns - channel).min(S::LANES);
                let mut columns = [[S::splat(0.0); TILE]; POINTS];
                for x in 0..POINTS {
                    let mut column = [S::splat(0.0); POINTS];
                    for y in 0..POINTS {
                        column[y] = S::load(self.from.add((y * POINTS + x) * self.point + channel));
                    }
                    columns[x] = output_tile::<S>(column);
                }
                let shift = match bias.is_null() {
                    true => S::splat(0.0),
                    false => S::load_first(bias.add(channel), lanes),
                };
                for y in 0..TILE {
                    let row = output_tile::<S>([
                        columns[0][y],
                        columns[1][y],
                        columns[2][y],
                        columns[3][y],
                        columns[4][y],
                        columns[5][y],
                    ]);
                    if y < self.size[0] {
                        for x in 0..TILE {
                            if x < self.size[1] {
                                let at = y * self.strides[0] + x * self.strides[1] + channel;
                                let mut value = S::add(row[x], shift);
                                if !residual.is_null() {
                                    value = S::add(value, S::load_first(residual.add(at), lanes));
                                }
                                if relu {
                                    value = S::relu(value);
                                }
                                S::store_first(self.to.add(at), value, lanes);
                            }
                        }
                    }
                }
            }
        }
    }
}

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

/// Adds the parts of some inputs, and transforms the sums to nine taps: `[tap][input][output]`.
///
/// # Safety
///
/// All parts have all points; there is space for the result.
struct TransformSums<'a> {
    parts: &'a [&'a [f32]],
    point: usize,
    row: usize,
    inputs: Range<usize>,
    outputs: usize,
    to: *mut f32,
}

impl Kernel for TransformSums<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe {
            let count = self.inputs.len();
            for (index, input) in self.inputs.enumerate() {
                for output in (0..self.outputs).step_by(S::LANES) {
                    let lanes = (self.outputs - output).min(S::LANES);
                    let mut columns = [[S::splat(0.0); 3]; POINTS];
                    for x in 0..POINTS {
                        let mut column = [S::splat(0.0); POINTS];
                        for y in 0..POINTS {
                            let at = (y * POINTS + x) * self.point + input * self.row + output;
                            let mut sum = S::splat(0.0);
                            for part in self.parts {
                                sum = S::add(sum, S::load(part.as_ptr().add(at)));
                            }
                            column[y] = sum;
                        }
                        columns[x] = weight_window::<S>(column);
                    }
                    for y in 0..3 {
                        let row = weight_window::<S>([
                            columns[0][y],
                            columns[1][y],
                            columns[2][y],
                            columns[3][y],
                            columns[4][y],
                            columns[5][y],
                        ]);
                        for x in 0..3 {
                            let at = ((y * 3 + x) * count + index) * self.outputs + output;
                            S::store_first(self.to.add(at), row[x], lanes);
                        }
                    }
                }
            }
        }
    }
}

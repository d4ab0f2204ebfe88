//! How an image is divided into tiles, and when the algorithm wins.

use std::ops::Range;

use crate::cpu::{gather::Source, geometry::Geometry, simd::Simd};

/// Outputs of a tile along an axis, its inputs and points along an axis, and all points.
pub(super) const TILE: usize = 4;
pub(super) const POINTS: usize = 6;
pub(super) const ALL_POINTS: usize = POINTS * POINTS;

/// Values of a task's transformed tiles: as many as a core's second-level cache holds.
pub(super) const BUDGET: usize = 1 << 18;

/// The number of tiles of a task: a multiple of the rows of a register tile, in this range; down to
/// `FEWEST` for one small image.
pub(super) const STEP: usize = 12;
pub(super) const GROUP: Range<usize> = 24..48;
pub(super) const FEWEST: usize = 2;

/// The fewest multiplications that justify a task, and the number of tasks that is enough.
pub(super) const TASK: usize = 1 << 19;
pub(super) const TASKS: usize = 32;

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

    pub(super) fn tiles(&self) -> Tiles {
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
pub(super) const TRANSFORM: usize = 256;
pub(super) const WEIGHT: usize = 512;

/// The cost of the sums for the gradient of the weights, for one pair of channels.
pub(super) const WEIGHT_SUM: usize = 1100;

/// The tiles of a batch, image by image.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    pub(super) down: usize,
    pub(super) across: usize,
    pub(super) total: usize,
}

impl Tiles {
    /// Image, row and column of a tile.
    pub(super) fn at(&self, tile: usize) -> [usize; 3] {
        let (rest, across) = (tile / self.across, tile % self.across);
        [rest / self.down, rest % self.down, across]
    }
}

/// The layout of transformed tiles, `[point][tile][channel]`.
#[derive(Clone, Copy)]
pub(super) struct Transformed {
    /// Stride of the tiles: their channels, padded to whole vectors.
    pub(super) tile: usize,
    /// Stride of the points: not a power of two, because all points are written at the same time
    /// and would map to the same few sets of the cache.
    pub(super) point: usize,
}

impl Transformed {
    pub(super) fn new<S: Simd>(channels: usize, tiles: usize) -> Self {
        let tile = channels.next_multiple_of(S::LANES);
        Self { tile, point: tiles * tile + 16 }
    }

    pub(super) fn len(&self) -> usize {
        ALL_POINTS * self.point
    }
}

/// The 6 x 6 pixels that a tile reads, or its 4 x 4 pixels, without those outside the image.
#[derive(Clone, Copy)]
pub(super) struct Window {
    /// The first pixel inside.
    pub(super) start: *const f32,
    pub(super) strides: [usize; 2],
    /// The ranges of the pixels inside, down and across.
    pub(super) down: [usize; 2],
    pub(super) across: [usize; 2],
}

impl Window {
    pub(super) fn new(
        source: Source,
        image: usize,
        size: [usize; 2],
        tile: [usize; 2],
        padding: [usize; 2],
    ) -> Self {
        Self::of(source, image, size, tile, padding, POINTS)
    }

    pub(super) fn of(
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

    pub(super) fn has(&self, row: usize, column: usize) -> bool {
        (self.down[0]..self.down[1]).contains(&row)
            && (self.across[0]..self.across[1]).contains(&column)
    }
}

//! The choice of the kernels: the memory layout of a tensor, and how the work on it is divided
//! among cubes. A [`Plan`] needs no device, only the abilities of one.

use std::fmt;

use burn::tensor::DType;
use burn_cubecl::{kernel::into_contiguous, ops, tensor::CubeTensor};
use cubecl::{
    CubeCount, CubeDim,
    client::Client,
    features::Plane,
    ir::{ElemType, FloatKind},
    server::CubeCountSelection,
};

use super::{Cube, GridLaunch, LayoutLaunch};
use crate::ops::BackwardOptions;

/// The properties of the device that the choice of a kernel depends on.
#[derive(Clone, Copy, Debug)]
pub struct Abilities {
    /// The units of a plane if this number is fixed and planes can add; 0 otherwise.
    pub plane: u32,
    /// The bytes of shared memory that a cube may use.
    pub shared_memory: usize,
    /// The buffers that a kernel may bind.
    pub bindings: u32,
    /// The units of a cube.
    pub units: u32,
}

impl Abilities {
    /// With more shared memory per cube, a multiprocessor has too few cubes to hide latency.
    const SHARED_MEMORY: usize = 32 << 10;
    /// WebGPU's guaranteed minimum, and enough to keep memory busy.
    const UNITS: u32 = 256;

    /// The abilities that the device reports.
    pub fn of(client: &Client) -> Self {
        let properties = client.properties();
        let hardware = &properties.hardware;
        let size = hardware.plane_size_max;
        let fixed = hardware.plane_size_min == size && size.is_power_of_two();
        let adds = properties.features.plane.contains(Plane::Ops);
        let units = hardware.max_units_per_cube.clamp(1, Self::UNITS);
        Self {
            plane: if fixed && adds { size } else { 0 },
            shared_memory: hardware.max_shared_memory_size.min(Self::SHARED_MEMORY),
            bindings: hardware.max_bindings,
            units: 1 << units.ilog2(),
        }
    }
}

/// The memory layout of a tensor `[batch, channels, ...]`, counted in values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrangement {
    /// Whether the channels are the last axis in memory.
    pub channels_last: bool,
    /// The samples if the channels come first, the samples' positions if they come last.
    pub rows: usize,
    /// From the start of one row to the next.
    pub pitch: usize,
    /// The channels.
    pub channels: usize,
    /// A channel's values in one row; they are adjacent.
    pub run: usize,
}

impl Arrangement {
    /// The arrangement of a tensor; `None` if the kernels cannot read it without a copy.
    fn of(tensor: &CubeTensor) -> Option<Self> {
        let (shape, strides) = (tensor.meta.shape(), tensor.meta.strides());
        let (batch, channels) = (shape[0], shape[1]);
        let positions = shape[2..].iter().product::<usize>();
        if tensor.is_contiguous() && positions > 1 {
            // A single channel is one long row.
            let (rows, run) = match channels {
                1 => (1, batch * positions),
                _ => (batch, positions),
            };
            let pitch = channels * run;
            return Some(Self { channels_last: false, rows, pitch, channels, run });
        }

        // The strides of the other axes must follow from the innermost one. Its stride may include
        // padding: some of CubeCL's runtimes pad rows. Wide padding is not worth keeping.
        let mut axes = (0..shape.len()).filter(|&axis| axis != 1 && shape[axis] > 1).rev();
        let Some(innermost) = axes.next() else {
            return Some(Self { channels_last: true, rows: 1, pitch: channels, channels, run: 1 })
                .filter(|_| channels == 1 || strides[1] == 1);
        };
        let pitch = strides[innermost];
        let mut next = pitch * shape[innermost];
        for axis in axes {
            if strides[axis] != next {
                return None;
            }
            next *= shape[axis];
        }
        let packed =
            (channels == 1 || strides[1] == 1) && (channels..2 * channels).contains(&pitch);
        let rows = batch * positions;
        packed.then_some(Self { channels_last: true, rows, pitch, channels, run: 1 })
    }

    /// The tensors in one common arrangement: that of the first, if the kernels can read it.
    pub fn shared(tensors: Vec<CubeTensor>) -> (Self, Vec<CubeTensor>) {
        let found = tensors.iter().map(Self::of).collect::<Vec<_>>();
        if let Some(first) = found[0]
            && found.iter().all(|&other| other == Some(first))
        {
            return (first, tensors);
        }
        let channels_last = found[0].is_some_and(|first| first.channels_last);
        let dense = |tensor| {
            if channels_last {
                ops::permute_nhwc_to_nchw(into_contiguous(ops::permute_nchw_to_nhwc(tensor)))
            } else {
                into_contiguous(tensor)
            }
        };
        let tensors = tensors.into_iter().map(dense).collect::<Vec<_>>();
        let first = Self::of(&tensors[0]).expect("the kernels read dense tensors");
        (first, tensors)
    }

    /// The values of one channel.
    pub fn values(&self) -> usize {
        self.rows * self.run
    }
}

/// A tensor as the kernels read it: in vectors.
#[derive(Clone, Copy, Debug)]
pub struct Vectors {
    arrangement: Arrangement,
    /// The lanes of a vector.
    pub lanes: usize,
    /// The lanes of a vector of a tensor `[channels]`.
    pub channel_lanes: usize,
    /// The bytes of a value.
    size: usize,
}

impl Vectors {
    /// The widest vectors for reading all these tensors, which have one arrangement.
    pub fn of(arrangement: Arrangement, tensors: &[CubeTensor]) -> Self {
        let size = tensors[0].dtype.size();
        let fits = |&lanes: &usize| {
            let offset = |tensor: &CubeTensor| tensor.handle.offset_start.unwrap_or(0) as usize;
            let last =
                if arrangement.channels_last { arrangement.channels } else { arrangement.run };
            last.is_multiple_of(lanes)
                && arrangement.pitch.is_multiple_of(lanes)
                && tensors.iter().all(|tensor| offset(tensor).is_multiple_of(lanes * size))
        };
        let lanes = [4, 2, 1].into_iter().find(fits).expect("everything is a multiple of 1");
        let channel_lanes = if arrangement.channels_last { lanes } else { 1 };
        Self { arrangement, lanes, channel_lanes, size }
    }

    /// The memory order, for a log.
    pub fn order(&self) -> &'static str {
        if self.arrangement.channels_last { "channels last" } else { "channels first" }
    }

    /// The number of groups: the channels of one vector count as one.
    pub fn groups(&self) -> usize {
        self.arrangement.channels / self.channel_lanes
    }

    /// The number of vectors of one group.
    pub fn per_group(&self) -> usize {
        self.arrangement.values() * self.channel_lanes / self.lanes
    }

    /// The number of all vectors.
    pub fn total(&self) -> usize {
        self.groups() * self.per_group()
    }

    /// The layout as an argument of the kernels.
    pub fn layout(&self) -> LayoutLaunch {
        let Arrangement { channels_last, pitch, run, .. } = self.arrangement;
        let run = if channels_last { 1 } else { run / self.lanes };
        LayoutLaunch::new(pitch / self.lanes, self.groups() * run, run, run)
    }
}

/// The kernels of a pass that needs sums over the channels. The module [`gpu`](super) has a table
/// of how often each reads and writes. Without sums, one kernel computes every value by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Plan {
    /// One kernel: a cube keeps its channels' values in shared memory.
    AtOnce {
        /// How the channels are divided among cubes.
        channels: Division,
        /// The vectors that a cube keeps.
        kept: usize,
    },
    /// One kernel sums parts of the channels, one merges the sums, one computes every value.
    Split {
        /// How the channels are divided into parts.
        parts: Division,
        /// How the merging is divided among cubes.
        merge: Division,
    },
}

impl Plan {
    /// The forward pass in training.
    pub fn forward(of: &Vectors, has_residual: bool, abilities: Abilities) -> Self {
        // If a kernel may bind only as many buffers as WebGPU guarantees, a residual is one too
        // many.
        let bindings = if has_residual { 8 } else { 7 };
        let at_once = Self::at_once(of, 1, abilities).filter(|_| bindings <= abilities.bindings);
        at_once.unwrap_or_else(|| Self::split(of, abilities))
    }

    /// The backward pass; `None` if it needs no sums.
    pub fn backward(of: &Vectors, wanted: BackwardOptions, abilities: Abilities) -> Option<Self> {
        let at_once = Self::at_once(of, 2, abilities).filter(|_| wanted.input_needs_sums());
        let needs_sums = wanted.input_needs_sums() || wanted.parameters;
        at_once.or_else(|| needs_sums.then(|| Self::split(of, abilities)))
    }

    /// `None` if the values do not fit into shared memory `copies` times.
    fn at_once(of: &Vectors, copies: usize, abilities: Abilities) -> Option<Self> {
        let (channels, kept) = Division::at_once(of, copies, abilities)?;
        Some(Self::AtOnce { channels, kept })
    }

    fn split(of: &Vectors, abilities: Abilities) -> Self {
        let parts = Division::split(of, abilities);
        let merge = Division::finish(of.arrangement.channels, parts.chunks(), abilities);
        Self::Split { parts, merge }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::AtOnce { channels, .. } => {
                write!(f, "one kernel, {channels}, its channels in shared memory")
            }
            Self::Split { parts, merge } => {
                write!(f, "sums by {parts}, merged by {merge}")
            }
        }
    }
}

/// How the vectors of all groups are divided among cubes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Division {
    /// The units of a cube.
    pub cube: Cube,
    /// The groups.
    groups: usize,
    /// The vectors of a group.
    vectors: usize,
    /// How many of them a cube processes.
    pub chunk: usize,
}

impl Division {
    /// The number of cubes that keeps the whole device busy: many more than it has multiprocessors.
    const CUBES: usize = 1024;
    /// The fewest vectors that a unit should add to make the merge worthwhile.
    const PER_UNIT: usize = 8;
    /// Adjacent units that read one row: as many as a plane usually has.
    const COLUMNS: usize = 32;
    /// The number of kept vectors is rounded up to a multiple of this.
    const KEPT_STEP: usize = 256;
    /// The smallest number of bytes that a memory access transfers.
    const SECTOR: usize = 32;

    /// One cube processes all values of its groups and keeps them `copies` times; `None` if they do
    /// not fit. Also returns the number of vectors to keep, rounded up so that tensors of similar
    /// sizes share a compiled kernel.
    fn at_once(of: &Vectors, copies: usize, abilities: Abilities) -> Option<(Self, usize)> {
        let vectors = of.per_group();
        let bytes = of.lanes * of.size;
        let columns = if of.arrangement.channels_last {
            Self::SECTOR.div_ceil(bytes).min(of.groups()).next_power_of_two()
        } else {
            1
        };
        let division = Self::new(of.groups(), vectors, vectors, columns, abilities);
        let kept = (vectors * columns).next_multiple_of(Self::KEPT_STEP);
        let sums = 2 * division.cube.scratch() * of.channel_lanes * size_of::<f32>();
        let needed = kept * bytes * copies + sums;
        (needed <= abilities.shared_memory).then_some((division, kept))
    }

    /// Each group's values are split over as many cubes as it takes to keep the device busy.
    fn split(of: &Vectors, abilities: Abilities) -> Self {
        let vectors = of.per_group();
        let columns = if of.arrangement.channels_last {
            of.groups().next_power_of_two().min(Self::COLUMNS)
        } else {
            1
        };
        let whole = Self::new(of.groups(), vectors, vectors, columns, abilities);
        let cubes_per_group = Self::CUBES.div_ceil(whole.cubes());
        let at_least = whole.cube.units as usize * Self::PER_UNIT;
        let chunk = vectors.div_ceil(cubes_per_group).max(at_least).min(vectors);
        Self { chunk, ..whole }
    }

    /// The division for merging `chunks` partial results per channel.
    fn finish(channels: usize, chunks: usize, abilities: Abilities) -> Self {
        // With many chunks, more units per channel are better than more channels per cube.
        let units = chunks.next_power_of_two().min(64);
        let columns = (abilities.units as usize / units)
            .clamp(1, Self::COLUMNS)
            .min(channels.next_power_of_two());
        Self::new(channels, chunks, chunks, columns, abilities)
    }

    fn new(
        groups: usize,
        vectors: usize,
        chunk: usize,
        columns: usize,
        abilities: Abilities,
    ) -> Self {
        let columns = columns.min(abilities.units as usize);
        // No more units than vectors, but at least one full plane of units.
        let fewest = (Self::COLUMNS / columns).max(1);
        let most = abilities.units as usize / columns;
        let units = vectors.next_power_of_two().max(fewest).min(most) as u32;
        // A plane extends across the columns: it can add the values of a column only if there is
        // just one.
        let plane = match columns {
            1 if units >= abilities.plane => abilities.plane,
            _ => 0,
        };
        Self { cube: Cube { groups: columns as u32, units, plane }, groups, vectors, chunk }
    }

    /// How many chunks each group is divided into.
    pub fn chunks(&self) -> usize {
        self.vectors.div_ceil(self.chunk)
    }

    fn cubes(&self) -> usize {
        self.groups.div_ceil(self.cube.groups as usize) * self.chunks()
    }

    /// The number of cubes, in several dimensions if one dimension of the grid is too small.
    pub fn count(&self, client: &Client) -> CubeCount {
        CubeCountSelection::new(client, self.cubes() as u32).cube_count()
    }

    /// The grid as an argument of the kernels.
    pub fn grid(&self) -> GridLaunch {
        GridLaunch::new(self.groups, self.vectors, self.chunk)
    }
}

impl fmt::Display for Division {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Cube { groups, units, .. } = self.cube;
        let plural = if self.cubes() == 1 { "" } else { "s" };
        write!(f, "{} workgroup{plural} of {}", self.cubes(), groups * units)
    }
}

/// Cubes and their size for a kernel with one unit per vector.
pub fn elementwise(client: &Client, vectors: usize, abilities: Abilities) -> (CubeCount, CubeDim) {
    let cubes = vectors.div_ceil(abilities.units as usize);
    let count = CubeCountSelection::new(client, cubes as u32).cube_count();
    (count, CubeDim::new_1d(abilities.units))
}

/// The type that a kernel is compiled for.
pub fn element(dtype: DType) -> ElemType {
    ElemType::Float(match dtype {
        DType::F32 => FloatKind::F32,
        DType::F16 => FloatKind::F16,
        DType::BF16 => FloatKind::BF16,
        other => unreachable!("`ops::is_covered` excludes tensors of {other:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESKTOP: Abilities =
        Abilities { plane: 32, shared_memory: 32 << 10, bindings: 16, units: 256 };

    fn vectors(channels_last: bool, batch: usize, channels: usize, positions: usize) -> Vectors {
        let (rows, run) = if channels_last { (batch * positions, 1) } else { (batch, positions) };
        let pitch = channels * run;
        let arrangement = Arrangement { channels_last, rows, pitch, channels, run };
        let last = if channels_last { channels } else { run };
        let lanes = [4, 2, 1].into_iter().find(|&lanes| last.is_multiple_of(lanes)).unwrap();
        let channel_lanes = if channels_last { lanes } else { 1 };
        Vectors { arrangement, lanes, channel_lanes, size: 4 }
    }

    #[test]
    fn small_channels_are_taken_at_once() {
        // 32 x 512 x 7 x 7: 6 KiB per channel.
        let (division, kept) = Division::at_once(&vectors(false, 32, 512, 49), 1, DESKTOP).unwrap();
        assert_eq!(division.cube, Cube { groups: 1, units: 256, plane: 32 });
        assert_eq!((division.cubes(), division.chunks(), kept), (512, 1, 1792));
        // After a fully connected layer: two vectors of four channels make a sector.
        let (division, kept) = Division::at_once(&vectors(true, 256, 120, 1), 1, DESKTOP).unwrap();
        assert_eq!(division.cube, Cube { groups: 2, units: 128, plane: 0 });
        assert_eq!((division.cubes(), kept), (15, 512));
    }

    #[test]
    fn large_channels_are_split() {
        for (vectors, chunks) in [
            (vectors(false, 256, 6, 24 * 24), 18),
            (vectors(true, 32, 64, 56 * 56), 784),
            (vectors(false, 32, 1, 1 << 16), 256),
        ] {
            assert!(Division::at_once(&vectors, 1, DESKTOP).is_none(), "{vectors:?}");
            assert_eq!(Division::split(&vectors, DESKTOP).chunks(), chunks, "{vectors:?}");
        }
    }

    #[test]
    fn plans_follow_the_table() {
        let (small, large) = (vectors(false, 32, 512, 49), vectors(false, 256, 6, 24 * 24));
        let at_once = |plan: Plan| matches!(plan, Plan::AtOnce { .. });
        assert!(at_once(Plan::forward(&small, false, DESKTOP)));
        assert!(at_once(Plan::forward(&small, true, DESKTOP)));
        assert!(!at_once(Plan::forward(&large, false, DESKTOP)));
        // WebGPU's guaranteed minimum, without the one that wgpu uses.
        let few = Abilities { bindings: 7, ..DESKTOP };
        assert!(at_once(Plan::forward(&small, false, few)));
        assert!(!at_once(Plan::forward(&small, true, few)));

        let all = BackwardOptions {
            batch_statistics: true,
            input: true,
            parameters: true,
            residual: false,
        };
        let backward = |of: &Vectors, wanted| Plan::backward(of, wanted, DESKTOP);
        assert!(backward(&small, all).is_some_and(at_once));
        assert!(backward(&large, all).is_some_and(|plan| !at_once(plan)));
        // Frozen: the parameters' gradients need sums, the input's does not.
        let frozen = BackwardOptions { batch_statistics: false, ..all };
        assert!(backward(&small, frozen).is_some_and(|plan| !at_once(plan)));
        assert_eq!(backward(&small, BackwardOptions { parameters: false, ..frozen }), None);

        let plan = backward(&large, all).unwrap();
        let expected = "sums by 108 workgroups of 256, merged by 1 workgroup of 256";
        assert_eq!(plan.to_string(), expected);
        let parameters_only = BackwardOptions { input: false, ..all };
        assert!(backward(&small, parameters_only).is_some_and(|plan| !at_once(plan)));
        // Channels last: a cube keeps several channels.
        assert!(at_once(Plan::forward(&vectors(true, 256, 120, 1), false, DESKTOP)));
    }

    #[test]
    fn every_vector_is_some_cubes_and_only_one() {
        for channels_last in [false, true] {
            for (batch, channels, positions) in
                [(2, 1, 1), (2, 3, 7), (17, 5, 1), (64, 96, 169), (3, 2048, 1), (999, 7, 1001)]
            {
                for units in [8, 64, 256] {
                    let abilities = Abilities { units, ..DESKTOP };
                    let of = vectors(channels_last, batch, channels, positions);
                    let split = Division::split(&of, abilities);
                    let finish = Division::finish(channels, split.chunks(), abilities);
                    for division in [split, finish] {
                        let Cube { groups, units, plane } = division.cube;
                        assert!(groups.is_power_of_two() && units.is_power_of_two());
                        assert!(groups * units <= abilities.units);
                        assert!(plane == 0 || (groups == 1 && units.is_multiple_of(plane)));
                        let (chunk, chunks) = (division.chunk, division.chunks());
                        assert!(chunk * (chunks - 1) < division.vectors);
                        assert!(chunk * chunks >= division.vectors);
                        assert!(division.cubes() * groups as usize >= division.groups * chunks);
                    }
                }
            }
        }
    }
}

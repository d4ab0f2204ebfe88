//! The choice of how the kernels traverse a tensor.

use std::fmt;

use super::{columns::Table, types::Planes};

/// The bytes that stay in a core's second-level cache between two passes over them.
const CACHE: usize = 512 << 10;
/// The bytes that stay at least in the cache that all cores share.
const SHARED_CACHE: usize = 4 << 20;

/// How a pass traverses a tensor. It depends on the shape, the memory order, the size of a value and
/// the number of threads. The number of threads changes which task computes a channel, never the
/// order of its sums.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Plan {
    /// A table: neighboring values belong to different channels.
    Table(Table),
    /// Strips of one channel. A task computes a few channels, which stay in a cache in between.
    Blocks {
        /// The channels of a task.
        channels: usize,
    },
    /// Strips of one channel. All tasks compute sums, and then all tasks write.
    Strips,
}

impl Plan {
    /// A pass that reads `bytes` for each value of the tensor, and then reads them again.
    pub fn reading_twice(shape: Planes, bytes: usize, threads: usize) -> Self {
        match Self::reading_once(shape) {
            Self::Strips => {
                let channel = shape.values() * bytes;
                // With fewer channels than threads, some threads would have no task.
                if channel > SHARED_CACHE || shape.channels < threads {
                    return Self::Strips;
                }
                let channels = (CACHE / channel).min(shape.channels / (2 * threads)).max(1);
                Self::Blocks { channels }
            }
            table => table,
        }
    }

    /// A pass that reads every value once: it only sums, or only writes.
    pub fn reading_once(shape: Planes) -> Self {
        Table::of(shape).map_or(Self::Strips, Self::Table)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Table(table) => write!(f, "a table of {} columns", table.columns()),
            Self::Blocks { channels: 1 } => f.write_str("one channel a task, in a cache"),
            Self::Blocks { channels } => write!(f, "{channels} channels a task, in a cache"),
            Self::Strips => f.write_str("strips of one channel"),
        }
    }
}

#[cfg(test)]
mod tests {
    use cpu_tensors::Order;

    use super::*;

    /// The rows of the table in the crate's documentation.
    #[test]
    fn the_plan_depends_on_shape_and_memory_order() {
        let plan = |shape: &[usize], order, threads| {
            Plan::reading_twice(Planes::of(shape, order), size_of::<f32>(), threads).to_string()
        };
        let (first, last) = (Order::ChannelsFirst, Order::ChannelsLast);
        for (shape, order, threads, expected) in [
            (&[256, 6, 24, 24][..], first, 2, "one channel a task, in a cache"),
            (&[32, 512, 7, 7], first, 2, "83 channels a task, in a cache"),
            (&[32, 64, 224, 224], first, 2, "strips of one channel"),
            (&[256, 6, 24, 24], first, 16, "strips of one channel"),
            (&[256, 6, 24, 24], last, 16, "a table of 216 columns"),
            (&[32, 512, 3, 3], first, 2, "a table of 4608 columns"),
            (&[256, 120], first, 2, "a table of 240 columns"),
        ] {
            assert_eq!(plan(shape, order, threads), expected, "{shape:?} {order:?}");
        }
    }
}

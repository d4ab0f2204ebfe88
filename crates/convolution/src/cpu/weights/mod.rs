//! The gradient of the weights and of the bias: sums over all positions of all images.
//!
//! The rows of a tile are input channels at one position of the window, its columns are output
//! channels. A task packs a piece of the input and of the output's gradient that stays in its
//! cache, once for all positions of the window. It adds the products of each position, and
//! continues with the next piece. Tasks differ in their images, in their input channels, or in
//! their output channels; sums over different images are added at the end, in a fixed order.
//!
//! With few input channels a tile would have few rows. Then all values of a line of the window are
//! rows: they are adjacent in memory.
//!
//! `plan` divides the sums into tasks, `task` computes them, `sums` adds partial sums and writes them
//! in the layout of the weights.

mod plan;
mod sums;
mod task;

pub use plan::{FEW, Plan, blocks};
pub use sums::{Layout, add_up};

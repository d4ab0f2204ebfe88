//! The output of a convolution, and the gradient of its input: an implicit matrix product.
//!
//! The rows of a tile are positions of the result, its columns are channels. The window around a
//! position is never copied to the row of a matrix (im2col): with the channels last in memory, a
//! row of the window is one contiguous range of values, and the rows of a tile are at a constant
//! distance. A tile needs only the ranges of its first row and that distance.
//!
//! Rows are along one of two axes:
//! - **along a line of the image**, whose ends read padding: the image is first copied with its
//!   padding;
//! - **along the images of the batch**, all at one position: there are no multiplications with
//!   padding. This is for small images, where the padding would be a large part.
//!
//! `source` is what is read and added, `plan` divides the work into tasks, `task` does it.

mod plan;
mod source;
mod task;

pub use plan::{Plan, Problem};
pub use source::{Finished, Source, split};

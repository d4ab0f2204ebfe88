//! What kernels of one's own need of Burn's two CPU backends, flex and ndarray.
//!
//! A kernel works on slices, on all threads, and knows nothing of a backend. [`CpuTensor`] leads from
//! either backend's tensors to slices and back, [`map_tasks`] divides the work among the threads, and
//! [`collect`] makes the vector that the kernel writes.
//!
//! The features `flex` and `ndarray` choose the backends.

#![warn(missing_docs)]

#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "ndarray")]
mod ndarray;
mod order;
mod tasks;
mod tensor;

pub use order::Order;
pub use tasks::{PARALLEL, collect, map_tasks};
pub use tensor::{CpuTensor, View};

#[cfg(test)]
mod tests;

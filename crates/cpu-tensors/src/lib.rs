//! Access to the tensors of Burn's two CPU backends, flex and ndarray, for custom kernels.
//!
//! A kernel works on slices, on all threads, and does not depend on a backend. [`CpuTensor`]
//! converts the tensors of either backend to slices and back, [`map_tasks`] divides the work among
//! the threads, and [`collect`] creates the vector that the kernel writes.
//!
//! `flex` and `ndarray` know the two backends, `tensor` is what they have in common, `order` finds
//! the order of a tensor's axes in memory, and `tasks` divides work.
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
pub use tasks::{PARALLEL, collect, for_each_task, map_tasks, on_pool};
pub use tensor::{CpuTensor, View};

#[cfg(test)]
mod tests;

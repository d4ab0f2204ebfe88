//! # Convolution, pooling and activations on the CPU
#![warn(missing_docs)]

mod backends;
#[cfg(feature = "_cpu")]
mod cpu;
mod kernels;
pub mod ops;
mod reference;

pub use kernels::Kernels;

//! The callers of the kernels: the CPU backends, and the gradients.

mod autodiff;
#[cfg(feature = "_cpu")]
mod cpu;

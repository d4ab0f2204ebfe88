//! Where the kernels are called: the CPU backends, and the gradients.

mod autodiff;
#[cfg(feature = "_cpu")]
mod cpu;

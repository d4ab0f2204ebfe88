//! Where each backend's kernels are called: one file per backend.

mod autodiff;
#[cfg(feature = "_cpu")]
mod cpu;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "ndarray")]
mod ndarray;

//! The backends, which call the kernels: one file per backend.

mod autodiff;
#[cfg(feature = "_cpu")]
mod cpu;
#[cfg(feature = "_cube")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "ndarray")]
mod ndarray;

//! # The modern convolutional networks, one file each
//!
//! Every network is a Burn [`Module`](burn::module::Module) made from a config, with presets for
//! the variants that people know by name:
//!
//! ```
//! use burn::tensor::{Device, Distribution, Tensor};
//! use models::LeNetConfig;
//!
//! let device = Device::flex();
//! let network = LeNetConfig::lenet_bn().init(&device);
//! let images = Tensor::<4>::random([2, 1, 28, 28], Distribution::Uniform(0.0, 1.0), &device);
//! let logits = network.forward(images);
//! assert_eq!(logits.dims(), [2, 10]);
//! ```
//!
//! | file | networks |
//! |---|---|
//! | [`lenet`] | LeNet-5, LeNet-5 with batch normalization |
//!
//! A program that lets its user choose names a network by [`Architecture`] and holds it as a
//! [`Network`].
//!
//! No backend is turned on by default: turn on the feature of this crate, or of `burn`, that has
//! the name of yours (`wgpu`, `vulkan`, `metal`, `cuda`, `rocm`, `flex`, `ndarray`).

#![warn(missing_docs)]

mod architecture;
mod init;
pub mod lenet;
mod network;

pub use batch_norm::Implementation;

pub use architecture::{Architecture, Preset, UnknownName};
pub use lenet::{LeNet, LeNetConfig};
pub use network::Network;

#[cfg(test)]
mod tests;

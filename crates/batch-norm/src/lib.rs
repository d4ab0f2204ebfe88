//! # Batch normalization
//!
//! The layer of Ioffe and Szegedy, [Batch Normalization: Accelerating Deep Network Training by
//! Reducing Internal Covariate Shift](https://arxiv.org/abs/1502.03167) (2015), as a Burn module.
//!
//! ## What it computes
//!
//! In **training**, each channel is normalized with the mean and the variance of the mini-batch at
//! hand, then stretched and shifted by two parameters that are learned:
//!
//! ```text
//! mean     = 1/n sum(x)                    over the n values of one channel in the batch
//! variance = 1/n sum((x - mean)^2)         the biased one: divided by n
//! x_hat    = (x - mean) / sqrt(variance + epsilon)
//! y        = gamma * x_hat + beta
//! ```
//!
//! Which values make up a channel is the difference between the two cases:
//!
//! | after | shape of x | a channel's values | n |
//! |---|---|---|---|
//! | a fully connected layer | `[batch, channels]` | one per sample | batch |
//! | a convolution | `[batch, channels, height, width]` | one per sample and position | batch x height x width |
//!
//! In **prediction** there may be no batch: the layer normalizes with moving averages of the means
//! and variances that it saw in training, so that an image's output does not depend on its
//! neighbours in the batch.
//!
//! ## Where it stands
//!
//! Between a layer and its activation function: convolution, batch normalization, activation. As
//! beta takes the part of the bias, the layer before it can do without one.
//!
//! ## Two conventions to know
//!
//! - **Momentum.** Here, as in Burn and in PyTorch, `momentum` is the share that the moving average
//!   *takes* from each new batch (0.1). Textbooks that write
//!   `moving = momentum * moving + (1 - momentum) * batch` mean the share that is *kept* (0.9).
//! - **Variance.** Burn and the textbooks keep the biased variance (divided by n) in the moving
//!   average; PyTorch keeps the unbiased one (divided by n - 1). See [`RunningVariance`]. The
//!   normalization itself uses the biased variance everywhere.
//!
//! ## Example
//!
//! ```
//! use batch_norm::BatchNormConfig;
//! use burn::{module::Module, tensor::{Device, Distribution, Tensor}};
//!
//! let device = Device::flex().autodiff(); // gradients on: the layer trains
//! let layer = BatchNormConfig::new(16).init(&device);
//!
//! let images = Tensor::<4>::random([8, 16, 5, 5], Distribution::Normal(3.0, 2.0), &device);
//! let normalized = layer.forward(images);
//! assert!(normalized.mean().into_scalar::<f32>().abs() < 1e-4);
//!
//! let layer = layer.valid(); // gradients off: the layer predicts with its moving averages
//! let image = Tensor::<4>::ones([1, 16, 5, 5], &device.inner());
//! assert_eq!(layer.forward(image).dims(), [1, 16, 5, 5]);
//! ```

#![warn(missing_docs)]

mod backends;
#[cfg(feature = "_cpu")]
mod cpu;
mod fold;
#[cfg(feature = "_cube")]
mod kernel;
mod layer;
#[cfg(feature = "_cpu")]
mod memory;
pub mod ops;
mod reference;

pub use fold::{fold_into_convolution, fold_into_linear};
pub use layer::{BatchNorm, BatchNormConfig, Implementation, RunningVariance};

#[cfg(test)]
mod tests;

//! # Batch normalization
//!
//! The layer of Ioffe and Szegedy, [Batch Normalization: Accelerating Deep Network Training by
//! Reducing Internal Covariate Shift](https://arxiv.org/abs/1502.03167) (2015), as a Burn module.
//!
//! ## What it computes
//!
//! In **training**, each channel is normalized with the mean and the variance of the mini-batch,
//! then scaled and shifted by two learned parameters:
//!
//! ```text
//! mean     = 1/n sum(x)                    over the n values of one channel in the batch
//! variance = 1/n sum((x - mean)^2)         the biased one: divided by n
//! x_hat    = (x - mean) / sqrt(variance + epsilon)
//! y        = gamma * x_hat + beta
//! ```
//!
//! Which values make up a channel depends on the layer before:
//!
//! | after | shape of x | a channel's values | n |
//! |---|---|---|---|
//! | a fully connected layer | `[batch, channels]` | one per sample | batch |
//! | a convolution | `[batch, channels, height, width]` | one per sample and position | batch x height x width |
//!
//! In **prediction** there may be no batch. The layer normalizes with the running mean and the
//! running variance, averages over the batches of the training, so that an image's output does not
//! depend on the other images of its batch.
//!
//! ## The gradients
//!
//! Let g be the gradient of y. All sums are over the n values of one channel:
//!
//! ```text
//! dbeta  = sum(g)
//! dgamma = sum(g * x_hat)
//! dx     = gamma / sqrt(variance + epsilon) * (g - dbeta / n - x_hat * dgamma / n)
//! ```
//!
//! The two subtracted terms are there because every value of a channel contributes to its mean and
//! its variance. A frozen layer, whose statistics are constants, does not have them.
//!
//! ## Its place in a network
//!
//! Batch normalization is between a layer and its activation function: convolution, batch
//! normalization, activation. The layer before it needs no bias, because beta has the same effect.
//! For prediction, it can be merged into that layer: [`fold_into_convolution`],
//! [`fold_into_linear`].
//!
//! If the activation is ReLU, [`BatchNorm::forward_relu`] computes both at once, and
//! [`BatchNorm::forward_add_relu`] computes the end of a residual block.
//!
//! ## Two conventions to know
//!
//! - **Momentum.** Here, as in Burn and in PyTorch, `momentum` is the share of the *new* batch in
//!   the running mean and variance (0.1). Textbooks that write
//!   `running = momentum * running + (1 - momentum) * batch` mean the share of the *old* value
//!   (0.9).
//! - **Variance.** Burn and the textbooks update the running variance with the biased variance
//!   (divided by n); PyTorch uses the unbiased one (divided by n - 1). See [`RunningVariance`]. The
//!   normalization itself uses the biased variance everywhere.
//!
//! ## The kernels
//!
//! Batch normalization has little arithmetic: reading and writing memory limits its speed. Built
//! from tensor operations, it reads and writes each value many times (Burn's own operation swaps
//! axes and reshapes, with a copy each, then squares, sums, subtracts, divides, multiplies and
//! adds). The kernels of this crate read a value only as often as the equations require:
//!
//! | pass | reads | writes | why |
//! |---|---|---|---|
//! | training, forward | x, x | y | the mean must be known before a value can be normalized |
//! | training, backward | x, g, x, g | dx | the two sums must be known before a gradient is |
//! | prediction | x | y | one multiplication and one addition per value |
//!
//! If a channel's values fit in fast memory, the second read is from there. ReLU needs no
//! additional pass, forward or backward; a residual is read once per pass. The backward pass
//! computes again from x which values passed ReLU, so this is not stored.
//!
//! | device | kernels |
//! |---|---|
//! | GPU (`wgpu`, `vulkan`, `metal`, `cuda`, `rocm`) | if a channel fits in a workgroup's shared memory, one workgroup computes it; otherwise workgroups sum parts of it, one merges them, all normalize |
//! | CPU (`flex`, `ndarray`), channels first | if a few channels fit in the cache, one thread computes them; otherwise all threads compute sums, then all normalize |
//! | CPU, channels last, `[batch, channels]`, few positions | the tensor is a table, summed in tiles, all columns of a tile at once |
//!
//! The kernels accept two memory orders, `[batch, channels, height, width]` and channels last, as
//! the convolutions of a GPU return it. The output has the order of the input. A tensor in any
//! other order is copied first.
//!
//! Sums are computed around a mean, never as the mean of squares minus the square of the mean. They
//! are in f32 for f16 and bf16 too, and are merged in a fixed order. So a channel of mean 10,000
//! and variance 1 has correct results, and a run repeats to the last bit, on the CPU with any
//! number of threads. For half precision, the running mean and variance are kept in f32, and
//! prediction computes in f32.
//!
//! The choice depends on the shape, the memory order and the device alone: it is a value, the `Plan`
//! in `gpu` and in `cpu`. A program with a logger prints the plan of every pass at the level
//! `debug`: `RUST_LOG=batch_norm=debug cargo run -p train`.
//!
//! Burn's own operation is available as [`Implementation::Reference`]. The layer also uses it where
//! there are no kernels: for a backend whose feature of this crate is off, and on a GPU for f64 or
//! more than 2^31 values. (A GPU feature turns on Burn's `fusion`.)
//!
//! `cargo xtask bench batch-norm` compares the kernels with Burn's operation and with a plain copy
//! of the tensor; the script next to it measures PyTorch.
//!
//! ## The files
//!
//! `layer` is the module; it calls the operations in [`ops`], which each backend implements
//! (`backends`): with the kernels in `gpu` or `cpu`, or with Burn's own operation (`reference`).
//! `fold` merges a layer into the one before it.
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
//! let layer = layer.valid(); // gradients off: the layer predicts with its running statistics
//! let image = Tensor::<4>::ones([1, 16, 5, 5], &device.inner());
//! assert_eq!(layer.forward(image).dims(), [1, 16, 5, 5]);
//! ```

#![warn(missing_docs)]

mod backends;
#[cfg(feature = "_cpu")]
mod cpu;
mod fold;
#[cfg(feature = "_cube")]
mod gpu;
mod layer;
pub mod ops;
mod reference;

pub use fold::{fold_into_convolution, fold_into_linear};
pub use layer::{BatchNorm, BatchNormConfig, Implementation};
pub use ops::RunningVariance;

#[cfg(test)]
mod tests;

/// The example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

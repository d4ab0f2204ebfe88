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
//! In **prediction** there may be no batch: the layer normalizes with the running mean and variance,
//! moving averages of the means and variances that it saw in training, so that an image's output does
//! not depend on its neighbours in the batch.
//!
//! ## The gradients
//!
//! With g for the gradient of y, and all sums over the n values of one channel:
//!
//! ```text
//! dbeta  = sum(g)
//! dgamma = sum(g * x_hat)
//! dx     = gamma / sqrt(variance + epsilon) * (g - dbeta / n - x_hat * dgamma / n)
//! ```
//!
//! The two terms that are subtracted are there because every value of a channel has a part in its
//! mean and its variance. In a frozen layer, whose statistics are constants, they are not.
//!
//! ## Where it stands
//!
//! Between a layer and its activation function: convolution, batch normalization, activation. As
//! beta takes the part of the bias, the layer before it can do without one. In prediction it can
//! even become part of that layer: [`fold_into_convolution`], [`fold_into_linear`].
//!
//! Where the activation is ReLU, [`BatchNorm::forward_relu`] does both at once, and
//! [`BatchNorm::forward_add_relu`] the end of a residual block.
//!
//! ## Two conventions to know
//!
//! - **Momentum.** Here, as in Burn and in PyTorch, `momentum` is the share that the running mean and
//!   variance *take* from each new batch (0.1). Textbooks that write
//!   `running = momentum * running + (1 - momentum) * batch` mean the share that is *kept* (0.9).
//! - **Variance.** Burn and the textbooks take the biased variance (divided by n) into the running
//!   one; PyTorch takes the unbiased one (divided by n - 1). See [`RunningVariance`]. The
//!   normalization itself uses the biased variance everywhere.
//!
//! ## What computes it
//!
//! Batch normalization has next to no arithmetic: it is as fast as it reads and writes memory. Out
//! of tensor operations it reads and writes each value many times (Burn's own operation swaps axes
//! and reshapes, a copy each, then squares, sums, subtracts, divides, multiplies and adds). The
//! kernels of this crate read a value no more often than the equations make them:
//!
//! | pass | reads | writes | why |
//! |---|---|---|---|
//! | training, forward | x, x | y | the mean must be known before a value can be normalized |
//! | training, backward | x, g, x, g | dx | the two sums must be known before a gradient is |
//! | prediction | x | y | one multiplication and one addition per value |
//!
//! Where a channel's values fit in fast memory, the second reading is from there. A ReLU costs
//! no pass of its own, forward or backward; a residual is read once per pass. What it let through
//! is found again from x in the backward pass, not kept.
//!
//! | device | which kernel |
//! |---|---|
//! | GPU (`wgpu`, `vulkan`, `metal`, `cuda`, `rocm`) | a channel that fits in a workgroup's shared memory: one workgroup does all of it. Others: workgroups sum up parts, one puts them together, all normalize |
//! | CPU (`flex`, `ndarray`), channels first | a few channels that fit in the cache: one thread does all of them. Others: all threads sum up, then all normalize |
//! | CPU, channels last, `[batch, channels]`, few positions | the tensor is a table, summed up in tiles, all columns of a tile at once |
//!
//! The kernels take tensors in either order of memory, `[batch, channels, height, width]` and, as a
//! GPU's convolutions return them, with the channels last, and answer in the same; any other is
//! copied first.
//!
//! Sums are taken around a mean, never as the mean of squares less the square of the mean, in f32
//! for f16 and bf16 too, and put together in one order: a channel of mean 10,000 and variance 1
//! comes out right, and a run repeats to the last bit, on the CPU with any number of threads. The
//! running mean and variance are kept in f32 then, and prediction in half precision computes in f32.
//!
//! Burn's own operation stays: as [`Implementation::Reference`], and wherever there are no kernels: for
//! a backend whose feature of this crate is off, for f64 or more than 2^31 values on a GPU. (A GPU
//! feature turns on Burn's `fusion`.)
//!
//! How fast the kernels are beside Burn's operation and beside a plain copy of the tensor is
//! measured by `cargo xtask bench batch-norm`, and beside PyTorch by the script next to it.
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
mod kernel;
mod layer;
pub mod ops;
mod reference;

pub use fold::{fold_into_convolution, fold_into_linear};
pub use layer::{BatchNorm, BatchNormConfig, Implementation, RunningVariance};

#[cfg(test)]
mod tests;

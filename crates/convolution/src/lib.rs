//! # Convolution, pooling and activations on the CPU
//!
//! Kernels for Burn's own layers. A network keeps its [`Conv2d`], with its parameters and settings,
//! and calls [`Kernels`] in place of the layer's `forward`:
//!
//! ```toml
//! modern-cnn-convolution = { path = "../modern-cnn/crates/convolution", features = ["flex"] } # or "ndarray"
//! ```
//!
//! ```
//! use burn::{
//!     module::Module,
//!     nn::{PaddingConfig2d, conv::{Conv2d, Conv2dConfig}},
//!     tensor::{Device, Distribution, Tensor},
//! };
//! use convolution::Kernels;
//!
//! #[derive(Module, Debug)]
//! struct Network {
//!     conv: Conv2d,
//! }
//!
//! impl Network {
//!     fn forward(&self, x: Tensor<4>) -> Tensor<4> {
//!         Kernels::default().conv2d(&self.conv, x) // instead of self.conv.forward(x)
//!     }
//! }
//!
//! let device = Device::flex().autodiff(); // with gradients, or without
//! let padding = PaddingConfig2d::Explicit(1, 1, 1, 1);
//! let conv = Conv2dConfig::new([16, 32], [3, 3]).with_padding(padding).init(&device);
//! let network = Network { conv };
//! let images = Tensor::<4>::random([8, 16, 12, 12], Distribution::Normal(0.0, 1.0), &device);
//!
//! let output = network.forward(images.clone());
//! let difference = (output.clone() - network.conv.forward(images)).abs().max();
//! assert!(difference.into_scalar::<f32>() < 1e-4);
//!
//! let gradients = output.sum().backward();
//! assert!(network.conv.weight.val().grad(&gradients).is_some());
//! ```
//!
//! ## What a convolution computes
//!
//! An output value is a sum of products of weights and image values, over a window of the image and
//! over all channels:
//!
//! ```text
//! y[n, o, i, j] = bias[o] + sum over c, a, b of  w[o, c, a, b] * x[n, c, i s + a - p, j s + b - p]
//! ```
//!
//! with the stride s, the padding p, and zeros outside of x. Its two gradients are sums of products
//! of the same kind: the gradient of x sums over the outputs that a pixel is part of, the gradient
//! of w over all images and positions. Each value of a layer is used many hundreds of times. So,
//! unlike batch normalization, a convolution is not limited by memory but by the multiplications
//! and additions of the processor, if the values arrive in time. The following sections are about
//! that.
//!
//! ## The implicit matrix product
//!
//! Chellapilla, Puri and Simard, [High Performance Convolutional Neural Networks for Document
//! Processing](https://inria.hal.science/inria-00112631) (2006), copied the window around each
//! position to a row of a matrix (*im2col*). The convolution is then one matrix product, for which
//! fast libraries have always existed:
//!
//! ```text
//! [positions, window x inputs] x [window x inputs, outputs] = [positions, outputs]
//! ```
//!
//! The matrix is larger than the image by a factor of the number of pixels in the window, and takes
//! time to write and to read. An *implicit* matrix product (Chetlur et al.,
//! [cuDNN](https://arxiv.org/abs/1410.0759), 2014) reads each value from its place in the image.
//! The kernels of this crate do the same.
//!
//! **Channels last.** Images are in memory as `[batch, height, width, channels]`. Then a row of the
//! window is one contiguous range of memory, for any size of the image. A vector of the processor
//! holds neighboring output channels, and layers have multiples of 16 of them. With the channels
//! first, a vector would hold neighboring pixels, and small images would leave most of it empty.
//! Tensors keep Burn's shape `[batch, channels, height, width]`; the outputs of the kernels are
//! permuted to it without a copy. An image with its channels first is copied, unless it has at most
//! 4 channels, like a photo: then the kernels pack it line by line. Pooling and the sigmoid keep
//! the memory order of their input.
//!
//! **Register tiles.** Goto and van de Geijn, [Anatomy of High-Performance Matrix
//! Multiplication](https://doi.org/10.1145/1356052.1356053) (2008), describe how a matrix product
//! avoids waiting for memory: a small tile of the result stays in registers until it is finished,
//! and its operands are packed in the order in which they are read, in pieces that fit the caches.
//! Here a tile is some positions by one or two vectors of output channels. Each step loads the
//! weights of its channels, broadcasts one value of each position to a vector, and does one fused
//! multiply-add for each register:
//!
//! | | registers | values in each | tile, positions x channels | with few channels |
//! |---|---|---|---|---|
//! | AVX-512 | 32 | 16 | 14 x 32 | 14 x 16 |
//! | AVX2 with FMA | 16 | 8 | 6 x 16 | 12 x 8 |
//!
//! With AVX-512, an image value is loaded once for 32 multiplications, and a weight once for 14.
//! The rows of a tile are positions along a line of the image, read in place, as in the direct
//! convolutions of Intel's oneDNN and of Georganas et al., [Anatomy of High-Performance Deep
//! Learning Convolutions on SIMD Architectures](https://arxiv.org/abs/1808.05567) (2018). The
//! weights are packed. Lines of the image are copied only if they need padding, or if their pixels
//! are so far apart that they would share a few places of the cache. Bias, residual and ReLU are
//! applied while a tile is in the cache.
//!
//! ## Winograd's algorithm
//!
//! A window of 3 x 3 that moves by one pixel needs only a quarter of the multiplications (Lavin and
//! Gray, [Fast Algorithms for Convolutional Neural Networks](https://arxiv.org/abs/1509.09308),
//! 2016). Directly, a tile of 4 x 4 outputs takes 4 x 4 x 9 = 144 products of the window and the
//! 6 x 6 inputs that the tile depends on. Instead, the window and the inputs are treated as
//! polynomials and multiplied at 6 x 6 = 36 points, and the outputs are computed from the values
//! there. For each point, the sums over the channels are a matrix product of `[tiles, inputs]` and
//! `[inputs, outputs]`, with the same register tiles.
//!
//! The transforms to the points and back take time. Many channels compensate for it, small images
//! do not: a tile that is half outside the image costs as much as a whole one. The kernels estimate
//! both costs, from the shape alone, and choose the algorithm that costs less.
//!
//! **Its error** is about 1e-5 of the largest value of the output, compared with 1e-6 for the
//! direct sum: the transforms add values with factors up to 8, and lose a digit. One NaN or
//! infinity spreads to all outputs of the tiles that read it. [`Kernels::Direct`] turns the
//! algorithm off.
//!
//! ## Which kernel runs when
//!
//! | pass | layer | kernel |
//! |---|---|---|
//! | output, gradient of the input | 3 x 3, stride 1, at least 16 channels in and out, if it costs less | Winograd |
//! | | 1 x 1, stride 1, no padding | direct, all positions of the batch are one long line |
//! | | others | direct, tiles along the lines of an image |
//! | | others, if these tiles would have more padding or unused rows | direct, tiles along the images of the batch: no multiplications with padding |
//! | gradient of the weights | 3 x 3, stride 1, at least 16 channels in and out, if it costs less | Winograd, backward through its three transforms |
//! | | up to 4 input channels, as in a first layer | direct, a tile's rows are the values of a line of the window |
//! | | others | direct, a tile's rows are up to 8 input channels at one position of the window |
//!
//! The choice is a value, the `Plan` in `cpu`. A program with a logger prints the plan of every pass
//! at the level `debug`: `RUST_LOG=convolution=debug cargo run -p train`.
//!
//! The gradient of the input is a convolution of the output's gradient with the flipped window.
//! With a stride of s it splits into s x s convolutions of stride 1, each for pixels that are a
//! stride apart, so that no zeros are multiplied.
//!
//! Pooling processes one axis at a time: it reduces the rows of a window to one row, and then the
//! values of that row.
//!
//! ## Instruction sets, and where Burn computes
//!
//! The crate detects the processor once and uses AVX-512 (F and VL) if it is available, else AVX2
//! with FMA. A layer of up to 8 channels always uses AVX2. The environment variable
//! `CONVOLUTION_MAX_ISA=avx2` disables AVX-512, `portable` disables both. The kernels in plain Rust
//! are for the tests of the others. WebAssembly has its own set, if it is compiled with `simd128`.
//!
//! Burn's operations are used instead, through the same methods and with the same results up to
//! rounding:
//!
//! - with [`Kernels::Burn`];
//! - on a GPU, and on a CPU backend whose feature of this crate is off;
//! - on processors without AVX2 and FMA, such as Arm's, with `CONVOLUTION_MAX_ISA=portable`, and in
//!   WebAssembly without `simd128`;
//! - for types other than f32, for groups and dilation, for pooling with unequal padding on
//!   opposite sides, and for tensors without values.
//!
//! ## The allocator
//!
//! Each layer allocates its output. Most allocators return large blocks to the operating system as
//! soon as they are freed, and the system clears the pages of the next ones: up to a quarter of a
//! training step. A program that trains on the CPU should use an allocator that keeps freed memory,
//! such as mimalloc with a purge delay of -1. The program `train` does.
//!
//! ## Reproducibility
//!
//! The division of the work into tasks depends on the shape of the layer, never on the number of
//! threads, and partial sums of several tasks are added in a fixed order. A run repeats to the last
//! bit, with any number of threads. Another processor rounds differently: AVX-512 and AVX2 divide
//! the work into different pieces, and on Arm processors Burn computes. There are no second-order
//! gradients: a request for them panics.
//!
//! ## The files
//!
//! `kernels` calls the operations in [`ops`] for Burn's layers. Each backend implements them
//! (`backends`, with the gradients in `autodiff`): with the kernels in `cpu`, or with Burn's own
//! operations (`reference`). In `cpu`, `geometry` is a layer on its images; `plan` chooses the
//! algorithm; `gather` computes outputs and input gradients, `weights` the gradients of weights,
//! `winograd` all three by Winograd's algorithm; they share the register tiles (`tile`), the vectors
//! (`simd`), the packed operands (`panels`) and the memory in between (`scratch`). `pool` and
//! `sigmoid` are the other layers, `sums` are the operations of optimizers.
//!
//! `cargo xtask bench convolution` measures the speed of the kernels, layer by layer, and their
//! share of the processor's peak multiply-adds.
//!
//! [`Conv2d`]: burn::nn::conv::Conv2d

#![warn(missing_docs)]

mod backends;
#[cfg(feature = "_cpu")]
mod cpu;
mod kernels;
pub mod ops;
mod reference;
mod sums;

pub use kernels::Kernels;
pub use sums::{sum_of_squares, weighted_sum};

#[cfg(test)]
mod tests;

/// The example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

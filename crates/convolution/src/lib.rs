//! # Convolution, pooling and activations on the CPU
//!
//! Kernels for Burn's own layers. A network keeps its [`Conv2d`], with its parameters and settings, and
//! calls [`Kernels`] in place of the layer's `forward`:
//!
//! ```toml
//! convolution = { path = "../modern-cnn/crates/convolution", features = ["flex"] } # or "ndarray"
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
//! An output is the sum, over a window of the image and over its channels, of weights times values:
//!
//! ```text
//! y[n, o, i, j] = bias[o] + sum over c, a, b of  w[o, c, a, b] * x[n, c, i s + a - p, j s + b - p]
//! ```
//!
//! with the stride s, the padding p, and zeros where x ends. Its two gradients are sums of the same
//! products: that of x over the outputs that a pixel is part of, that of w over all images and
//! positions. Each value of a layer is used many hundred times, so that, unlike batch normalization, a
//! convolution is not as fast as memory, but as fast as the processor multiplies and adds, if the
//! values are at hand in time. All that follows is about that.
//!
//! ## A matrix product that is never written out
//!
//! Chellapilla, Puri and Simard, [High Performance Convolutional Neural Networks for Document
//! Processing](https://inria.hal.science/inria-00112631) (2006), copied the window around each position
//! to a row of a matrix (*im2col*). The convolution is then one matrix product, for which there have
//! always been fast libraries:
//!
//! ```text
//! [positions, window x inputs] x [window x inputs, outputs] = [positions, outputs]
//! ```
//!
//! The matrix is as many times larger than the image as the window has pixels, and takes time to write and
//! to read. An *implicit* matrix product (Chetlur et al., [cuDNN](https://arxiv.org/abs/1410.0759), 2014)
//! takes each value from where it lies in the image. So do the kernels here.
//!
//! **Channels last.** Images lie in memory as `[batch, height, width, channels]`. Then all that a row of
//! the window touches is one stretch of memory, whatever the image's size, and a vector of the processor
//! holds neighbouring output channels, of which layers have multiples of 16. With the channels first, a
//! vector would hold neighbouring pixels, and small images would leave most of it empty. Tensors keep
//! Burn's shape `[batch, channels, height, width]`; what the kernels return is permuted to it without
//! a copy. An image that arrives with its channels first is copied, unless it has so few (up to 4, as
//! a photo) that the kernels put them together line by line. Pooling and the sigmoid answer in the order
//! that they are given.
//!
//! **Tiles of registers.** Goto and van de Geijn, [Anatomy of High-Performance Matrix
//! Multiplication](https://doi.org/10.1145/1356052.1356053) (2008), is how a matrix product is kept from
//! waiting for memory: a small tile of the result stays in registers until it is finished, and what it
//! is made of is packed in the order in which it is read, in pieces that fit the caches. Here a
//! tile is some positions by one or two vectors of output channels. At each step it loads the weights of
//! its channels, spreads one value of each position over a vector, and does one fused multiply-add for
//! each register:
//!
//! | | registers | values in each | tile, positions x channels | of few channels |
//! |---|---|---|---|---|
//! | AVX-512 | 32 | 16 | 14 x 32 | 14 x 16 |
//! | AVX2 with FMA | 16 | 8 | 6 x 16 | 12 x 8 |
//!
//! A value of the image is so multiplied with 32 weights, and a weight with 14 values, for each time
//! that it is loaded. The rows of a tile are positions along a line of the image, read in place, as in the
//! direct convolutions of Intel's oneDNN and of Georganas et al., [Anatomy of High-Performance Deep
//! Learning Convolutions on SIMD Architectures](https://arxiv.org/abs/1808.05567) (2018): the weights are
//! packed, and lines of the image copied only if they need padding or lie so far apart that they
//! would share a few places of the cache. Bias, residual and ReLU are done while a tile is in the cache.
//!
//! ## Winograd's algorithm
//!
//! A window of 3 x 3 that moves by one pixel can do with a quarter of the multiplications (Lavin and Gray,
//! [Fast Algorithms for Convolutional Neural Networks](https://arxiv.org/abs/1509.09308), 2016). A tile of
//! 4 x 4 outputs takes 4 x 4 x 9 = 144 products of the window and the 6 x 6 inputs that it depends on. As
//! polynomials, the two are multiplied at 6 x 6 = 36 points, and the outputs found from the values
//! there. For each of the points, the sums over the channels are a matrix product of `[tiles, inputs]`
//! and `[inputs, outputs]`, with the same tiles of registers.
//!
//! The transforms to points and back take time, which many channels make up for and small images do
//! not: a tile that is half outside the image costs as much as a whole one. The kernels count both, from
//! the shape alone, and take what costs less.
//!
//! **Its error** is about 1e-5 of the largest value of the output, where the direct sum has 1e-6: the
//! transforms add values with factors up to 8, and lose a digit. One NaN or infinity spreads to all
//! outputs of the tiles that read it. [`Kernels::Direct`] turns the algorithm off.
//!
//! ## Which kernel runs when
//!
//! | pass | layer | kernel |
//! |---|---|---|
//! | output, gradient of the input | 3 x 3, stride 1, at least 16 channels in and out, where it costs less | Winograd |
//! | | 1 x 1, stride 1, no padding | direct, all positions of the batch one long line |
//! | | others | direct, tiles along the lines of an image |
//! | | others, where more of these would be padding or unfilled | direct, tiles along the images of the batch: no padding is multiplied |
//! | gradient of the weights | 3 x 3, stride 1, at least 16 channels in and out, where it costs less | Winograd, backward through its three transforms |
//! | | up to 4 input channels, as in a first layer | direct, a tile's rows are the values of a line of the window |
//! | | others | direct, a tile's rows are up to 8 input channels at one place of the window |
//!
//! The gradient of the input is a convolution of the output's gradient with the window turned around.
//! With a stride of s it falls into s x s convolutions of stride 1, one for pixels that are a stride
//! apart, so that no zeros are multiplied.
//!
//! Pooling goes one axis at a time: first the rows of a window become one, then the values of that row.
//!
//! ## Which instructions, and where Burn computes
//!
//! The processor is asked once: AVX-512 (F and VL) if it is there, else AVX2 with FMA. A layer of up to 8
//! channels takes AVX2 in any case. `CONVOLUTION_MAX_ISA=avx2` in the environment leaves AVX-512 out,
//! `portable` both. The third set of kernels, in plain Rust, is for the tests of the other two.
//!
//! Burn's operations take over, through the same methods and with the same results but for rounding:
//!
//! - with [`Kernels::Burn`];
//! - on a GPU, and on a CPU backend whose feature of this crate is off;
//! - on processors without AVX2 and FMA, such as Arm's, and with `CONVOLUTION_MAX_ISA=portable`;
//! - for other types than f32, for groups and dilation, for pooling with other padding on one side than
//!   on the other, and for tensors without values.
//!
//! ## The same bits every time
//!
//! The work is cut into tasks by the shape of the layer, never by the number of threads, and sums that
//! several tasks have a part in are added up in one order. A run repeats to the last bit, with any number
//! of threads. Another processor rounds differently: AVX-512 and AVX2 cut the work into other pieces,
//! and on Arm's Burn computes. The gradients have no gradients of their own: to ask for those is a panic.
//!
//! How fast the kernels are, layer by layer, and what share of the processor's multiply-adds that is, is
//! measured by `cargo xtask bench convolution`.
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

//! The operations of the layers: one trait, which each supported backend implements with the
//! kernels of this crate.

// The generated code names every backend, and Burn's next release no longer has ndarray.
#![cfg_attr(feature = "ndarray", allow(deprecated))]

use burn::backend::{Backend, ExtensionType, backend_extension, tensor::FloatTensor};

/// The options of [`ConvolutionOps::convolve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Stride of the window, down and to the right.
    pub stride: [usize; 2],
    /// Pixels added at the top and at the bottom, at the left and at the right.
    pub padding: [[usize; 2]; 2],
    /// Whether the output is `max(y, 0)`.
    pub relu: bool,
    /// Whether Winograd's algorithm may be used.
    pub winograd: bool,
}

/// The window of [`ConvolutionOps::pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2d {
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Stride of the window, down and to the right.
    pub stride: [usize; 2],
    /// Pixels added above and below, and at the left and right.
    pub padding: [usize; 2],
    /// Whether a last window that ends outside the image counts.
    pub ceil: bool,
}

/// What [`ConvolutionOps::pool`] computes from a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// The largest value. A NaN is larger than any other.
    Max(Pool2d),
    /// The average, including the padding if `count_padding`.
    Average {
        /// The window.
        window: Pool2d,
        /// Whether the padding counts as zeros.
        count_padding: bool,
    },
    /// The average of each cell of a grid with these numbers of rows and columns.
    Adaptive([usize; 2]),
}

/// Which gradients [`ConvolutionOps::convolve_backward`] computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Of the input.
    pub input: bool,
    /// Of the weights.
    pub weight: bool,
    /// Of the bias.
    pub bias: bool,
    /// Of the residual.
    pub residual: bool,
}

/// A tensor that may be missing: an `Option` in a form that an extension of Burn can take and
/// return.
#[derive(Clone, Debug, ExtensionType)]
pub enum Optional<B: Backend> {
    /// There is none.
    Missing,
    /// There is one.
    Given(FloatTensor<B>),
}

impl<B: Backend> Optional<B> {
    /// The tensor, if there is one.
    pub fn get(self) -> Option<FloatTensor<B>> {
        match self {
            Self::Missing => None,
            Self::Given(tensor) => Some(tensor),
        }
    }

    /// The tensor, if there is one.
    pub fn get_ref(&self) -> Option<&FloatTensor<B>> {
        match self {
            Self::Missing => None,
            Self::Given(tensor) => Some(tensor),
        }
    }

    /// Converts from an `Option`.
    pub fn of(tensor: Option<FloatTensor<B>>) -> Self {
        match tensor {
            None => Self::Missing,
            Some(tensor) => Self::Given(tensor),
        }
    }
}

/// What [`ConvolutionOps::convolve_backward`] returns: the gradients that are wanted.
#[derive(Debug, ExtensionType)]
pub struct Gradients<B: Backend> {
    /// Of the input.
    #[extension_type]
    pub input: Optional<B>,
    /// Of the weights.
    #[extension_type]
    pub weight: Optional<B>,
    /// Of the bias.
    #[extension_type]
    pub bias: Optional<B>,
    /// Of the residual.
    #[extension_type]
    pub residual: Optional<B>,
}

/// The operations of this crate, on tensors of f32. Images are `[batch, channels, height, width]`.
///
/// # Panics
///
/// If the shapes of the tensors do not match, a tensor is not f32, or an image is smaller than the
/// window.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Autodiff,
)]
pub trait ConvolutionOps: Backend {
    /// The convolution of images with weights `[outputs, inputs, height, width]`, plus a bias
    /// `[outputs]` and a residual of the output's shape.
    fn convolve(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: Optional<Self>,
        #[extension_type] residual: Optional<Self>,
        options: Convolution,
    ) -> FloatTensor<Self>;

    /// The gradients of [`convolve`](Self::convolve), given its output (needed only with ReLU) and
    /// the gradient of its output.
    fn convolve_backward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] output: Optional<Self>,
        output_grad: FloatTensor<Self>,
        options: Convolution,
        wanted: Wanted,
    ) -> Gradients<Self>;

    /// Reduces every window of every channel to one value.
    fn pool(input: FloatTensor<Self>, pool: Pool) -> FloatTensor<Self>;

    /// The gradient of the input of [`pool`](Self::pool), given the gradient of its output.
    fn pool_backward(
        input: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        pool: Pool,
    ) -> FloatTensor<Self>;

    /// `count` copies of a tensor, for a network that branches.
    /// [`weighted_sum`](Self::weighted_sum) adds the gradients of all copies.
    fn fork(input: FloatTensor<Self>, count: usize) -> Vec<FloatTensor<Self>>;

    /// `factors[0] * a + factors[1] * b` of two tensors of equal shape, in the memory order of `a`.
    fn weighted_sum(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        factors: [f32; 2],
    ) -> FloatTensor<Self>;

    /// The sum of the squares of all values, `[1]`.
    fn sum_of_squares(input: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Concatenates the channels of two to four tensors of images. The result is channels last in
    /// memory.
    fn concatenate(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        #[extension_type] third: Optional<Self>,
        #[extension_type] fourth: Optional<Self>,
    ) -> FloatTensor<Self>;

    /// The reverse of [`concatenate`](Self::concatenate): splits `images` into tensors with these
    /// numbers of channels.
    fn separate(images: FloatTensor<Self>, channels: Vec<usize>) -> Vec<FloatTensor<Self>>;

    /// `1 / (1 + exp(-x))`, of a tensor of any shape.
    fn logistic(input: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The gradient of the input of [`logistic`](Self::logistic), given its output and the gradient
    /// of its output.
    fn logistic_backward(
        output: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

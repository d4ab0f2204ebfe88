use burn::{
    backend::Dispatch,
    config::Config,
    nn::{
        PaddingConfig2d,
        conv::Conv2d,
        pool::{AdaptiveAvgPool2d, AvgPool2d, MaxPool2d},
    },
    tensor::{DType, Tensor, activation::sigmoid},
};

use crate::{
    ops::{Convolution, ConvolutionOps, Optional, Pool, Pool2d},
    reference,
};

/// What computes the layers: this crate's kernels, or Burn's own operations.
///
/// The layers are Burn's and contain the parameters and settings; each method here replaces a
/// layer's `forward`. Burn's operations compute where there are no kernels: on a GPU, for a backend
/// whose feature of this crate is off, for types other than f32, for groups and dilation, and on
/// processors without AVX2.
///
/// ```
/// use burn::{nn::{PaddingConfig2d, conv::Conv2dConfig}, tensor::{Device, Distribution, Tensor}};
/// use convolution::Kernels;
///
/// let device = Device::flex();
/// let layer = Conv2dConfig::new([16, 32], [3, 3])
///     .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
///     .init(&device);
/// let images = Tensor::<4>::random([2, 16, 8, 8], Distribution::Normal(0.0, 1.0), &device);
///
/// let output = Kernels::default().conv2d(&layer, images.clone()); // not layer.forward(images)
/// let difference = (output - layer.forward(images)).abs().max();
/// assert!(difference.into_scalar::<f32>() < 1e-4);
/// ```
#[derive(Config, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// This crate's kernels, and Winograd's algorithm where it is faster: its error is about 1e-5
    /// of the largest value, compared with 1e-6 for the direct sum.
    Winograd,
    /// This crate's kernels, without Winograd's algorithm.
    Direct,
    /// Burn's own operations.
    Burn,
}

#[allow(clippy::derivable_impls)] // `Config` does not support the attribute `default`
impl Default for Kernels {
    fn default() -> Self {
        Self::Winograd
    }
}

impl Kernels {
    /// [`Conv2d::forward`]: images `[batch, channels, height, width]`.
    ///
    /// # Panics
    ///
    /// If the number of channels differs from the layer's, or the images are smaller than the
    /// window after padding.
    pub fn conv2d(self, layer: &Conv2d, images: Tensor<4>) -> Tensor<4> {
        self.convolve(layer, images, None, false)
    }

    /// `relu(conv2d(images))`, without an additional pass for ReLU.
    ///
    /// # Panics
    ///
    /// As [`conv2d`](Self::conv2d).
    pub fn conv2d_relu(self, layer: &Conv2d, images: Tensor<4>) -> Tensor<4> {
        self.convolve(layer, images, None, true)
    }

    /// `conv2d(images) + residual`, without an additional pass for the sum.
    ///
    /// # Panics
    ///
    /// As [`conv2d`](Self::conv2d), and if the residual's shape differs from the output's.
    pub fn conv2d_add(self, layer: &Conv2d, images: Tensor<4>, residual: Tensor<4>) -> Tensor<4> {
        self.convolve(layer, images, Some(residual), false)
    }

    /// `relu(conv2d(images) + residual)`, without additional passes for the sum and ReLU.
    ///
    /// # Panics
    ///
    /// As [`conv2d`](Self::conv2d), and if the residual's shape differs from the output's.
    pub fn conv2d_add_relu(
        self,
        layer: &Conv2d,
        images: Tensor<4>,
        residual: Tensor<4>,
    ) -> Tensor<4> {
        self.convolve(layer, images, Some(residual), true)
    }

    fn convolve(
        self,
        layer: &Conv2d,
        images: Tensor<4>,
        residual: Option<Tensor<4>>,
        relu: bool,
    ) -> Tensor<4> {
        let (weight, bias) = (layer.weight.val(), layer.bias.as_ref().map(|bias| bias.val()));
        let device = images.device();
        let near = |dtype: DType, other| dtype == DType::F32 && other == device;
        let covered = self.covers(&images)
            && layer.groups == 1
            && layer.dilation == [1, 1]
            && near(weight.dtype(), weight.device())
            && bias.as_ref().is_none_or(|bias| near(bias.dtype(), bias.device()))
            && residual.as_ref().is_none_or(|it| near(it.dtype(), it.device()));
        if !covered {
            return reference::conv2d(layer, images, residual, relu);
        }
        let [_, _, height, width] = images.dims();
        let options = Convolution {
            stride: layer.stride,
            padding: padding(&layer.padding, [height, width], layer.kernel_size, layer.stride),
            relu,
            winograd: self == Self::Winograd,
        };
        Tensor::from_dispatch(Dispatch::convolve(
            images.into_dispatch(),
            weight.into_dispatch(),
            Optional::of(bias.map(Tensor::into_dispatch)),
            Optional::of(residual.map(Tensor::into_dispatch)),
            options,
        ))
    }

    /// [`MaxPool2d::forward`]: images `[batch, channels, height, width]`. If a window contains NaN,
    /// the result is NaN, as in PyTorch.
    ///
    /// # Panics
    ///
    /// If the images are smaller than the window after padding.
    pub fn max_pool2d(self, layer: &MaxPool2d, images: Tensor<4>) -> Tensor<4> {
        let window = self
            .window(&images, (layer.kernel_size, layer.stride, &layer.padding, layer.ceil_mode));
        match window.filter(|_| layer.dilation == [1, 1]) {
            Some(window) => pool(images, Pool::Max(window)),
            None => layer.forward(images),
        }
    }

    /// [`AvgPool2d::forward`]: images `[batch, channels, height, width]`.
    ///
    /// # Panics
    ///
    /// If the images are smaller than the window after padding.
    pub fn avg_pool2d(self, layer: &AvgPool2d, images: Tensor<4>) -> Tensor<4> {
        let window = self
            .window(&images, (layer.kernel_size, layer.stride, &layer.padding, layer.ceil_mode));
        match window {
            Some(window) => {
                let count_padding = layer.count_include_pad;
                pool(images, Pool::Average { window, count_padding })
            }
            None => layer.forward(images),
        }
    }

    /// [`AdaptiveAvgPool2d::forward`]: images `[batch, channels, height, width]`.
    ///
    /// # Panics
    ///
    /// If an image has no pixels.
    pub fn adaptive_avg_pool2d(self, layer: &AdaptiveAvgPool2d, images: Tensor<4>) -> Tensor<4> {
        if self.covers(&images) {
            pool(images, Pool::Adaptive(layer.output_size))
        } else {
            layer.forward(images)
        }
    }

    /// `1 / (1 + exp(-x))`, of a tensor of any shape.
    pub fn sigmoid<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        if self.covers(&x) {
            Tensor::from_dispatch(Dispatch::logistic(x.into_dispatch()))
        } else {
            sigmoid(x)
        }
    }

    /// The same tensor `N` times, where a network branches. The gradients of all branches are added
    /// on all threads.
    pub fn fork<const D: usize, const N: usize>(self, x: Tensor<D>) -> [Tensor<D>; N] {
        if !self.covers(&x) {
            return std::array::from_fn(|_| x.clone());
        }
        let mut branches = Dispatch::fork(x.into_dispatch(), N).into_iter();
        std::array::from_fn(|_| {
            Tensor::from_dispatch(branches.next().expect("there are as many branches as wanted"))
        })
    }

    /// Concatenates the channels of images `[batch, channels, height, width]`. The result is
    /// channels last in memory if the kernels compute it.
    ///
    /// # Panics
    ///
    /// If there are no images, or they differ in more than their number of channels.
    pub fn concatenate(self, images: Vec<Tensor<4>>) -> Tensor<4> {
        if images.len() < 2 || !images.iter().all(|images| self.covers(images)) {
            return Tensor::cat(images, 1);
        }
        let mut images = images.into_iter().map(Tensor::into_dispatch);
        let mut all = images.next().expect("there are at least two");
        while let Some(second) = images.next() {
            let (third, fourth) = (Optional::of(images.next()), Optional::of(images.next()));
            all = Dispatch::concatenate(all, second, third, fourth);
        }
        Tensor::from_dispatch(all)
    }

    /// The window of a pooling layer, if the kernels support it.
    fn window(
        self,
        images: &Tensor<4>,
        (size, stride, padded, ceil): ([usize; 2], [usize; 2], &PaddingConfig2d, bool),
    ) -> Option<Pool2d> {
        let [_, _, height, width] = images.dims();
        let [[top, bottom], [left, right]] = padding(padded, [height, width], size, stride);
        (self.covers(images) && top == bottom && left == right).then_some(Pool2d {
            kernel: size,
            stride,
            padding: [top, left],
            ceil,
        })
    }

    /// Whether the kernels are selected and support the tensor.
    fn covers<const D: usize>(self, tensor: &Tensor<D>) -> bool {
        self != Self::Burn && is_covered(tensor)
    }
}

fn pool(images: Tensor<4>, pool: Pool) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::pool(images.into_dispatch(), pool))
}

/// The padding above and below, left and right.
fn padding(
    config: &PaddingConfig2d,
    size: [usize; 2],
    window: [usize; 2],
    stride: [usize; 2],
) -> [[usize; 2]; 2] {
    match config {
        PaddingConfig2d::Valid => [[0, 0], [0, 0]],
        PaddingConfig2d::Explicit(top, left, bottom, right) => [[*top, *bottom], [*left, *right]],
        // As many windows as strides in the image; if the padding is odd, the end gets one more.
        PaddingConfig2d::Same => [0, 1].map(|axis| {
            let windows = size[axis].div_ceil(stride[axis]);
            let needed = (windows.max(1) - 1) * stride[axis] + window[axis];
            let total = needed.saturating_sub(size[axis]);
            [total / 2, total - total / 2]
        }),
    }
}

/// Whether there are kernels for the tensor: it is f32, and on a backend that this crate was built
/// for.
pub(crate) fn is_covered<const D: usize>(tensor: &Tensor<D>) -> bool {
    use burn::backend::DispatchTensorKind as Kind;
    fn covered(kind: &Kind) -> bool {
        match kind {
            #[cfg(feature = "flex")]
            Kind::Flex(_) => crate::cpu::simd::Isa::best().is_fast(),
            #[cfg(feature = "ndarray")]
            Kind::NdArray(_) => crate::cpu::simd::Isa::best().is_fast(),
            Kind::Autodiff(inner) => covered(inner),
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }
    tensor.dtype() == DType::F32
        && tensor.shape().num_elements() > 0
        && covered(&tensor.clone().into_dispatch().kind)
}

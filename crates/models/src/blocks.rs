//! Building blocks that several networks use.

use batch_norm::{
    BatchNorm, BatchNormConfig, Implementation, RunningVariance, fold_into_convolution,
};
use burn::{
    module::Module,
    nn::{
        Linear, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        pool::{
            AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, AvgPool2d, AvgPool2dConfig, MaxPool2d,
            MaxPool2dConfig,
        },
    },
    tensor::Device,
};

use crate::{FeatureMap, Initialization, Kernels};

/// A convolution and, in most networks, the batch normalization after it.
#[derive(Module, Debug)]
pub struct ConvNorm {
    /// The convolution.
    pub conv: Conv2d,
    /// The normalization of its output; `None` if the network has none, or if it was folded into
    /// the convolution.
    pub bn: Option<BatchNorm>,
    /// Which kernels compute the layers.
    #[module(skip)]
    pub kernels: Kernels,
}

impl ConvNorm {
    /// Maps `[batch, channels in, height, width]` to `[batch, channels out, height, width]`.
    pub fn forward<X: FeatureMap>(&self, x: X) -> X {
        self.forward_with(x, None, false)
    }

    /// [`forward`](Self::forward), then ReLU.
    pub fn forward_relu<X: FeatureMap>(&self, x: X) -> X {
        self.forward_with(x, None, true)
    }

    /// [`forward`](Self::forward), plus the residual, then ReLU.
    pub fn forward_add_relu<X: FeatureMap>(&self, x: X, residual: X) -> X {
        self.forward_with(x, Some(residual), true)
    }

    fn forward_with<X: FeatureMap>(&self, x: X, residual: Option<X>, relu: bool) -> X {
        match &self.bn {
            Some(bn) => x.conv2d(&self.conv, self.kernels).normalize(bn, residual, relu),
            None => x.convolve(&self.conv, residual, relu, self.kernels),
        }
    }

    /// Folds the two layers into one convolution, for prediction.
    pub(crate) fn fold(self) -> Self {
        match self.bn {
            Some(bn) => Self { conv: fold_into_convolution(self.conv, &bn), bn: None, ..self },
            None => self,
        }
    }
}

/// The kernel size, stride and padding of a square convolution or pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    size: usize,
    stride: usize,
    padding: usize,
    ceil: bool,
}

/// A window of `size` x `size` pixels.
pub(crate) const fn window(size: usize) -> Window {
    Window { size, stride: 1, padding: 0, ceil: false }
}

impl Window {
    pub(crate) const fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// Pixels added on each side.
    pub(crate) const fn padding(self, padding: usize) -> Self {
        Self { padding, ..self }
    }

    /// Whether a last window that ends outside the image counts (ceil mode, for pools).
    pub(crate) const fn round_up(self, ceil: bool) -> Self {
        Self { ceil, ..self }
    }

    pub(crate) fn max_pool(self) -> MaxPool2d {
        MaxPool2dConfig::new([self.size; 2])
            .with_strides([self.stride; 2])
            .with_padding(padding(self.padding))
            .with_ceil_mode(self.ceil)
            .init()
    }

    pub(crate) fn average_pool(self) -> AvgPool2d {
        AvgPool2dConfig::new([self.size; 2]).with_strides([self.stride; 2]).init()
    }
}

/// Averages each channel to `side` x `side` values, for images of any size.
pub(crate) fn average_to(side: usize) -> AdaptiveAvgPool2d {
    AdaptiveAvgPool2dConfig::new([side; 2]).init()
}

fn padding(n: usize) -> PaddingConfig2d {
    match n {
        0 => PaddingConfig2d::Valid,
        n => PaddingConfig2d::Explicit(n, n, n, n),
    }
}

/// Creates the layers of one network, which share these settings.
pub(crate) struct Layers<'a> {
    pub initialization: &'a Initialization,
    /// Whether convolutions have a bias.
    pub bias: bool,
    /// Whether a convolution is followed by batch normalization.
    pub batch_norm: bool,
    /// Added to the variance in batch normalization.
    pub epsilon: f64,
    pub kernels: Kernels,
    pub device: &'a Device,
}

impl<'a> Layers<'a> {
    /// Layers with a bias and without batch normalization, whose epsilon is that of PyTorch and
    /// Burn.
    pub(crate) fn new(
        initialization: &'a Initialization,
        kernels: Kernels,
        device: &'a Device,
    ) -> Self {
        Self { initialization, bias: true, batch_norm: false, epsilon: 1e-5, kernels, device }
    }

    pub(crate) fn conv(&self, channels: [usize; 2], window: Window) -> Conv2d {
        let config = Conv2dConfig::new(channels, [window.size; 2])
            .with_stride([window.stride; 2])
            .with_padding(padding(window.padding))
            .with_bias(self.bias);
        self.initialization.conv2d(config, self.device)
    }

    pub(crate) fn conv_norm(&self, channels: [usize; 2], window: Window) -> ConvNorm {
        ConvNorm {
            conv: self.conv(channels, window),
            bn: self.batch_norm.then(|| self.norm(channels[1])),
            kernels: self.kernels,
        }
    }

    pub(crate) fn norm(&self, channels: usize) -> BatchNorm {
        // As PyTorch computes it: torchvision and the D2L notes use PyTorch, and so do the usual
        // training programs for the small networks.
        BatchNormConfig::new(channels)
            .with_running_variance(RunningVariance::Unbiased)
            .with_epsilon(self.epsilon)
            .with_implementation(match self.kernels {
                Kernels::Burn => Implementation::Reference,
                Kernels::Winograd | Kernels::Direct => Implementation::Kernel,
            })
            .init(self.device)
    }

    pub(crate) fn linear(&self, features: [usize; 2]) -> Linear {
        self.initialization.linear(features, self.device)
    }
}

/// Folds each item.
pub(crate) fn fold_all<T>(items: Vec<T>, fold: impl FnMut(T) -> T) -> Vec<T> {
    items.into_iter().map(fold).collect()
}

//! # Wide residual networks: wider, not deeper
//!
//! Zagoruyko and Komodakis, [Wide residual networks](https://arxiv.org/abs/1605.07146) (2016), with
//! the blocks of He et al., [Identity mappings in deep residual
//! networks](https://arxiv.org/abs/1603.05027) (2016). Each doubling of a ResNet's depth improves
//! accuracy less, and a GPU computes many thin layers inefficiently. A network of sixteen layers
//! that are several times as wide is as accurate as one of a thousand thin layers, and trains
//! several times as fast.
//!
//! Normalization and ReLU are *before* each convolution, so that nothing changes the values on the
//! shortcuts:
//!
//! ```text
//!   x ----+--> bn --> relu --> conv --> bn --> relu --> conv --(+)--> f(x) + x
//!         +-------------------------- shortcut ---------------+
//! ```
//!
//! WRN-D-K has D layers and K times the channels of the first ResNets for small images: 16, 32 and
//! 64. Its three stages have (D - 4) / 6 blocks each. The blocks have no dropout.
//!
//! | | depth, width | parameters, grayscale images of 10 classes |
//! |---|---|---|
//! | [`wrn_16_1`](WideResNetConfig::wrn_16_1) | 16, 1 | 174,778 |
//! | [`wrn_16_2`](WideResNetConfig::wrn_16_2) | 16, 2 | 691,386 |
//! | [`wrn_16_4`](WideResNetConfig::wrn_16_4) | 16, 4 | 2,748,602 |
//! | [`wrn_28_10`](WideResNetConfig::wrn_28_10) | 28, 10 | 36,478,906 |
//! | [`wrn_40_4`](WideResNetConfig::wrn_40_4) | 40, 4 | 8,948,922 |
//!
//! | stage, at 28 x 28 pixels | output |
//! |---|---|
//! | conv1, 3 x 3 | 16 x 28 x 28 |
//! | group1 | 16 K x 28 x 28 |
//! | group2 | 32 K x 14 x 14 |
//! | group3 | 64 K x 7 x 7 |
//! | fc | 10 |

use batch_norm::BatchNorm;
use burn::{
    config::Config,
    module::Module,
    nn::{Linear, conv::Conv2d, pool::AdaptiveAvgPool2d},
    tensor::Device,
};

use crate::{
    ConvNet, FeatureMap, FeatureVector, ImageError, Initialization, Kernels, LayerNames,
    blocks::{ConvNorm, Layers, average_to, fold_all, window},
    conv_net::{assert_takes, at_least},
    init::{HE_FAN_OUT, PYTORCH},
};

/// The config of a wide residual network.
#[derive(Config, Debug)]
pub struct WideResNetConfig {
    /// Channels of the images: 1 for grayscale, 3 for color.
    #[config(default = 1)]
    pub channels: usize,
    /// Number of classes.
    #[config(default = 10)]
    pub classes: usize,
    /// Number of layers with weights: 4 more than a multiple of 6.
    pub depth: usize,
    /// The factor by which 16, 32 and 64 channels are multiplied.
    pub width: usize,
    /// Which kernels compute the layers.
    #[config(default = "Kernels::Winograd")]
    pub kernels: Kernels,
}

/// A wide residual network, for images of any size; designed for 28 to 32 pixels.
///
/// Created by [`WideResNetConfig::init`]. The module's documentation has a figure of its blocks.
#[derive(Module, Debug)]
pub struct WideResNet {
    /// The stem: 3 x 3, to 16 channels.
    pub conv1: Conv2d,
    /// Keeps the size of the image.
    pub group1: Vec<WideBlock>,
    /// Halves the image, doubles the channels.
    pub group2: Vec<WideBlock>,
    /// Halves the image, doubles the channels.
    pub group3: Vec<WideBlock>,
    /// After the last block.
    pub bn: BatchNorm,
    /// Global average pooling.
    pub average: AdaptiveAvgPool2d,
    /// Outputs the logits.
    pub fc: Linear,
    /// Which kernels compute the layers.
    #[module(skip)]
    pub kernels: Kernels,
}

/// A residual block with normalization before each convolution.
#[derive(Module, Debug)]
pub struct WideBlock {
    /// Of the block's input.
    pub bn1: BatchNorm,
    /// 3 x 3, and the normalization after it.
    pub conv1: ConvNorm,
    /// 3 x 3.
    pub conv2: Conv2d,
    /// If input and output differ in shape: 1 x 1, on the normalized input.
    pub shortcut: Option<Conv2d>,
    /// Which kernels compute the layers.
    #[module(skip)]
    pub kernels: Kernels,
}

impl WideResNetConfig {
    /// WRN-16-1, as wide as the first ResNets for small images: trains in minutes on a CPU.
    pub fn wrn_16_1() -> Self {
        Self::new(16, 1)
    }

    /// WRN-16-2.
    pub fn wrn_16_2() -> Self {
        Self::new(16, 2)
    }

    /// WRN-16-4.
    pub fn wrn_16_4() -> Self {
        Self::new(16, 4)
    }

    /// WRN-28-10.
    pub fn wrn_28_10() -> Self {
        Self::new(28, 10)
    }

    /// WRN-40-4.
    pub fn wrn_40_4() -> Self {
        Self::new(40, 4)
    }

    /// Creates the network with He initialization.
    ///
    /// # Panics
    ///
    /// If the depth is not 4 more than a multiple of 6, or the network has no blocks.
    pub fn init(&self, device: &Device) -> WideResNet {
        let depth = self.depth;
        assert!(
            depth >= 10 && (depth - 4).is_multiple_of(6),
            "the depth of a wide residual network must be 6 n + 4 with n at least 1, not {depth}"
        );
        let initialization =
            Initialization { convolution: HE_FAN_OUT, linear: PYTORCH, zero_biases: false };
        let layers = Layers {
            bias: false,
            batch_norm: true,
            ..Layers::new(&initialization, self.kernels, device)
        };
        let mut channels = 16;
        let mut group = |width, stride| {
            let blocks = (0..(depth - 4) / 6).map(|index| {
                let stride = if index == 0 { stride } else { 1 };
                let inputs = std::mem::replace(&mut channels, width);
                block(&layers, inputs, width, stride)
            });
            blocks.collect()
        };
        WideResNet {
            conv1: layers.conv([self.channels, 16], window(3).padding(1)),
            group1: group(16 * self.width, 1),
            group2: group(32 * self.width, 2),
            group3: group(64 * self.width, 2),
            bn: layers.norm(64 * self.width),
            average: average_to(1),
            fc: layers.linear([64 * self.width, self.classes]),
            kernels: self.kernels,
        }
    }
}

fn block(layers: &Layers, inputs: usize, outputs: usize, stride: usize) -> WideBlock {
    let reshapes = stride != 1 || inputs != outputs;
    WideBlock {
        bn1: layers.norm(inputs),
        conv1: layers.conv_norm([inputs, outputs], window(3).stride(stride).padding(1)),
        conv2: layers.conv([outputs, outputs], window(3).padding(1)),
        shortcut: reshapes.then(|| layers.conv([inputs, outputs], window(1).stride(stride))),
        kernels: layers.kernels,
    }
}

impl WideBlock {
    /// Maps `[batch, channels in, height, width]` to `[batch, channels out, height, width]`. The
    /// first block of all groups but the first halves height and width.
    pub fn forward<X: FeatureMap>(&self, x: X) -> X {
        let kernels = self.kernels;
        let (activated, shortcut) = match &self.shortcut {
            Some(shortcut) => {
                let [activated, x] = x.batch_norm_relu(&self.bn1).fork(kernels);
                (activated, x.conv2d(shortcut, kernels))
            }
            None => {
                let [x, shortcut] = x.fork(kernels);
                (x.batch_norm_relu(&self.bn1), shortcut)
            }
        };
        let x = self.conv1.forward_relu(activated);
        x.convolve(&self.conv2, Some(shortcut), false, kernels)
    }

    fn fold(self) -> Self {
        Self { conv1: self.conv1.fold(), ..self }
    }
}

impl ConvNet for WideResNet {
    /// Maps images `[batch, channels, height, width]` to the last feature map: at 28 pixels
    /// `[batch, 64 K, 7, 7]`.
    ///
    /// # Panics
    ///
    /// If the images have a different number of channels.
    fn features<X: FeatureMap>(&self, images: X) -> X {
        assert_takes(self, &images);
        let group = |blocks: &[WideBlock], x| {
            blocks.iter().fold(x, |x: X, block| x.block("residual block", |x| block.forward(x)))
        };
        let x = images.conv2d(&self.conv1, self.kernels); // [b, 16, 28, 28]
        let x = group(&self.group1, x); // [b, 16 K, 28, 28]
        let x = group(&self.group2, x); // [b, 32 K, 14, 14]
        let x = group(&self.group3, x); // [b, 64 K, 7, 7]
        x.batch_norm_relu(&self.bn) // [b, 64 K, 7, 7]
    }

    fn classify<X: FeatureMap>(&self, features: X) -> X::Vector {
        let x = features.adaptive_avg_pool2d(&self.average, self.kernels);
        x.flatten().linear(&self.fc) // [b, classes]
    }

    fn check(&self, image: [usize; 3]) -> Result<(), ImageError> {
        at_least(1, "WRN", self.conv1.weight.lazy_shape()[1], image)
    }

    fn prepare_for_prediction(self) -> Self {
        let network = self.valid();
        Self {
            group1: fold_all(network.group1, WideBlock::fold),
            group2: fold_all(network.group2, WideBlock::fold),
            group3: fold_all(network.group3, WideBlock::fold),
            ..network
        }
    }
}

impl LayerNames for WideResNet {
    fn torchvision_name(&self, layer: &str) -> String {
        match layer.rsplit_once('.') {
            Some((convolution, "conv")) => convolution.to_owned(),
            Some((convolution, "bn")) => convolution.replace("conv1", "bn2"),
            _ => layer.to_owned(),
        }
    }

    fn classifier(&self) -> &'static [&'static str] {
        &["fc"]
    }
}

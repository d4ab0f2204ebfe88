//! # NiN: network in network
//!
//! Lin, Chen and Yan, [Network in network](https://arxiv.org/abs/1312.4400) (2013); its figure 2
//! shows the network. LeNet, AlexNet and VGG find features with convolutions and classify them with
//! fully connected layers, which have most of the parameters and overfit. NiN has no fully
//! connected layers:
//!
//! - Its block is a convolution followed by two 1 x 1 convolutions, which are a small fully
//!   connected network at every pixel.
//! - The last block has a channel for each class. The average of a channel over the image is the
//!   logit of that class.
//!
//! The later networks adopted its 1 x 1 convolutions and global average pooling.
//!
//! Two variants:
//!
//! - [`NinConfig::d2l`]: the network of the D2L notes: AlexNet's convolutions, each followed by two
//!   1 x 1 convolutions.
//! - [`NinConfig::imagenet`]: the model that the authors published for Caffe: the output sizes of
//!   pools are rounded up, and the last block has 1,024 channels inside. (The paper itself
//!   describes only networks for small images.)
//!
//! | stage | `d2l`, 1 x 224 x 224 | parameters | `imagenet`, 3 x 224 x 224 | parameters |
//! |---|---|---|---|---|
//! | block 1, 11 x 11, stride 4 | 96 x 54 x 54 | 30,336 | 96 x 54 x 54 | 53,568 |
//! | pool | 96 x 26 x 26 | | 96 x 27 x 27 | |
//! | block 2, 5 x 5 | 256 x 26 x 26 | 746,240 | 256 x 27 x 27 | 746,240 |
//! | pool | 256 x 12 x 12 | | 256 x 13 x 13 | |
//! | block 3, 3 x 3 | 384 x 12 x 12 | 1,180,800 | 384 x 13 x 13 | 1,180,800 |
//! | pool | 384 x 5 x 5 | | 384 x 6 x 6 | |
//! | block 4, 3 x 3 | 10 x 5 x 5 | 34,790 | 1,000 x 6 x 6 | 5,614,568 |
//! | **total** | | **1,992,166** | | **7,595,176** |

use burn::{
    config::Config,
    module::Module,
    nn::{
        Dropout, DropoutConfig,
        conv::Conv2d,
        pool::{AdaptiveAvgPool2d, MaxPool2d},
    },
    tensor::Device,
};

use crate::{
    ConvNet, FeatureMap, ImageError, Initialization, Kernels, LayerNames, Listing,
    blocks::{Layers, Window, average_to, window},
    conv_net::{assert_takes, at_least},
    init::HE_FAN_IN,
};

/// The config of a NiN.
#[derive(Config, Debug)]
pub struct NinConfig {
    /// Channels of the images: 1 for grayscale, 3 for color.
    #[config(default = 3)]
    pub channels: usize,
    /// Number of classes.
    #[config(default = 1000)]
    pub classes: usize,
    /// Channels inside the last block; if `None`, the number of classes.
    pub last_width: Option<usize>,
    /// Whether the output sizes of pools are rounded up (ceil mode).
    pub round_up: bool,
    /// The dropout probability, before the last block.
    #[config(default = 0.5)]
    pub dropout: f64,
    /// How the initial weights are drawn.
    pub initialization: Initialization,
    /// Which kernels compute the layers.
    #[config(default = "Kernels::Winograd")]
    pub kernels: Kernels,
}

/// NiN, for images of at least 67 x 67 pixels (39 x 39 if pools round up); designed for 224 x 224.
///
/// Created by [`NinConfig::init`].
#[derive(Module, Debug)]
pub struct Nin {
    /// 11 x 11, stride 4, to 96 channels.
    pub block1: NinBlock,
    /// 5 x 5, to 256 channels.
    pub block2: NinBlock,
    /// 3 x 3, to 384 channels.
    pub block3: NinBlock,
    /// 3 x 3, to one channel for each class.
    pub block4: NinBlock,
    /// 3 x 3, stride 2; after each of the first three blocks.
    pub pool: MaxPool2d,
    /// Before the last block.
    pub dropout: Dropout,
    /// Global average pooling.
    pub average: AdaptiveAvgPool2d,
    /// Which kernels compute the layers.
    #[module(skip)]
    pub kernels: Kernels,
}

/// A convolution and two 1 x 1 convolutions, each followed by ReLU.
#[derive(Module, Debug)]
pub struct NinBlock {
    /// The convolution that is larger than 1 x 1.
    pub conv: Conv2d,
    /// 1 x 1.
    pub pointwise1: Conv2d,
    /// 1 x 1.
    pub pointwise2: Conv2d,
    /// Which kernels compute the layers.
    #[module(skip)]
    pub kernels: Kernels,
}

impl NinConfig {
    /// The network of the D2L notes, for Fashion-MNIST enlarged to 224 pixels.
    pub fn d2l() -> Self {
        Self::new(false, Initialization::XAVIER).with_channels(1).with_classes(10)
    }

    /// The authors' network for ImageNet.
    pub fn imagenet() -> Self {
        let initialization =
            Initialization { convolution: HE_FAN_IN, linear: HE_FAN_IN, zero_biases: true };
        Self::new(true, initialization).with_last_width(Some(1024))
    }

    /// Creates the network with random initial weights.
    pub fn init(&self, device: &Device) -> Nin {
        let layers = Layers::new(&self.initialization, self.kernels, device);
        let block = |inputs, [width, outputs]: [usize; 2], window: Window| NinBlock {
            conv: layers.conv([inputs, width], window),
            pointwise1: layers.conv([width, width], self::window(1)),
            pointwise2: layers.conv([width, outputs], self::window(1)),
            kernels: self.kernels,
        };
        let last_width = self.last_width.unwrap_or(self.classes);
        Nin {
            block1: block(self.channels, [96, 96], window(11).stride(4)),
            block2: block(96, [256, 256], window(5).padding(2)),
            block3: block(256, [384, 384], window(3).padding(1)),
            block4: block(384, [last_width, self.classes], window(3).padding(1)),
            pool: window(3).stride(2).round_up(self.round_up).max_pool(),
            dropout: DropoutConfig::new(self.dropout).init(),
            average: average_to(1),
            kernels: self.kernels,
        }
    }
}

impl NinBlock {
    /// Maps `[batch, channels in, height, width]` to `[batch, channels out, height, width]`.
    pub fn forward<X: FeatureMap>(&self, x: X) -> X {
        x.block("NiN block", |x| {
            let x = x.conv2d_relu(&self.conv, self.kernels);
            let x = x.conv2d_relu(&self.pointwise1, self.kernels);
            x.conv2d_relu(&self.pointwise2, self.kernels)
        })
    }
}

impl ConvNet for Nin {
    /// Maps images `[batch, channels, height, width]` to the last feature map, with a channel for
    /// each class: at 224 pixels `[batch, classes, 5, 5]`, or `[batch, classes, 6, 6]` if pools
    /// round up.
    ///
    /// # Panics
    ///
    /// If the images are smaller than 67 x 67 pixels (39 x 39 if pools round up), or have a
    /// different number of channels.
    fn features<X: FeatureMap>(&self, images: X) -> X {
        assert_takes(self, &images);
        let x = self.block1.forward(images); // [b, 96, 54, 54]
        let x = x.max_pool2d(&self.pool, self.kernels); // [b, 96, 26, 26], imagenet: 27
        let x = self.block2.forward(x); // [b, 256, 26, 26], imagenet: 27
        let x = x.max_pool2d(&self.pool, self.kernels); // [b, 256, 12, 12], imagenet: 13
        let x = self.block3.forward(x); // [b, 384, 12, 12], imagenet: 13
        let x = x.max_pool2d(&self.pool, self.kernels); // [b, 384, 5, 5], imagenet: 6
        self.block4.forward(x.dropout(&self.dropout)) // [b, classes, 5, 5], imagenet: 6
    }

    fn classify<X: FeatureMap>(&self, features: X) -> X::Vector {
        features.adaptive_avg_pool2d(&self.average, self.kernels).flatten() // [b, classes]
    }

    fn check(&self, image: [usize; 3]) -> Result<(), ImageError> {
        let side = if self.pool.ceil_mode { 39 } else { 67 };
        at_least(side, "NiN", self.block1.conv.weight.lazy_shape()[1], image)
    }
}

impl LayerNames for Nin {
    /// Blocks of three convolutions, each followed by a ReLU, with pools and dropout between them.
    fn d2l_name(&self, layer: &str, _: Listing) -> Option<String> {
        let (block, conv) = layer.split_once('.')?;
        let block = match block {
            "block1" => 0,
            "block2" => 2,
            "block3" => 4,
            _ => 7,
        };
        let conv = match conv {
            "conv" => 0,
            "pointwise1" => 2,
            _ => 4,
        };
        Some(format!("{block}.{conv}"))
    }

    fn classifier(&self) -> &'static [&'static str] {
        let shapes = [&self.block4.pointwise1, &self.block4.pointwise2]
            .map(|pointwise| pointwise.weight.lazy_shape()[0]);
        if shapes[0] == shapes[1] {
            &["block4.conv", "block4.pointwise1", "block4.pointwise2"]
        } else {
            &["block4.pointwise2"]
        }
    }
}

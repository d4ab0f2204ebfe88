//! # AlexNet: a deep convolutional network
//!
//! Krizhevsky, Sutskever and Hinton, [ImageNet classification with deep convolutional neural
//! networks](https://papers.nips.cc/paper/4824) (2012); its figure 2 shows the network. AlexNet is
//! a deeper and much wider LeNet, with five convolutions and three fully connected layers. These
//! changes made it trainable: ReLU instead of sigmoid, so that gradients do not vanish; max pooling
//! over overlapping windows; dropout in the fully connected layers, which have about nine tenths of
//! the parameters; and GPUs.
//!
//! Two variants:
//!
//! - [`AlexNetConfig::d2l`]: the network of the D2L notes for grayscale images. It has the paper's
//!   widths but does not split the channels between two GPUs, as the paper does.
//! - [`AlexNetConfig::imagenet`]: torchvision's network, with the widths of Krizhevsky's later
//!   paper, [One weird trick for parallelizing convolutional neural
//!   networks](https://arxiv.org/abs/1404.5997) (2014).
//!
//! Neither has the paper's local response normalization. Dropout is before the first two fully
//! connected layers in torchvision, and after them in the paper and the D2L notes.
//!
//! | stage | `d2l`, 1 x 224 x 224 | parameters | `imagenet`, 3 x 224 x 224 | parameters |
//! |---|---|---|---|---|
//! | conv1, 11 x 11, stride 4 | 96 x 54 x 54 | 11,712 | 64 x 55 x 55 | 23,296 |
//! | pool | 96 x 26 x 26 | | 64 x 27 x 27 | |
//! | conv2, 5 x 5 | 256 x 26 x 26 | 614,656 | 192 x 27 x 27 | 307,392 |
//! | pool | 256 x 12 x 12 | | 192 x 13 x 13 | |
//! | conv3, 3 x 3 | 384 x 12 x 12 | 885,120 | 384 x 13 x 13 | 663,936 |
//! | conv4, 3 x 3 | 384 x 12 x 12 | 1,327,488 | 256 x 13 x 13 | 884,992 |
//! | conv5, 3 x 3 | 256 x 12 x 12 | 884,992 | 256 x 13 x 13 | 590,080 |
//! | pool | 256 x 5 x 5 | | 256 x 6 x 6 | |
//! | fc6 | 4,096 | 26,218,496 | 4,096 | 37,752,832 |
//! | fc7 | 4,096 | 16,781,312 | 4,096 | 16,781,312 |
//! | fc8 | 10 | 40,970 | 1,000 | 4,097,000 |
//! | **total** | | **46,764,746** | | **61,100,840** |

use burn::{
    config::Config,
    module::Module,
    nn::{
        Dropout, DropoutConfig, Linear,
        conv::Conv2d,
        pool::{AdaptiveAvgPool2d, MaxPool2d},
    },
    tensor::Device,
};

use crate::{
    ConvNet, FeatureMap, FeatureVector, ImageError, Initialization, Kernels, LayerNames, Listing,
    blocks::{Layers, average_to, window},
    conv_net::{assert_takes, at_least},
    feature_map::padded,
    init::PYTORCH,
};

/// The config of a AlexNet.
#[derive(Config, Debug)]
pub struct AlexNetConfig {
    /// Channels of the images: 1 for grayscale, 3 for color.
    #[config(default = 3)]
    pub channels: usize,
    /// Number of classes.
    #[config(default = 1000)]
    pub classes: usize,
    /// Channels after each of the five convolutions.
    pub widths: [usize; 5],
    /// Units of each of the two hidden fully connected layers.
    #[config(default = 4096)]
    pub units: usize,
    /// Pixels added on each side before the first convolution.
    pub padding: usize,
    /// The height and width of the feature map that enters the fully connected layers.
    pub grid: usize,
    /// The dropout probability.
    #[config(default = 0.5)]
    pub dropout: f64,
    /// Whether dropout is before the fully connected layers, as in torchvision.
    pub dropout_first: bool,
    /// How the initial weights are drawn.
    pub initialization: Initialization,
    /// Which kernels compute the layers.
    #[config(default = "Kernels::Winograd")]
    pub kernels: Kernels,
}

/// AlexNet, for images of at least 63 x 63 pixels (`d2l`: 65 x 65); designed for 224 x 224.
///
/// Created by [`AlexNetConfig::init`].
#[derive(Module, Debug)]
pub struct AlexNet {
    /// 11 x 11, stride 4.
    pub conv1: Conv2d,
    /// 5 x 5.
    pub conv2: Conv2d,
    /// 3 x 3.
    pub conv3: Conv2d,
    /// 3 x 3.
    pub conv4: Conv2d,
    /// 3 x 3.
    pub conv5: Conv2d,
    /// 3 x 3, stride 2; after the first, the second and the last convolution.
    pub pool: MaxPool2d,
    /// To the input size of `fc6`. At 224 pixels the feature map already has this size.
    pub grid: AdaptiveAvgPool2d,
    /// Before or after `fc6` and `fc7`.
    pub dropout: Dropout,
    /// From the feature map.
    pub fc6: Linear,
    /// Between the two hidden layers.
    pub fc7: Linear,
    /// Outputs the logits.
    pub fc8: Linear,
    /// Whether dropout is before `fc6` and `fc7`.
    pub dropout_first: bool,
    /// Which kernels compute the layers.
    #[module(skip)]
    pub kernels: Kernels,
}

impl AlexNetConfig {
    /// The network of the D2L notes, for Fashion-MNIST enlarged to 224 pixels.
    pub fn d2l() -> Self {
        Self::new([96, 256, 384, 384, 256], 1, 5, false, Initialization::XAVIER)
            .with_channels(1)
            .with_classes(10)
    }

    /// torchvision's `alexnet`.
    pub fn imagenet() -> Self {
        let initialization =
            Initialization { convolution: PYTORCH, linear: PYTORCH, zero_biases: false };
        Self::new([64, 192, 384, 256, 256], 2, 6, true, initialization)
    }

    /// Creates the network with random initial weights.
    pub fn init(&self, device: &Device) -> AlexNet {
        let layers = Layers::new(&self.initialization, self.kernels, device);
        let [w1, w2, w3, w4, w5] = self.widths;
        AlexNet {
            conv1: layers.conv([self.channels, w1], window(11).stride(4).padding(self.padding)),
            conv2: layers.conv([w1, w2], window(5).padding(2)),
            conv3: layers.conv([w2, w3], window(3).padding(1)),
            conv4: layers.conv([w3, w4], window(3).padding(1)),
            conv5: layers.conv([w4, w5], window(3).padding(1)),
            pool: window(3).stride(2).max_pool(),
            grid: average_to(self.grid),
            dropout: DropoutConfig::new(self.dropout).init(),
            fc6: layers.linear([w5 * self.grid * self.grid, self.units]),
            fc7: layers.linear([self.units, self.units]),
            fc8: layers.linear([self.units, self.classes]),
            dropout_first: self.dropout_first,
            kernels: self.kernels,
        }
    }
}

impl ConvNet for AlexNet {
    /// Maps images `[batch, channels, height, width]` to the last feature map: at 224 pixels
    /// `[batch, 256, 5, 5]`, or `[batch, 256, 6, 6]` with torchvision's config.
    ///
    /// # Panics
    ///
    /// If the images are smaller than 63 x 63 pixels (`d2l`: 65 x 65), or have a different number
    /// of channels.
    fn features<X: FeatureMap>(&self, images: X) -> X {
        assert_takes(self, &images);
        // Shapes at 224 pixels, of `d2l` or `imagenet`.
        let kernels = self.kernels;
        let x = images.conv2d_relu(&self.conv1, kernels); // [b, 96, 54, 54] or [b, 64, 55, 55]
        let x = x.max_pool2d(&self.pool, kernels); // [b, 96, 26, 26] or [b, 64, 27, 27]
        let x = x.conv2d_relu(&self.conv2, kernels); // [b, 256, 26, 26] or [b, 192, 27, 27]
        let x = x.max_pool2d(&self.pool, kernels); // [b, 256, 12, 12] or [b, 192, 13, 13]
        let x = x.conv2d_relu(&self.conv3, kernels); // [b, 384, 12, 12] or [b, 384, 13, 13]
        let x = x.conv2d_relu(&self.conv4, kernels); // [b, 384, 12, 12] or [b, 256, 13, 13]
        let x = x.conv2d_relu(&self.conv5, kernels); // [b, 256, 12, 12] or [b, 256, 13, 13]
        x.max_pool2d(&self.pool, kernels) // [b, 256, 5, 5] or [b, 256, 6, 6]
    }

    fn classify<X: FeatureMap>(&self, features: X) -> X::Vector {
        let x = features.adaptive_avg_pool2d(&self.grid, self.kernels);
        let mut x = x.flatten(); // [b, 6400], imagenet: 9216
        for hidden in [&self.fc6, &self.fc7] {
            // [b, 4096]
            x = if self.dropout_first {
                x.dropout(&self.dropout).linear(hidden).relu()
            } else {
                x.linear(hidden).relu().dropout(&self.dropout)
            };
        }
        x.linear(&self.fc8) // [b, classes]
    }

    fn check(&self, image: [usize; 3]) -> Result<(), ImageError> {
        let side = 67_usize.saturating_sub(2 * padded(&self.conv1.padding)).max(1);
        at_least(side, "AlexNet", self.conv1.weight.lazy_shape()[1], image)
    }
}

impl LayerNames for AlexNet {
    fn torchvision_name(&self, layer: &str) -> String {
        let name = match layer {
            "conv1" => "features.0",
            "conv2" => "features.3",
            "conv3" => "features.6",
            "conv4" => "features.8",
            "conv5" => "features.10",
            "fc6" => "classifier.1",
            "fc7" => "classifier.4",
            "fc8" => "classifier.6",
            other => other,
        };
        name.to_owned()
    }

    fn d2l_name(&self, layer: &str, _: Listing) -> Option<String> {
        let position = match layer {
            "conv1" => 0,
            "conv2" => 3,
            "conv3" => 6,
            "conv4" => 8,
            "conv5" => 10,
            "fc6" => 14,
            "fc7" => 17,
            "fc8" => 20,
            _ => return None,
        };
        Some(position.to_string())
    }

    fn classifier(&self) -> &'static [&'static str] {
        &["classifier.6"]
    }
}

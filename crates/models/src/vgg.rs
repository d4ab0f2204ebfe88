//! # VGG: networks of repeated blocks
//!
//! Simonyan and Zisserman, [Very deep convolutional networks for large-scale image
//! recognition](https://arxiv.org/abs/1409.1556) (2014). Each layer of AlexNet was designed
//! separately; VGG repeats one block: some 3 x 3 convolutions that keep the size of the image, then
//! a pool that halves it. Two 3 x 3 convolutions have the receptive field of one 5 x 5 convolution,
//! with fewer parameters and one more ReLU. The number in the name is the number of layers with
//! weights: the convolutions and three fully connected layers.
//!
//! The variants of the paper's table 1:
//!
//! | | convolutions in each of the five stages | parameters | with batch normalization |
//! |---|---|---|---|
//! | [`vgg11`](VggConfig::vgg11) | 1, 1, 2, 2, 2 | 132,863,336 | 132,868,840 |
//! | [`vgg13`](VggConfig::vgg13) | 2, 2, 2, 2, 2 | 133,047,848 | 133,053,736 |
//! | [`vgg16`](VggConfig::vgg16) | 2, 2, 3, 3, 3 | 138,357,544 | 138,365,992 |
//! | [`vgg19`](VggConfig::vgg19) | 2, 2, 4, 4, 4 | 143,667,240 | 143,678,248 |
//!
//! In the variants with batch normalization (torchvision's `vgg11_bn` etc.; not in the paper), it
//! follows each convolution. [`VggConfig::d2l`] is the VGG-11 of the D2L notes, with a quarter of
//! the channels: 43,093,322 parameters. [`VggConfig::vgg16_bn_small`] is for images of 28 to 32
//! pixels: the output sizes of pools are rounded up, so that 28 pixels become 14, 7, 4, 2 and 1,
//! and there is only one fully connected layer.
//!
//! | stage, at 224 x 224 pixels | output | `d2l` | `small`, at 28 x 28 |
//! |---|---|---|---|
//! | stage 1 | 64 x 112 x 112 | 16 x 112 x 112 | 64 x 14 x 14 |
//! | stage 2 | 128 x 56 x 56 | 32 x 56 x 56 | 128 x 7 x 7 |
//! | stage 3 | 256 x 28 x 28 | 64 x 28 x 28 | 256 x 4 x 4 |
//! | stage 4 | 512 x 14 x 14 | 128 x 14 x 14 | 512 x 2 x 2 |
//! | stage 5 | 512 x 7 x 7 | 128 x 7 x 7 | 512 x 1 x 1 |
//! | fc6 | 4,096 | 4,096 | |
//! | fc7 | 4,096 | 4,096 | |
//! | fc8 | 1,000 | 10 | 10 |

use burn::{
    config::Config,
    module::Module,
    nn::{
        Dropout, DropoutConfig, Linear,
        pool::{AdaptiveAvgPool2d, MaxPool2d},
    },
    tensor::Device,
};

use crate::{
    ConvNet, FeatureMap, FeatureVector, ImageError, Initialization, Kernels, LayerNames, Listing,
    blocks::{ConvNorm, Layers, average_to, fold_all, window},
    conv_net::{assert_takes, at_least},
    init::{HE_FAN_OUT, NORMAL},
};

/// The config of a VGG.
#[derive(Config, Debug)]
pub struct VggConfig {
    /// Channels of the images: 1 for grayscale, 3 for color.
    #[config(default = 3)]
    pub channels: usize,
    /// Number of classes.
    #[config(default = 1000)]
    pub classes: usize,
    /// Convolutions in each stage.
    pub depths: [usize; 5],
    /// Channels of each stage.
    #[config(default = "[64, 128, 256, 512, 512]")]
    pub widths: [usize; 5],
    /// Whether each convolution is followed by batch normalization.
    pub batch_norm: bool,
    /// Whether the output sizes of pools are rounded up (ceil mode).
    #[config(default = false)]
    pub round_up: bool,
    /// The height and width of the feature map that enters the fully connected layers.
    #[config(default = 7)]
    pub grid: usize,
    /// Units of each of the two hidden fully connected layers; `None` if there are no such layers.
    #[config(default = "Some(4096)")]
    pub units: Option<usize>,
    /// The dropout probability.
    #[config(default = 0.5)]
    pub dropout: f64,
    /// How the initial weights are drawn.
    pub initialization: Initialization,
    /// Which kernels compute the layers.
    #[config(default = "Kernels::Winograd")]
    pub kernels: Kernels,
}

/// A VGG, for images of at least 32 x 32 pixels (17 x 17 if pools round up).
///
/// Created by [`VggConfig::init`].
#[derive(Module, Debug)]
pub struct Vgg {
    /// Five stages of 3 x 3 convolutions.
    pub stages: Vec<Vec<ConvNorm>>,
    /// 2 x 2, after each stage.
    pub pool: MaxPool2d,
    /// To the input size of the fully connected layers. At 224 pixels the feature map already has
    /// this size.
    pub grid: AdaptiveAvgPool2d,
    /// From the feature map.
    pub fc6: Option<Linear>,
    /// Between the two hidden layers.
    pub fc7: Option<Linear>,
    /// Outputs the logits.
    pub fc8: Linear,
    /// After `fc6` and `fc7`.
    pub dropout: Dropout,
    /// Which kernels compute the layers.
    #[module(skip)]
    pub kernels: Kernels,
}

impl VggConfig {
    /// The VGG-11 of the D2L notes, for Fashion-MNIST enlarged to 224 pixels.
    pub fn d2l() -> Self {
        Self::new([1, 1, 2, 2, 2], false, Initialization::XAVIER)
            .with_channels(1)
            .with_classes(10)
            .with_widths([16, 32, 64, 128, 128])
    }

    /// torchvision's `vgg11`, or with batch normalization `vgg11_bn`.
    pub fn vgg11(batch_norm: bool) -> Self {
        Self::imagenet([1, 1, 2, 2, 2], batch_norm)
    }

    /// torchvision's `vgg13`, or with batch normalization `vgg13_bn`.
    pub fn vgg13(batch_norm: bool) -> Self {
        Self::imagenet([2, 2, 2, 2, 2], batch_norm)
    }

    /// torchvision's `vgg16`, or with batch normalization `vgg16_bn`.
    pub fn vgg16(batch_norm: bool) -> Self {
        Self::imagenet([2, 2, 3, 3, 3], batch_norm)
    }

    /// torchvision's `vgg19`, or with batch normalization `vgg19_bn`.
    pub fn vgg19(batch_norm: bool) -> Self {
        Self::imagenet([2, 2, 4, 4, 4], batch_norm)
    }

    /// VGG-16 with batch normalization, for grayscale images of 28 to 32 pixels and 10 classes.
    pub fn vgg16_bn_small() -> Self {
        Self { channels: 1, classes: 10, round_up: true, grid: 1, units: None, ..Self::vgg16(true) }
    }

    fn imagenet(depths: [usize; 5], batch_norm: bool) -> Self {
        let initialization =
            Initialization { convolution: HE_FAN_OUT, linear: NORMAL, zero_biases: true };
        Self::new(depths, batch_norm, initialization)
    }

    /// Creates the network with random initial weights.
    ///
    /// # Panics
    ///
    /// If a stage has no convolutions.
    pub fn init(&self, device: &Device) -> Vgg {
        assert!(!self.depths.contains(&0), "every stage of a VGG needs at least one convolution");
        let layers = Layers {
            batch_norm: self.batch_norm,
            ..Layers::new(&self.initialization, self.kernels, device)
        };
        let mut channels = self.channels;
        let mut conv = |width| {
            let inputs = std::mem::replace(&mut channels, width);
            layers.conv_norm([inputs, width], window(3).padding(1))
        };
        let stages = self.depths.iter().zip(self.widths);
        let stages = stages.map(|(&depth, width)| (0..depth).map(|_| conv(width)).collect());
        let stages = stages.collect();

        let features = self.widths[4] * self.grid * self.grid;
        Vgg {
            stages,
            pool: window(2).stride(2).round_up(self.round_up).max_pool(),
            grid: average_to(self.grid),
            fc6: self.units.map(|units| layers.linear([features, units])),
            fc7: self.units.map(|units| layers.linear([units, units])),
            fc8: layers.linear([self.units.unwrap_or(features), self.classes]),
            dropout: DropoutConfig::new(self.dropout).init(),
            kernels: self.kernels,
        }
    }
}

impl ConvNet for Vgg {
    /// Maps images `[batch, channels, height, width]` to the last feature map: at 224 pixels
    /// `[batch, 512, 7, 7]`.
    ///
    /// # Panics
    ///
    /// If the images are smaller than 32 x 32 pixels (17 x 17 if pools round up), or have a
    /// different number of channels.
    fn features<X: FeatureMap>(&self, images: X) -> X {
        assert_takes(self, &images);
        let mut x = images;
        for stage in &self.stages {
            // [b, 64, 112, 112], [b, 128, 56, 56], [b, 256, 28, 28], [b, 512, 14, 14], [b, 512, 7, 7]
            x = x.block("VGG block", |x| {
                let x = stage.iter().fold(x, |x, conv| conv.forward_relu(x));
                x.max_pool2d(&self.pool, self.kernels)
            });
        }
        x
    }

    fn classify<X: FeatureMap>(&self, features: X) -> X::Vector {
        let mut x = features.adaptive_avg_pool2d(&self.grid, self.kernels).flatten(); // [b, 25088]
        for hidden in [&self.fc6, &self.fc7].into_iter().flatten() {
            x = x.linear(hidden).relu().dropout(&self.dropout); // [b, 4096]
        }
        x.linear(&self.fc8) // [b, classes]
    }

    fn check(&self, image: [usize; 3]) -> Result<(), ImageError> {
        let side = if self.pool.ceil_mode { 17 } else { 32 };
        at_least(side, "VGG", self.stages[0][0].conv.weight.lazy_shape()[1], image)
    }

    fn prepare_for_prediction(self) -> Self {
        let network = self.valid();
        let stages = fold_all(network.stages, |stage| fold_all(stage, ConvNorm::fold));
        Self { stages, ..network }
    }
}

impl LayerNames for Vgg {
    /// torchvision numbers the layers, including ReLUs and pools.
    fn torchvision_name(&self, layer: &str) -> String {
        let mut number = 0;
        for (stage, convolutions) in self.stages.iter().enumerate() {
            for (index, conv) in convolutions.iter().enumerate() {
                if layer == format!("stages.{stage}.{index}.conv") {
                    return format!("features.{number}");
                }
                if layer == format!("stages.{stage}.{index}.bn") {
                    return format!("features.{}", number + 1);
                }
                number += if conv.bn.is_some() { 3 } else { 2 };
            }
            number += 1; // the pool
        }
        let name = match layer {
            "fc6" => "classifier.0",
            "fc7" => "classifier.3",
            "fc8" => self.classifier()[0],
            other => other,
        };
        name.to_owned()
    }

    /// Five blocks of convolutions, each followed by a ReLU; then the fully connected layers.
    fn d2l_name(&self, layer: &str, _: Listing) -> Option<String> {
        let parts: Vec<&str> = layer.split('.').collect();
        match parts[..] {
            ["stages", stage, index, "conv"] => {
                Some(format!("{stage}.{}", 2 * index.parse::<usize>().ok()?))
            }
            ["fc6"] => Some("6".to_owned()),
            ["fc7"] => Some("9".to_owned()),
            ["fc8"] if self.fc6.is_some() => Some("12".to_owned()),
            _ => None,
        }
    }

    fn classifier(&self) -> &'static [&'static str] {
        if self.fc6.is_some() { &["classifier.6"] } else { &["classifier"] }
    }
}

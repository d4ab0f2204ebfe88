//! # ResNet: residual networks
//!
//! He, Zhang, Ren and Sun, [Deep residual learning for image
//! recognition](https://arxiv.org/abs/1512.03385) (2015). A deeper network can represent everything
//! that a shallower one can: its additional layers only need to be the identity. But plain networks
//! of more than twenty layers have a higher *training* error, which is not overfitting: layers do
//! not easily learn the identity. So a block computes what to **add** to its input:
//!
//! ```text
//!         +---------------- shortcut ----------------+
//!         |                                          |
//!   x ----+--> conv --> bn --> relu --> conv --> bn --(+)--> relu -->  f(x) + x
//! ```
//!
//! If its weights are zero, the block is the identity. The gradient reaches every block through the
//! shortcuts without getting smaller. Where a stage halves the image and doubles the channels, the
//! shortcut is a 1 x 1 convolution. The blocks of the deep variants are *bottlenecks*: a 1 x 1
//! convolution to a quarter of the channels, a 3 x 3 convolution, and a 1 x 1 convolution back to
//! all channels. A bottleneck costs as much as a block of two 3 x 3 convolutions with a quarter of
//! the channels.
//!
//! The variants of the paper's table 1:
//!
//! | | block | blocks in each of the four stages | parameters |
//! |---|---|---|---|
//! | [`resnet18`](ResNetConfig::resnet18) | two 3 x 3 | 2, 2, 2, 2 | 11,689,512 |
//! | [`resnet34`](ResNetConfig::resnet34) | two 3 x 3 | 3, 4, 6, 3 | 21,797,672 |
//! | [`resnet50`](ResNetConfig::resnet50) | bottleneck | 3, 4, 6, 3 | 25,557,032 |
//! | [`resnet101`](ResNetConfig::resnet101) | bottleneck | 3, 4, 23, 3 | 44,549,160 |
//! | [`resnet152`](ResNetConfig::resnet152) | bottleneck | 3, 8, 36, 3 | 60,192,808 |
//!
//! They follow torchvision: a bottleneck that halves the image has its stride in the 3 x 3
//! convolution, which is more accurate than in the first convolution, as in the paper.
//!
//! - [`ResNetConfig::d2l`]: the ResNet-18 of the D2L notes, for grayscale images of 96 pixels.
//!   Convolutions have a bias, and there is no batch normalization in shortcuts; 11,178,378
//!   parameters.
//! - [`ResNetConfig::resnet18_small`]: for images of 28 to 32 pixels. Its stem is one 3 x 3
//!   convolution, because a 7 x 7 convolution and a pool would shrink the images to 7 pixels;
//!   11,172,810 parameters.
//!
//! | stage | at 224 x 224 | bottlenecks | `d2l`, at 96 x 96 | `small`, at 28 x 28 |
//! |---|---|---|---|---|
//! | conv1, 7 x 7, stride 2 (`small` 3 x 3) | 64 x 112 x 112 | 64 x 112 x 112 | 64 x 48 x 48 | 64 x 28 x 28 |
//! | pool | 64 x 56 x 56 | 64 x 56 x 56 | 64 x 24 x 24 | |
//! | layer1 | 64 x 56 x 56 | 256 x 56 x 56 | 64 x 24 x 24 | 64 x 28 x 28 |
//! | layer2 | 128 x 28 x 28 | 512 x 28 x 28 | 128 x 12 x 12 | 128 x 14 x 14 |
//! | layer3 | 256 x 14 x 14 | 1024 x 14 x 14 | 256 x 6 x 6 | 256 x 7 x 7 |
//! | layer4 | 512 x 7 x 7 | 2048 x 7 x 7 | 512 x 3 x 3 | 512 x 4 x 4 |
//! | fc | 1,000 | 1,000 | 10 | 10 |

use burn::{
    config::Config,
    module::Module,
    nn::{
        Linear,
        pool::{AdaptiveAvgPool2d, MaxPool2d},
    },
    tensor::Device,
};

use crate::{
    ConvNet, FeatureMap, FeatureVector, ImageError, Initialization, Kernels, LayerNames, Listing,
    blocks::{ConvNorm, Layers, average_to, fold_all, window},
    conv_net::{assert_takes, at_least},
    init::{HE_FAN_OUT, PYTORCH},
};

/// The config of a ResNet.
#[derive(Config, Debug)]
pub struct ResNetConfig {
    /// Channels of the images: 1 for grayscale, 3 for color.
    #[config(default = 3)]
    pub channels: usize,
    /// Number of classes.
    #[config(default = 1000)]
    pub classes: usize,
    /// Blocks of each stage.
    pub depths: [usize; 4],
    /// Whether blocks are bottlenecks.
    pub bottleneck: bool,
    /// Channels of the first stage; each further stage doubles them. Bottlenecks output four times
    /// as many.
    #[config(default = 64)]
    pub width: usize,
    /// Whether the stem is one 3 x 3 convolution, for small images.
    #[config(default = false)]
    pub small_stem: bool,
    /// Whether convolutions have a bias.
    #[config(default = false)]
    pub bias: bool,
    /// Whether the convolution of a shortcut is followed by batch normalization.
    #[config(default = true)]
    pub shortcut_norm: bool,
    /// How the initial weights are drawn.
    pub initialization: Initialization,
    /// Which kernels compute the layers.
    #[config(default = "Kernels::Winograd")]
    pub kernels: Kernels,
}

/// A ResNet, for images of any size.
///
/// Created by [`ResNetConfig::init`]. The module's documentation has a figure of its blocks.
#[derive(Module, Debug)]
pub struct ResNet {
    /// The stem: 7 x 7 with stride 2, or 3 x 3.
    pub conv1: ConvNorm,
    /// 3 x 3, stride 2, after a 7 x 7 stem.
    pub pool: Option<MaxPool2d>,
    /// Keeps the size of the image.
    pub layer1: Vec<Block>,
    /// Halves the image, doubles the channels.
    pub layer2: Vec<Block>,
    /// Halves the image, doubles the channels.
    pub layer3: Vec<Block>,
    /// Halves the image, doubles the channels.
    pub layer4: Vec<Block>,
    /// Global average pooling.
    pub average: AdaptiveAvgPool2d,
    /// Outputs the logits.
    pub fc: Linear,
    /// Which kernels compute the layers.
    #[module(skip)]
    pub kernels: Kernels,
}

/// A residual block: adds the output of its convolutions to its input.
#[derive(Module, Debug)]
pub struct Block {
    /// 3 x 3; in a bottleneck: 1 x 1, to a quarter of the channels.
    pub conv1: ConvNorm,
    /// 3 x 3.
    pub conv2: ConvNorm,
    /// In a bottleneck: 1 x 1, back to all channels.
    pub conv3: Option<ConvNorm>,
    /// The shortcut, if input and output differ in shape: 1 x 1.
    pub downsample: Option<ConvNorm>,
}

/// torchvision's initialization.
const HE: Initialization =
    Initialization { convolution: HE_FAN_OUT, linear: PYTORCH, zero_biases: false };

impl ResNetConfig {
    /// The ResNet-18 of the D2L notes, for Fashion-MNIST enlarged to 96 pixels.
    pub fn d2l() -> Self {
        Self::new([2, 2, 2, 2], false, Initialization::XAVIER)
            .with_channels(1)
            .with_classes(10)
            .with_bias(true)
            .with_shortcut_norm(false)
    }

    /// ResNet-18 for grayscale images of 28 to 32 pixels and 10 classes.
    pub fn resnet18_small() -> Self {
        Self::resnet18().with_channels(1).with_classes(10).with_small_stem(true)
    }

    /// torchvision's `resnet18`.
    pub fn resnet18() -> Self {
        Self::new([2, 2, 2, 2], false, HE)
    }

    /// torchvision's `resnet34`.
    pub fn resnet34() -> Self {
        Self::new([3, 4, 6, 3], false, HE)
    }

    /// torchvision's `resnet50`.
    pub fn resnet50() -> Self {
        Self::new([3, 4, 6, 3], true, HE)
    }

    /// torchvision's `resnet101`.
    pub fn resnet101() -> Self {
        Self::new([3, 4, 23, 3], true, HE)
    }

    /// torchvision's `resnet152`.
    pub fn resnet152() -> Self {
        Self::new([3, 8, 36, 3], true, HE)
    }

    /// Creates the network with random initial weights.
    ///
    /// # Panics
    ///
    /// If a stage has no blocks.
    pub fn init(&self, device: &Device) -> ResNet {
        assert!(!self.depths.contains(&0), "every stage of a ResNet needs at least one block");
        let layers = Layers {
            bias: self.bias,
            batch_norm: true,
            ..Layers::new(&self.initialization, self.kernels, device)
        };
        let stem =
            if self.small_stem { window(3).padding(1) } else { window(7).stride(2).padding(3) };
        let mut channels = self.width;
        let mut stage = |number: usize| {
            let width = self.width << number;
            let stride = if number == 0 { 1 } else { 2 };
            let blocks = (0..self.depths[number]).map(|index| {
                let stride = if index == 0 { stride } else { 1 };
                let block = self.block(&layers, channels, width, stride);
                channels = self.outputs(width);
                block
            });
            blocks.collect()
        };
        ResNet {
            conv1: layers.conv_norm([self.channels, self.width], stem),
            pool: (!self.small_stem).then(|| window(3).stride(2).padding(1).max_pool()),
            layer1: stage(0),
            layer2: stage(1),
            layer3: stage(2),
            layer4: stage(3),
            average: average_to(1),
            fc: layers.linear([self.outputs(8 * self.width), self.classes]),
            kernels: self.kernels,
        }
    }

    /// The output channels of a block of this width.
    fn outputs(&self, width: usize) -> usize {
        if self.bottleneck { 4 * width } else { width }
    }

    fn block(&self, layers: &Layers, inputs: usize, width: usize, stride: usize) -> Block {
        let outputs = self.outputs(width);
        let reshapes = stride != 1 || inputs != outputs;
        let downsample = reshapes.then(|| ConvNorm {
            conv: layers.conv([inputs, outputs], window(1).stride(stride)),
            bn: self.shortcut_norm.then(|| layers.norm(outputs)),
            kernels: self.kernels,
        });
        let wide = window(3).padding(1);
        let (conv1, conv2, conv3) = match self.bottleneck {
            false => (
                layers.conv_norm([inputs, width], wide.stride(stride)),
                layers.conv_norm([width, width], wide),
                None,
            ),
            true => (
                layers.conv_norm([inputs, width], window(1)),
                layers.conv_norm([width, width], wide.stride(stride)),
                Some(layers.conv_norm([width, outputs], window(1))),
            ),
        };
        Block { conv1, conv2, conv3, downsample }
    }
}

impl Block {
    /// Maps `[batch, channels in, height, width]` to `[batch, channels out, height, width]`. The
    /// first block of all stages but the first halves height and width.
    pub fn forward<X: FeatureMap>(&self, x: X) -> X {
        let [x, shortcut] = x.fork(self.conv1.kernels);
        let shortcut = match &self.downsample {
            Some(downsample) => downsample.forward(shortcut),
            None => shortcut,
        };
        let x = self.conv1.forward_relu(x);
        match &self.conv3 {
            None => self.conv2.forward_add_relu(x, shortcut),
            Some(conv3) => conv3.forward_add_relu(self.conv2.forward_relu(x), shortcut),
        }
    }

    fn fold(self) -> Self {
        Self {
            conv1: self.conv1.fold(),
            conv2: self.conv2.fold(),
            conv3: self.conv3.map(ConvNorm::fold),
            downsample: self.downsample.map(ConvNorm::fold),
        }
    }
}

impl ConvNet for ResNet {
    /// Maps images `[batch, channels, height, width]` to the last feature map: at 224 pixels
    /// `[batch, 512, 7, 7]`, or `[batch, 2048, 7, 7]` with bottlenecks.
    ///
    /// # Panics
    ///
    /// If the images have a different number of channels.
    fn features<X: FeatureMap>(&self, images: X) -> X {
        assert_takes(self, &images);
        let stage = |blocks: &[Block], x| {
            blocks.iter().fold(x, |x: X, block| x.block("residual block", |x| block.forward(x)))
        };
        let x = self.conv1.forward_relu(images); // [b, 64, 112, 112]
        let x = match &self.pool {
            Some(pool) => x.max_pool2d(pool, self.kernels), // [b, 64, 56, 56]
            None => x,
        };
        let x = stage(&self.layer1, x); // [b, 64, 56, 56], bottlenecks: [b, 256, 56, 56]
        let x = stage(&self.layer2, x); // [b, 128, 28, 28], bottlenecks: [b, 512, 28, 28]
        let x = stage(&self.layer3, x); // [b, 256, 14, 14], bottlenecks: [b, 1024, 14, 14]
        stage(&self.layer4, x) // [b, 512, 7, 7], bottlenecks: [b, 2048, 7, 7]
    }

    fn classify<X: FeatureMap>(&self, features: X) -> X::Vector {
        let x = features.adaptive_avg_pool2d(&self.average, self.kernels);
        x.flatten().linear(&self.fc) // [b, classes]
    }

    fn check(&self, image: [usize; 3]) -> Result<(), ImageError> {
        at_least(1, "ResNet", self.conv1.conv.weight.lazy_shape()[1], image)
    }

    fn prepare_for_prediction(self) -> Self {
        let network = self.valid();
        Self {
            conv1: network.conv1.fold(),
            layer1: fold_all(network.layer1, Block::fold),
            layer2: fold_all(network.layer2, Block::fold),
            layer3: fold_all(network.layer3, Block::fold),
            layer4: fold_all(network.layer4, Block::fold),
            ..network
        }
    }
}

impl LayerNames for ResNet {
    /// In torchvision, convolutions and their normalizations are separate fields, such as `conv1`
    /// and `bn1`; in a shortcut they are `0` and `1`.
    fn torchvision_name(&self, layer: &str) -> String {
        match layer.rsplit_once('.') {
            Some((shortcut, "conv")) if shortcut.ends_with("downsample") => format!("{shortcut}.0"),
            Some((shortcut, "bn")) if shortcut.ends_with("downsample") => format!("{shortcut}.1"),
            Some((convolution, "conv")) => convolution.to_owned(),
            Some((convolution, "bn")) => convolution.replace("conv", "bn"),
            _ => layer.to_owned(),
        }
    }

    /// In the book the shortcut is `conv3`, without normalization. In the listing with a class, the
    /// stages are numbered from `b2`.
    fn d2l_name(&self, layer: &str, listing: Listing) -> Option<String> {
        let parts: Vec<&str> = layer.split('.').collect();
        let (stage, block, part) = match (&parts[..], listing) {
            (["conv1", "conv"], _) => return Some("0.0".to_owned()),
            (["conv1", "bn"], _) => return Some("0.1".to_owned()),
            (["fc"], Listing::Sequential) => return Some("7".to_owned()),
            (["fc"], Listing::Class) => return Some("last.2".to_owned()),
            ([stage, block, part @ ..], _) => (stage.strip_prefix("layer")?, block, part),
            _ => return None,
        };
        let part = match part {
            ["conv1", "conv"] => "conv1",
            ["conv1", "bn"] => "bn1",
            ["conv2", "conv"] => "conv2",
            ["conv2", "bn"] => "bn2",
            ["downsample", "conv"] => "conv3",
            _ => return None,
        };
        let stage = match listing {
            Listing::Sequential => stage.to_owned(),
            Listing::Class => format!("b{}", stage.parse::<usize>().ok()? + 1),
        };
        Some(format!("{stage}.{block}.{part}"))
    }

    fn classifier(&self) -> &'static [&'static str] {
        &["fc"]
    }
}

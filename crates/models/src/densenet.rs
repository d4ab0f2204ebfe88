//! # DenseNet: densely connected networks
//!
//! Huang, Liu, van der Maaten and Weinberger, [Densely connected convolutional
//! networks](https://arxiv.org/abs/1608.06993) (2016); its figures 1 and 2 show a block and a
//! network. ResNet *adds* the output of a block to its input. DenseNet *concatenates* them: the
//! input of each layer contains the feature maps of all layers before it in its block, and the
//! layer adds some channels, whose number is the *growth rate*. Narrow layers are enough, because
//! features are reused and not computed again.
//!
//! - A layer is batch normalization, ReLU and convolution, in this order. With a *bottleneck*
//!   (DenseNet-B), a 1 x 1 convolution first reduces the input to four times the growth rate.
//! - Between two dense blocks, a *transition* of a 1 x 1 convolution and a pool halves the channels
//!   (DenseNet-C) and the image.
//!
//! torchvision's variants:
//!
//! | | growth rate | layers in each block | parameters |
//! |---|---|---|---|
//! | [`densenet121`](DenseNetConfig::densenet121) | 32 | 6, 12, 24, 16 | 7,978,856 |
//! | [`densenet161`](DenseNetConfig::densenet161) | 48 | 6, 12, 36, 24 | 28,681,000 |
//! | [`densenet169`](DenseNetConfig::densenet169) | 32 | 6, 12, 32, 32 | 14,149,480 |
//! | [`densenet201`](DenseNetConfig::densenet201) | 32 | 6, 12, 48, 32 | 20,013,928 |
//!
//! - [`DenseNetConfig::d2l`]: the network of the D2L notes, for grayscale images of 96 pixels: four
//!   blocks of four layers without bottleneck, growth rate 32; convolutions have a bias; 758,226
//!   parameters.
//! - [`DenseNetConfig::densenet_bc`]: the paper's DenseNet-BC with growth rate 12 and 100 layers,
//!   for images of 28 to 32 pixels: three blocks of 16 layers, and a stem of one 3 x 3 convolution;
//!   768,730 parameters.
//!
//! | stage | `densenet121`, 224 x 224 | `d2l`, 96 x 96 | `densenet_bc`, 28 x 28 |
//! |---|---|---|---|
//! | stem | 64 x 56 x 56 | 64 x 24 x 24 | 24 x 28 x 28 |
//! | block 1, transition | 256, 128 x 28 x 28 | 192, 96 x 12 x 12 | 216, 108 x 14 x 14 |
//! | block 2, transition | 512, 256 x 14 x 14 | 224, 112 x 6 x 6 | 300, 150 x 7 x 7 |
//! | block 3, transition | 1024, 512 x 7 x 7 | 240, 120 x 3 x 3 | 342 x 7 x 7 |
//! | block 4 | 1024 x 7 x 7 | 248 x 3 x 3 | |
//! | classifier | 1,000 | 10 | 10 |

use batch_norm::BatchNorm;
use burn::{
    config::Config,
    module::Module,
    nn::{
        Linear,
        conv::Conv2d,
        pool::{AdaptiveAvgPool2d, AvgPool2d, MaxPool2d},
    },
    tensor::Device,
};

use crate::{
    ConvNet, FeatureMap, FeatureVector, ImageError, Initialization, Kernels, LayerNames, Listing,
    blocks::{ConvNorm, Layers, average_to, fold_all, window},
    conv_net::{assert_takes, at_least},
    init::{HE_FAN_IN, PYTORCH},
};

/// The config of a DenseNet.
#[derive(Config, Debug)]
pub struct DenseNetConfig {
    /// Channels of the images: 1 for grayscale, 3 for color.
    #[config(default = 3)]
    pub channels: usize,
    /// Number of classes.
    #[config(default = 1000)]
    pub classes: usize,
    /// Layers of each block.
    pub depths: Vec<usize>,
    /// Channels that each layer adds.
    pub growth: usize,
    /// Channels of the stem.
    pub stem: usize,
    /// Whether the stem is one 3 x 3 convolution, for small images.
    #[config(default = false)]
    pub small_stem: bool,
    /// Whether layers have a bottleneck, which reduces the input to four times the growth rate.
    #[config(default = true)]
    pub bottleneck: bool,
    /// Whether convolutions have a bias.
    #[config(default = false)]
    pub bias: bool,
    /// How the initial weights are drawn.
    pub initialization: Initialization,
    /// Which kernels compute the layers.
    #[config(default = "Kernels::Winograd")]
    pub kernels: Kernels,
}

/// A DenseNet, for images of at least 29 x 29 pixels (4 x 4 with the small stem).
///
/// Created by [`DenseNetConfig::init`].
#[derive(Module, Debug)]
pub struct DenseNet {
    /// The stem: 7 x 7 with stride 2, or 3 x 3 without normalization.
    pub conv0: ConvNorm,
    /// 3 x 3, stride 2, after a 7 x 7 stem.
    pub pool0: Option<MaxPool2d>,
    /// The dense blocks: layers whose outputs are concatenated.
    pub blocks: Vec<Vec<DenseLayer>>,
    /// Between two blocks.
    pub transitions: Vec<Transition>,
    /// After the last block.
    pub norm5: BatchNorm,
    /// Global average pooling.
    pub average: AdaptiveAvgPool2d,
    /// Outputs the logits.
    pub classifier: Linear,
    /// Which kernels compute the layers.
    #[module(skip)]
    pub kernels: Kernels,
}

/// A layer of a dense block: computes new channels from all channels before it.
#[derive(Module, Debug)]
pub struct DenseLayer {
    /// Of the layer's input.
    pub norm1: BatchNorm,
    /// 1 x 1, to four times the growth rate, and its normalization.
    pub bottleneck: Option<ConvNorm>,
    /// 3 x 3, to the growth rate.
    pub conv: Conv2d,
    /// Which kernels compute the layers.
    #[module(skip)]
    pub kernels: Kernels,
}

/// Halves the channels and the image.
#[derive(Module, Debug)]
pub struct Transition {
    /// Of the block's output.
    pub norm: BatchNorm,
    /// 1 x 1, to half the channels.
    pub conv: Conv2d,
    /// 2 x 2.
    pub pool: AvgPool2d,
    /// Which kernels compute the layers.
    #[module(skip)]
    pub kernels: Kernels,
}

impl DenseNetConfig {
    /// The network of the D2L notes, for Fashion-MNIST enlarged to 96 pixels.
    pub fn d2l() -> Self {
        Self::new(vec![4; 4], 32, 64, Initialization::XAVIER)
            .with_channels(1)
            .with_classes(10)
            .with_bottleneck(false)
            .with_bias(true)
    }

    /// DenseNet-BC (k = 12, L = 100) for grayscale images of 28 to 32 pixels and 10 classes.
    pub fn densenet_bc() -> Self {
        Self::imagenet([16; 3], 12, 24).with_channels(1).with_classes(10).with_small_stem(true)
    }

    /// torchvision's `densenet121`.
    pub fn densenet121() -> Self {
        Self::imagenet([6, 12, 24, 16], 32, 64)
    }

    /// torchvision's `densenet161`.
    pub fn densenet161() -> Self {
        Self::imagenet([6, 12, 36, 24], 48, 96)
    }

    /// torchvision's `densenet169`.
    pub fn densenet169() -> Self {
        Self::imagenet([6, 12, 32, 32], 32, 64)
    }

    /// torchvision's `densenet201`.
    pub fn densenet201() -> Self {
        Self::imagenet([6, 12, 48, 32], 32, 64)
    }

    fn imagenet<const N: usize>(depths: [usize; N], growth: usize, stem: usize) -> Self {
        let initialization =
            Initialization { convolution: HE_FAN_IN, linear: PYTORCH, zero_biases: true };
        Self::new(depths.to_vec(), growth, stem, initialization)
    }

    /// Creates the network with random initial weights.
    ///
    /// # Panics
    ///
    /// If there are no blocks, or a block has no layers.
    pub fn init(&self, device: &Device) -> DenseNet {
        let is_empty = self.depths.is_empty() || self.depths.contains(&0);
        assert!(!is_empty, "a DenseNet needs at least one block, and a block at least one layer");
        let layers = Layers {
            bias: self.bias,
            batch_norm: true,
            ..Layers::new(&self.initialization, self.kernels, device)
        };
        let conv0 = if self.small_stem {
            ConvNorm {
                conv: layers.conv([self.channels, self.stem], window(3).padding(1)),
                bn: None,
                kernels: self.kernels,
            }
        } else {
            let wide = window(7).stride(2).padding(3);
            layers.conv_norm([self.channels, self.stem], wide)
        };

        let (mut blocks, mut transitions) = (Vec::new(), Vec::new());
        let mut channels = self.stem;
        for (index, &depth) in self.depths.iter().enumerate() {
            if index > 0 {
                transitions.push(Transition {
                    norm: layers.norm(channels),
                    conv: layers.conv([channels, channels / 2], window(1)),
                    pool: window(2).stride(2).average_pool(),
                    kernels: self.kernels,
                });
                channels /= 2;
            }
            let layer = |number| self.layer(&layers, channels + number * self.growth);
            blocks.push((0..depth).map(layer).collect());
            channels += depth * self.growth;
        }
        DenseNet {
            conv0,
            pool0: (!self.small_stem).then(|| window(3).stride(2).padding(1).max_pool()),
            blocks,
            transitions,
            norm5: layers.norm(channels),
            average: average_to(1),
            classifier: layers.linear([channels, self.classes]),
            kernels: self.kernels,
        }
    }

    fn layer(&self, layers: &Layers, inputs: usize) -> DenseLayer {
        let reduced = if self.bottleneck { 4 * self.growth } else { inputs };
        DenseLayer {
            norm1: layers.norm(inputs),
            bottleneck: self.bottleneck.then(|| layers.conv_norm([inputs, reduced], window(1))),
            conv: layers.conv([reduced, self.growth], window(3).padding(1)),
            kernels: self.kernels,
        }
    }
}

impl DenseLayer {
    /// Maps `[batch, channels, height, width]` to the new channels, `[batch, growth rate, height,
    /// width]`.
    pub fn forward<X: FeatureMap>(&self, x: X) -> X {
        let x = x.batch_norm_relu(&self.norm1);
        let x = match &self.bottleneck {
            Some(bottleneck) => bottleneck.forward_relu(x),
            None => x,
        };
        x.conv2d(&self.conv, self.kernels)
    }

    fn fold(self) -> Self {
        Self { bottleneck: self.bottleneck.map(ConvNorm::fold), ..self }
    }
}

impl Transition {
    /// Maps `[batch, channels, height, width]` to `[batch, channels / 2, height / 2, width / 2]`.
    pub fn forward<X: FeatureMap>(&self, x: X) -> X {
        let x = x.batch_norm_relu(&self.norm).conv2d(&self.conv, self.kernels);
        x.avg_pool2d(&self.pool, self.kernels)
    }
}

impl ConvNet for DenseNet {
    /// Maps images `[batch, channels, height, width]` to the last feature map: `[batch, 1024, 7,
    /// 7]` for DenseNet-121 at 224 pixels.
    ///
    /// # Panics
    ///
    /// If the images are smaller than 29 x 29 pixels (4 x 4 with the small stem), or have a
    /// different number of channels.
    fn features<X: FeatureMap>(&self, images: X) -> X {
        assert_takes(self, &images);
        let mut x = match &self.pool0 {
            // [b, 64, 56, 56]
            Some(pool) => self.conv0.forward_relu(images).max_pool2d(pool, self.kernels),
            // [b, 24, 28, 28]
            None => self.conv0.forward(images),
        };
        for (index, block) in self.blocks.iter().enumerate() {
            if index > 0 {
                // [b, 128, 28, 28], [b, 256, 14, 14], [b, 512, 7, 7]
                x = x.block("transition", |x| self.transitions[index - 1].forward(x));
            }
            // [b, 256, 56, 56], [b, 512, 28, 28], [b, 1024, 14, 14], [b, 1024, 7, 7]
            x = x.block("dense block", |x| {
                block.iter().fold(x, |x, layer| {
                    x.block("dense layer", |x| {
                        let [old, input] = x.fork(self.kernels);
                        X::concatenate(vec![old, layer.forward(input)], self.kernels)
                    })
                })
            });
        }
        x.batch_norm_relu(&self.norm5) // [b, 1024, 7, 7]
    }

    fn classify<X: FeatureMap>(&self, features: X) -> X::Vector {
        let x = features.adaptive_avg_pool2d(&self.average, self.kernels);
        x.flatten().linear(&self.classifier) // [b, classes]
    }

    fn check(&self, image: [usize; 3]) -> Result<(), ImageError> {
        // Each transition halves the image; both layers of the large stem halve it, rounding up.
        let side = 1 << self.transitions.len();
        let side = if self.pool0.is_some() { 4 * (side - 1) + 1 } else { side };
        at_least(side, "DenseNet", self.conv0.conv.weight.lazy_shape()[1], image)
    }

    fn prepare_for_prediction(self) -> Self {
        let network = self.valid();
        Self {
            conv0: network.conv0.fold(),
            blocks: fold_all(network.blocks, |block| fold_all(block, DenseLayer::fold)),
            ..network
        }
    }
}

impl LayerNames for DenseNet {
    fn torchvision_name(&self, layer: &str) -> String {
        let parts: Vec<&str> = layer.split('.').collect();
        let after = |number: &str| number.parse::<usize>().map_or(0, |number| number + 1);
        let second = self.blocks[0][0].bottleneck.is_some();
        match parts[..] {
            ["conv0", "conv"] => "features.conv0".to_owned(),
            ["conv0", "bn"] => "features.norm0".to_owned(),
            ["norm5"] => "features.norm5".to_owned(),
            ["transitions", index, part] => format!("features.transition{}.{part}", after(index)),
            ["blocks", block, number, ref part @ ..] => {
                let part = match part {
                    ["bottleneck", "conv"] => "conv1",
                    ["bottleneck", "bn"] => "norm2",
                    ["conv"] if second => "conv2",
                    ["conv"] => "conv1",
                    _ => "norm1",
                };
                format!("features.denseblock{}.denselayer{}.{part}", after(block), after(number))
            }
            _ => layer.to_owned(),
        }
    }

    /// Alternating blocks and transitions, then the last layers. The listing with a class names
    /// them.
    fn d2l_name(&self, layer: &str, listing: Listing) -> Option<String> {
        let parts: Vec<&str> = layer.split('.').collect();
        let number = |number: &str| number.parse::<usize>().ok();
        let last = |position: usize| match listing {
            Listing::Sequential => (2 * self.blocks.len() + position).to_string(),
            Listing::Class => format!("last.{position}"),
        };
        Some(match parts[..] {
            ["conv0", "conv"] => "0.0".to_owned(),
            ["conv0", "bn"] => "0.1".to_owned(),
            ["norm5"] => last(0),
            ["classifier"] => last(4),
            ["blocks", block, index, part] => {
                let block = match listing {
                    Listing::Sequential => (2 * number(block)? + 1).to_string(),
                    Listing::Class => format!("dense_blk{}", number(block)? + 1),
                };
                format!("{block}.net.{index}.{}", if part == "conv" { 2 } else { 0 })
            }
            ["transitions", index, part] => {
                let transition = match listing {
                    Listing::Sequential => (2 * number(index)? + 2).to_string(),
                    Listing::Class => format!("tran_blk{}", number(index)? + 1),
                };
                format!("{transition}.{}", if part == "conv" { 2 } else { 0 })
            }
            _ => return None,
        })
    }

    fn classifier(&self) -> &'static [&'static str] {
        &["classifier"]
    }
}

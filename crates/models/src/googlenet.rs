//! # GoogLeNet: parallel branches
//!
//! Szegedy et al., [Going deeper with convolutions](https://arxiv.org/abs/1409.4842) (2014).
//! GoogLeNet does not choose one kernel size: its block, *Inception*, applies 1 x 1, 3 x 3 and
//! 5 x 5 convolutions and a pool in four parallel branches and concatenates the outputs.
//!
//! ```text
//!            +--> 1 x 1 ------------------+
//!            |                            |
//!            +--> 1 x 1 ----> 3 x 3 ------+
//!   x -------+                            +--> concatenated channels
//!            +--> 1 x 1 ----> 5 x 5 ------+
//!            |                            |
//!            +--> 3 x 3 pool -> 1 x 1 ----+
//! ```
//!
//! The 1 x 1 convolutions, first used in NiN, reduce the channels before the larger, more expensive
//! convolutions. With nine blocks, GoogLeNet has a tenth of AlexNet's parameters and is more
//! accurate. As in NiN, there is global average pooling at the end, before one fully connected
//! layer.
//!
//! Two variants:
//!
//! - [`GoogLeNetConfig::d2l`]: the network of the D2L notes, with the paper's widths (table 1), for
//!   grayscale images of 96 pixels, without auxiliary classifiers or dropout.
//! - [`GoogLeNetConfig::imagenet`]: torchvision's network, which differs from the paper: batch
//!   normalization after each convolution; pools whose output sizes are rounded up, the last of
//!   them 2 x 2; and 3 x 3 instead of 5 x 5 convolutions in the third branch (a mistake that
//!   torchvision keeps because its weights depend on it).
//!
//! With [`auxiliary`](GoogLeNetConfig::auxiliary), two classifiers in the middle of the network
//! give the lower blocks additional gradients in training; their losses have a weight of 0.3 each.
//! They are not used in prediction.
//!
//! | stage | `d2l`, 1 x 96 x 96 | parameters | `imagenet`, 3 x 224 x 224 | parameters |
//! |---|---|---|---|---|
//! | conv1, 7 x 7, stride 2 | 64 x 48 x 48 | 3,200 | 64 x 112 x 112 | 9,536 |
//! | pool | 64 x 24 x 24 | | 64 x 56 x 56 | |
//! | conv2, conv3 | 192 x 24 x 24 | 114,944 | 192 x 56 x 56 | 115,200 |
//! | pool | 192 x 12 x 12 | | 192 x 28 x 28 | |
//! | inception3a | 256 x 12 x 12 | 163,696 | 256 x 28 x 28 | 155,872 |
//! | inception3b | 480 x 12 x 12 | 388,736 | 480 x 28 x 28 | 340,224 |
//! | pool | 480 x 6 x 6 | | 480 x 14 x 14 | |
//! | inception4a ... 4e | 832 x 6 x 6 | 2,809,168 | 832 x 14 x 14 | 2,653,088 |
//! | pool | 832 x 3 x 3 | | 832 x 7 x 7 | |
//! | inception5a, 5b | 1024 x 3 x 3 | 2,487,536 | 1024 x 7 x 7 | 2,325,984 |
//! | fc | 10 | 10,250 | 1,000 | 1,025,000 |
//! | **total** | | **5,977,530** | | **6,624,904** |
//! | both auxiliary heads | | | | 6,379,984 |

use burn::{
    config::Config,
    module::Module,
    nn::{
        Dropout, DropoutConfig, Linear,
        pool::{AdaptiveAvgPool2d, MaxPool2d},
    },
    tensor::{Device, Tensor},
};

use crate::{
    ConvNet, FeatureMap, FeatureVector, ImageError, Initialization, Kernels, LayerNames, Listing,
    blocks::{ConvNorm, Layers, average_to, window},
    conv_net::{assert_takes, at_least},
    init::NORMAL,
};

/// The config of a GoogLeNet.
#[derive(Config, Debug)]
pub struct GoogLeNetConfig {
    /// Channels of the images: 1 for grayscale, 3 for color.
    #[config(default = 3)]
    pub channels: usize,
    /// Number of classes.
    #[config(default = 1000)]
    pub classes: usize,
    /// Whether the network is torchvision's: batch normalization after each convolution, pools in
    /// ceil mode, and 3 x 3 convolutions in the third branch.
    pub torchvision: bool,
    /// Whether there are auxiliary classifiers.
    #[config(default = false)]
    pub auxiliary: bool,
    /// The dropout probability, before the last layer.
    #[config(default = 0.2)]
    pub dropout: f64,
    /// The dropout probability in the auxiliary classifiers.
    #[config(default = 0.7)]
    pub auxiliary_dropout: f64,
    /// How the initial weights are drawn.
    pub initialization: Initialization,
    /// Which kernels compute the layers.
    #[config(default = "Kernels::Winograd")]
    pub kernels: Kernels,
}

/// GoogLeNet; the images for torchvision's network must have at least 15 x 15 pixels.
///
/// Created by [`GoogLeNetConfig::init`]. The module's documentation has a figure of its blocks.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names of the paper's table
pub struct GoogLeNet {
    /// 7 x 7, stride 2.
    pub conv1: ConvNorm,
    /// 1 x 1.
    pub conv2: ConvNorm,
    /// 3 x 3.
    pub conv3: ConvNorm,
    pub inception3a: Inception,
    pub inception3b: Inception,
    pub inception4a: Inception,
    pub inception4b: Inception,
    pub inception4c: Inception,
    pub inception4d: Inception,
    pub inception4e: Inception,
    pub inception5a: Inception,
    pub inception5b: Inception,
    /// After `conv1`, `conv3` and `inception3b`: 3 x 3, stride 2.
    pub pool: MaxPool2d,
    /// After `inception4e`: stride 2.
    pub pool4: MaxPool2d,
    /// An auxiliary classifier after `inception4a`.
    pub aux1: Option<Auxiliary>,
    /// An auxiliary classifier after `inception4d`.
    pub aux2: Option<Auxiliary>,
    /// Global average pooling.
    pub average: AdaptiveAvgPool2d,
    /// Before the last layer.
    pub dropout: Dropout,
    /// Outputs the logits.
    pub fc: Linear,
    /// Which kernels compute the layers.
    #[module(skip)]
    pub kernels: Kernels,
}

/// Four parallel branches.
#[derive(Module, Debug)]
pub struct Inception {
    /// 1 x 1.
    pub branch1: ConvNorm,
    /// 1 x 1, then 3 x 3.
    pub branch2: [ConvNorm; 2],
    /// 1 x 1, then 5 x 5 (torchvision's network: 3 x 3).
    pub branch3: [ConvNorm; 2],
    /// 1 x 1, after the pool.
    pub branch4: ConvNorm,
    /// 3 x 3, before the fourth branch.
    pub pool: MaxPool2d,
    /// Which kernels compute the layers.
    #[module(skip)]
    pub kernels: Kernels,
}

/// A classifier in the middle of the network, for training.
#[derive(Module, Debug)]
pub struct Auxiliary {
    /// Averages to 4 x 4.
    pub average: AdaptiveAvgPool2d,
    /// 1 x 1.
    pub conv: ConvNorm,
    /// From the feature map.
    pub fc1: Linear,
    /// Between the two layers.
    pub dropout: Dropout,
    /// Outputs the logits.
    pub fc2: Linear,
    /// Which kernels compute the layers.
    #[module(skip)]
    pub kernels: Kernels,
}

/// Channels of the branches (table 1 of the paper): after the 1 x 1 convolution of the first
/// branch; after the two convolutions of the second and the third branch; after the fourth branch.
type Widths = (usize, [usize; 2], [usize; 2], usize);

impl GoogLeNetConfig {
    /// The network of the D2L notes, for Fashion-MNIST enlarged to 96 pixels.
    pub fn d2l() -> Self {
        Self::new(false, Initialization::XAVIER).with_channels(1).with_classes(10).with_dropout(0.0)
    }

    /// torchvision's `googlenet`, without auxiliary classifiers.
    pub fn imagenet() -> Self {
        let initialization =
            Initialization { convolution: NORMAL, linear: NORMAL, zero_biases: false };
        Self::new(true, initialization)
    }

    /// Creates the network with random initial weights.
    pub fn init(&self, device: &Device) -> GoogLeNet {
        let layers = Layers {
            bias: !self.torchvision,
            batch_norm: self.torchvision,
            epsilon: 1e-3,
            ..Layers::new(&self.initialization, self.kernels, device)
        };
        let mut channels = 192;
        let mut inception = |widths: Widths| {
            let (one, [_, three], [_, five], pooled) = widths;
            let inputs = std::mem::replace(&mut channels, one + three + five + pooled);
            self.inception(&layers, inputs, widths)
        };
        let half = |size| {
            if self.torchvision {
                window(size).stride(2).round_up(true).max_pool()
            } else {
                window(3).stride(2).padding(1).max_pool()
            }
        };
        let auxiliary = |inputs| self.auxiliary.then(|| self.auxiliary_head(&layers, inputs));
        GoogLeNet {
            conv1: layers.conv_norm([self.channels, 64], window(7).stride(2).padding(3)),
            conv2: layers.conv_norm([64, 64], window(1)),
            conv3: layers.conv_norm([64, 192], window(3).padding(1)),
            inception3a: inception((64, [96, 128], [16, 32], 32)),
            inception3b: inception((128, [128, 192], [32, 96], 64)),
            inception4a: inception((192, [96, 208], [16, 48], 64)),
            inception4b: inception((160, [112, 224], [24, 64], 64)),
            inception4c: inception((128, [128, 256], [24, 64], 64)),
            inception4d: inception((112, [144, 288], [32, 64], 64)),
            inception4e: inception((256, [160, 320], [32, 128], 128)),
            inception5a: inception((256, [160, 320], [32, 128], 128)),
            inception5b: inception((384, [192, 384], [48, 128], 128)),
            pool: half(3),
            pool4: half(2),
            aux1: auxiliary(512),
            aux2: auxiliary(528),
            average: average_to(1),
            dropout: DropoutConfig::new(self.dropout).init(),
            fc: layers.linear([1024, self.classes]),
            kernels: self.kernels,
        }
    }

    fn inception(&self, layers: &Layers, inputs: usize, widths: Widths) -> Inception {
        let (one, [before_three, three], [before_five, five], pooled) = widths;
        let five_by_five =
            if self.torchvision { window(3).padding(1) } else { window(5).padding(2) };
        Inception {
            branch1: layers.conv_norm([inputs, one], window(1)),
            branch2: [
                layers.conv_norm([inputs, before_three], window(1)),
                layers.conv_norm([before_three, three], window(3).padding(1)),
            ],
            branch3: [
                layers.conv_norm([inputs, before_five], window(1)),
                layers.conv_norm([before_five, five], five_by_five),
            ],
            branch4: layers.conv_norm([inputs, pooled], window(1)),
            pool: window(3).padding(1).max_pool(),
            kernels: self.kernels,
        }
    }

    fn auxiliary_head(&self, layers: &Layers, inputs: usize) -> Auxiliary {
        Auxiliary {
            average: average_to(4),
            conv: layers.conv_norm([inputs, 128], window(1)),
            fc1: layers.linear([128 * 4 * 4, 1024]),
            dropout: DropoutConfig::new(self.auxiliary_dropout).init(),
            fc2: layers.linear([1024, self.classes]),
            kernels: self.kernels,
        }
    }
}

impl GoogLeNet {
    fn stage3<X: FeatureMap>(&self, images: X) -> X {
        assert_takes(self, &images);
        let x = self.conv1.forward_relu(images); // [b, 64, 112, 112]
        let x = x.max_pool2d(&self.pool, self.kernels); // [b, 64, 56, 56]
        let x = self.conv2.forward_relu(x); // [b, 64, 56, 56]
        let x = self.conv3.forward_relu(x); // [b, 192, 56, 56]
        let x = x.max_pool2d(&self.pool, self.kernels); // [b, 192, 28, 28]
        let x = self.inception3a.forward(x); // [b, 256, 28, 28]
        let x = self.inception3b.forward(x); // [b, 480, 28, 28]
        x.max_pool2d(&self.pool, self.kernels) // [b, 480, 14, 14]
    }

    /// The inputs of the two auxiliary classifiers, and the last feature map.
    fn stage4<X: FeatureMap>(&self, x: X) -> [X; 3] {
        let a = self.inception4a.forward(x); // [b, 512, 14, 14]
        let x = self.inception4b.forward(a.clone()); // [b, 512, 14, 14]
        let x = self.inception4c.forward(x); // [b, 512, 14, 14]
        let d = self.inception4d.forward(x); // [b, 528, 14, 14]
        let x = self.inception4e.forward(d.clone()); // [b, 832, 14, 14]
        [a, d, x]
    }

    fn stage5<X: FeatureMap>(&self, x: X) -> X {
        let x = x.max_pool2d(&self.pool4, self.kernels); // [b, 832, 7, 7]
        let x = self.inception5a.forward(x); // [b, 832, 7, 7]
        self.inception5b.forward(x) // [b, 1024, 7, 7]
    }
}

impl Inception {
    /// Maps `[batch, channels in, height, width]` to `[batch, channels out, height, width]`.
    pub fn forward<X: FeatureMap>(&self, x: X) -> X {
        let chain =
            |[first, second]: &[ConvNorm; 2], x: X| second.forward_relu(first.forward_relu(x));
        x.block("inception block", |x| {
            let [x1, x2, x3, x4] = x.fork(self.kernels);
            let branches = vec![
                self.branch1.forward_relu(x1),
                chain(&self.branch2, x2),
                chain(&self.branch3, x3),
                self.branch4.forward_relu(x4.max_pool2d(&self.pool, self.kernels)),
            ];
            X::concatenate(branches, self.kernels)
        })
    }

    fn fold(self) -> Self {
        Self {
            branch1: self.branch1.fold(),
            branch2: self.branch2.map(ConvNorm::fold),
            branch3: self.branch3.map(ConvNorm::fold),
            branch4: self.branch4.fold(),
            ..self
        }
    }
}

impl Auxiliary {
    /// Maps a feature map `[batch, channels, height, width]` to logits `[batch, classes]`.
    pub fn forward<X: FeatureMap>(&self, x: X) -> X::Vector {
        let x = x.adaptive_avg_pool2d(&self.average, self.kernels);
        let x = self.conv.forward_relu(x).flatten(); // [b, 2048]
        let x = x.linear(&self.fc1).relu().dropout(&self.dropout); // [b, 1024]
        x.linear(&self.fc2) // [b, classes]
    }
}

impl ConvNet for GoogLeNet {
    /// Maps images `[batch, channels, height, width]` to the last feature map: at 224 pixels
    /// `[batch, 1024, 7, 7]`.
    ///
    /// # Panics
    ///
    /// If the images have a different number of channels, or are smaller than 15 x 15 pixels
    /// (torchvision's network only).
    fn features<X: FeatureMap>(&self, images: X) -> X {
        let [_, _, x] = self.stage4(self.stage3(images));
        self.stage5(x)
    }

    /// [`forward`](Self::forward) that also returns the auxiliary classifiers' logits, for
    /// training.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    fn forward_auxiliary(&self, images: Tensor<4>) -> (Tensor<2>, Vec<Tensor<2>>) {
        let middle = self.stage4(self.stage3(images));
        let heads = [(&self.aux1, &middle[0]), (&self.aux2, &middle[1])];
        let auxiliary =
            heads.into_iter().filter_map(|(head, x)| Some(head.as_ref()?.forward(x.clone())));
        let auxiliary = auxiliary.collect();
        let [_, _, x] = middle;
        (self.classify(self.stage5(x)), auxiliary)
    }

    fn classify<X: FeatureMap>(&self, features: X) -> X::Vector {
        let x = features.adaptive_avg_pool2d(&self.average, self.kernels).flatten(); // [b, 1024]
        x.dropout(&self.dropout).linear(&self.fc) // [b, classes]
    }

    fn check(&self, image: [usize; 3]) -> Result<(), ImageError> {
        let side = if self.pool.ceil_mode { 15 } else { 1 };
        at_least(side, "GoogLeNet", self.conv1.conv.weight.lazy_shape()[1], image)
    }

    fn prepare_for_prediction(self) -> Self {
        let network = self.valid();
        Self {
            conv1: network.conv1.fold(),
            conv2: network.conv2.fold(),
            conv3: network.conv3.fold(),
            inception3a: network.inception3a.fold(),
            inception3b: network.inception3b.fold(),
            inception4a: network.inception4a.fold(),
            inception4b: network.inception4b.fold(),
            inception4c: network.inception4c.fold(),
            inception4d: network.inception4d.fold(),
            inception4e: network.inception4e.fold(),
            inception5a: network.inception5a.fold(),
            inception5b: network.inception5b.fold(),
            aux1: None,
            aux2: None,
            ..network
        }
    }
}

impl LayerNames for GoogLeNet {
    fn torchvision_name(&self, layer: &str) -> String {
        layer.replace("branch4.", "branch4.1.") // branch4.0 is the pool
    }

    fn d2l_name(&self, layer: &str, listing: Listing) -> Option<String> {
        let parts: Vec<&str> = layer.split('.').collect();
        let convolution = match parts[..] {
            ["conv1", "conv"] => return Some("0.0".to_owned()),
            ["conv2", "conv"] => return Some("1.0".to_owned()),
            ["conv3", "conv"] => return Some("1.2".to_owned()),
            ["fc"] => return Some("5".to_owned()),
            [_, "branch1", "conv"] => "1_1",
            [_, "branch2", "0", "conv"] => "2_1",
            [_, "branch2", "1", "conv"] => "2_2",
            [_, "branch3", "0", "conv"] => "3_1",
            [_, "branch3", "1", "conv"] => "3_2",
            // The pool is 4_1.
            [_, "branch4", "conv"] => "4_2",
            _ => return None,
        };
        let inception = match parts[0] {
            "inception3a" => "2.0",
            "inception3b" => "2.1",
            "inception4a" => "3.0",
            "inception4b" => "3.1",
            "inception4c" => "3.2",
            "inception4d" => "3.3",
            "inception4e" => "3.4",
            "inception5a" => "4.0",
            _ => "4.1",
        };
        let branch = match listing {
            Listing::Sequential => "p",
            Listing::Class => "b",
        };
        Some(format!("{inception}.{branch}{convolution}"))
    }

    fn classifier(&self) -> &'static [&'static str] {
        &["fc", "aux1.fc2", "aux2.fc2"]
    }

    /// torchvision's published weights contain the auxiliary classifiers.
    fn optional(&self) -> &'static [&'static str] {
        if self.aux1.is_some() { &[] } else { &["aux1.", "aux2."] }
    }
}

//! # GoogLeNet: parallel branches
//!
//! Szegedy et al., [Going deeper with convolutions](https://arxiv.org/abs/1409.4842) (2014). Which
//! window is best, 1 x 1, 3 x 3 or 5 x 5? GoogLeNet takes them all: its block, *Inception*, sends
//! the input along four branches and puts their outputs side by side.
//!
//! ```text
//!            +--> 1 x 1 ------------------+
//!            |                            |
//!            +--> 1 x 1 ----> 3 x 3 ------+
//!   x -------+                            +--> channels side by side
//!            +--> 1 x 1 ----> 5 x 5 ------+
//!            |                            |
//!            +--> 3 x 3 pool -> 1 x 1 ----+
//! ```
//!
//! The 1 x 1 convolutions, which NiN brought, reduce the channels before the wide windows, where the
//! cost is; nine blocks have a tenth of AlexNet's parameters and are more accurate. As in NiN the
//! image is averaged at the end, before one fully connected layer.
//!
//! Two variants:
//!
//! - [`GoogLeNetConfig::d2l`]: the notes' network, the paper's widths (table 1) for grey images of
//!   96 pixels, without auxiliary classifiers or dropout.
//! - [`GoogLeNetConfig::imagenet`]: torchvision's, which differs from the paper: batch normalization
//!   after each convolution; pools that round up, the last of 2 x 2; and a 3 x 3 window in the third
//!   branch, where the paper has 5 x 5 (a mistake that torchvision keeps for the sake of its
//!   weights).
//!
//! With [`auxiliary`](GoogLeNetConfig::auxiliary) heads two classifiers halfway give the lower
//! blocks gradients of their own in training; their losses count 0.3 each. In prediction they are
//! not used.
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
    tensor::{Device, Tensor, activation::relu},
};

use crate::{
    ConvNet, ImageError, Initialization, Kernels, Listing,
    blocks::{ConvNorm, Layers, average_to, window},
    conv_net::{assert_takes, at_least},
    init::NORMAL,
    summary::Trace,
};

/// Everything that distinguishes one GoogLeNet from another.
#[derive(Config, Debug)]
pub struct GoogLeNetConfig {
    /// Channels of the images: 1 for grey, 3 for colour.
    #[config(default = 3)]
    pub channels: usize,
    /// Number of classes.
    #[config(default = 1000)]
    pub classes: usize,
    /// Whether the network is torchvision's: batch normalization after each convolution, pools that
    /// round up, 3 x 3 windows in the third branch.
    pub torchvision: bool,
    /// Whether there are auxiliary classifiers.
    #[config(default = false)]
    pub auxiliary: bool,
    /// The share of features that dropout silences in training, before the last layer.
    #[config(default = 0.2)]
    pub dropout: f64,
    /// The same in the auxiliary classifiers.
    #[config(default = 0.7)]
    pub auxiliary_dropout: f64,
    /// How fresh weights are drawn.
    pub initialization: Initialization,
    /// What computes the layers.
    #[config(default = "Kernels::Winograd")]
    pub kernels: Kernels,
}

/// GoogLeNet; torchvision's is for images of at least 15 x 15 pixels.
///
/// Made by [`GoogLeNetConfig::init`]. The module's documentation has the figure.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names of the paper's table
pub struct GoogLeNet {
    /// 7 x 7, every second pixel.
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
    /// After `conv1`, `conv3` and `inception3b`: 3 x 3, every second pixel.
    pub pool: MaxPool2d,
    /// After `inception4e`: every second pixel.
    pub pool4: MaxPool2d,
    /// An auxiliary classifier after `inception4a`.
    pub aux1: Option<Auxiliary>,
    /// An auxiliary classifier after `inception4d`.
    pub aux2: Option<Auxiliary>,
    /// Over the whole feature map.
    pub average: AdaptiveAvgPool2d,
    /// Before the last layer.
    pub dropout: Dropout,
    /// To the classes.
    pub fc: Linear,
    /// What computes the layers.
    #[module(skip)]
    pub kernels: Kernels,
}

/// Four branches, side by side.
#[derive(Module, Debug)]
pub struct Inception {
    /// 1 x 1.
    pub branch1: ConvNorm,
    /// 1 x 1, then 3 x 3.
    pub branch2: [ConvNorm; 2],
    /// 1 x 1, then 5 x 5; in torchvision's network 3 x 3.
    pub branch3: [ConvNorm; 2],
    /// 1 x 1, after the pool.
    pub branch4: ConvNorm,
    /// 3 x 3, before the fourth branch.
    pub pool: MaxPool2d,
    /// What computes the layers.
    #[module(skip)]
    pub kernels: Kernels,
}

/// A classifier in the middle of the network, for training.
#[derive(Module, Debug)]
pub struct Auxiliary {
    /// To a grid of 4 x 4.
    pub average: AdaptiveAvgPool2d,
    /// 1 x 1.
    pub conv: ConvNorm,
    /// From the grid.
    pub fc1: Linear,
    /// Between the two layers.
    pub dropout: Dropout,
    /// To the classes.
    pub fc2: Linear,
    /// What computes the layers.
    #[module(skip)]
    pub kernels: Kernels,
}

/// What a GoogLeNet is trained by: logits, each `[batch, classes]`.
#[derive(Clone, Debug)]
pub struct GoogLeNetOutput {
    /// Those of the network.
    pub logits: Tensor<2>,
    /// Those of the auxiliary classifiers, where the network has them.
    pub auxiliary: Vec<Tensor<2>>,
}

/// Channels of the branches: 1 x 1; before and after the second and the third branch's window; after
/// the pool. Table 1 of the paper.
type Widths = (usize, [usize; 2], [usize; 2], usize);

impl GoogLeNetConfig {
    /// The notes' network for Fashion-MNIST, scaled up to 96 pixels.
    pub fn d2l() -> Self {
        Self::new(false, Initialization::XAVIER).with_channels(1).with_classes(10).with_dropout(0.0)
    }

    /// torchvision's `googlenet`, without auxiliary classifiers.
    pub fn imagenet() -> Self {
        let initialization =
            Initialization { convolution: NORMAL, linear: NORMAL, zero_biases: false };
        Self::new(true, initialization)
    }

    /// The network with fresh weights.
    pub fn init(&self, device: &Device) -> GoogLeNet {
        let layers = Layers {
            initialization: &self.initialization,
            bias: !self.torchvision,
            batch_norm: self.torchvision,
            epsilon: 1e-3,
            kernels: self.kernels,
            device,
        };
        let mut channels = 192;
        let mut inception = |widths: Widths| {
            let (one, [_, three], [_, five], pooled) = widths;
            let inputs = std::mem::replace(&mut channels, one + three + five + pooled);
            self.inception(&layers, inputs, widths)
        };
        let half = |size| match self.torchvision {
            true => window(size).stride(2).round_up(true).max_pool(),
            false => window(3).stride(2).padding(1).max_pool(),
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
        let five_by_five = match self.torchvision {
            true => window(3).padding(1),
            false => window(5).padding(2),
        };
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
    /// Images `[batch, channels, height, width]` to logits `[batch, classes]`.
    ///
    /// # Panics
    ///
    /// If the images have another number of channels, or, in torchvision's network, are smaller than
    /// 15 x 15 pixels.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        self.classify(self.features(images)) // [b, classes]
    }

    /// [`forward`](Self::forward), and the logits of the auxiliary classifiers, for training.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_auxiliary(&self, images: Tensor<4>) -> GoogLeNetOutput {
        let middle = self.stage4(self.stage3(images));
        let heads = [(&self.aux1, &middle[0]), (&self.aux2, &middle[1])];
        let auxiliary =
            heads.into_iter().filter_map(|(head, x)| Some(head.as_ref()?.forward(x.clone())));
        let auxiliary = auxiliary.collect();
        let [_, _, x] = middle;
        GoogLeNetOutput { logits: self.classify(self.stage5(x)), auxiliary }
    }

    /// Images `[batch, channels, height, width]` to the last feature map, at 224 pixels `[batch,
    /// 1024, 7, 7]`.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn features(&self, images: Tensor<4>) -> Tensor<4> {
        let [_, _, x] = self.stage4(self.stage3(images));
        self.stage5(x)
    }

    fn stage3(&self, images: Tensor<4>) -> Tensor<4> {
        assert_takes(self, &images);
        let x = self.conv1.forward_relu(images); // [b, 64, 112, 112]
        let x = self.kernels.max_pool2d(&self.pool, x); // [b, 64, 56, 56]
        let x = self.conv2.forward_relu(x); // [b, 64, 56, 56]
        let x = self.conv3.forward_relu(x); // [b, 192, 56, 56]
        let x = self.kernels.max_pool2d(&self.pool, x); // [b, 192, 28, 28]
        let x = self.inception3a.forward(x); // [b, 256, 28, 28]
        let x = self.inception3b.forward(x); // [b, 480, 28, 28]
        self.kernels.max_pool2d(&self.pool, x) // [b, 480, 14, 14]
    }

    /// The feature maps that the two auxiliary classifiers see, and the last one.
    fn stage4(&self, x: Tensor<4>) -> [Tensor<4>; 3] {
        let a = self.inception4a.forward(x); // [b, 512, 14, 14]
        let x = self.inception4b.forward(a.clone()); // [b, 512, 14, 14]
        let x = self.inception4c.forward(x); // [b, 512, 14, 14]
        let d = self.inception4d.forward(x); // [b, 528, 14, 14]
        let x = self.inception4e.forward(d.clone()); // [b, 832, 14, 14]
        [a, d, x]
    }

    fn stage5(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.kernels.max_pool2d(&self.pool4, x); // [b, 832, 7, 7]
        let x = self.inception5a.forward(x); // [b, 832, 7, 7]
        self.inception5b.forward(x) // [b, 1024, 7, 7]
    }

    fn classify(&self, features: Tensor<4>) -> Tensor<2> {
        let x = self.kernels.adaptive_avg_pool2d(&self.average, features);
        let x = x.flatten(1, 3); // [b, 1024]
        self.fc.forward(self.dropout.forward(x)) // [b, classes]
    }
}

impl Inception {
    /// Maps `[batch, channels in, height, width]` to `[batch, channels out, height, width]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let chain = |[first, second]: &[ConvNorm; 2], x| second.forward_relu(first.forward_relu(x));
        let [x1, x2, x3, x4] = self.kernels.fork(x);
        let branches = vec![
            self.branch1.forward_relu(x1),
            chain(&self.branch2, x2),
            chain(&self.branch3, x3),
            self.branch4.forward_relu(self.kernels.max_pool2d(&self.pool, x4)),
        ];
        self.kernels.concatenate(branches)
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

    fn trace(&self, name: &str, trace: &mut Trace) {
        let input = trace.shape;
        let mut channels = 0;
        trace.conv_norm(&format!("{name}.branch1"), &self.branch1);
        for (branch, pair) in [("branch2", &self.branch2), ("branch3", &self.branch3)] {
            channels += trace.shape[0];
            trace.shape = input;
            trace.conv_norm(&format!("{name}.{branch}.0"), &pair[0]);
            trace.conv_norm(&format!("{name}.{branch}.1"), &pair[1]);
        }
        channels += trace.shape[0];
        trace.shape = input;
        trace.max_pool(&format!("{name}.pool"), &self.pool);
        trace.conv_norm(&format!("{name}.branch4"), &self.branch4);
        trace.shape[0] += channels;
    }
}

impl Auxiliary {
    /// A feature map `[batch, channels, height, width]` to logits `[batch, classes]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.kernels.adaptive_avg_pool2d(&self.average, x);
        let x = self.conv.forward_relu(x).flatten(1, 3); // [b, 2048]
        let x = self.dropout.forward(relu(self.fc1.forward(x))); // [b, 1024]
        self.fc2.forward(x) // [b, classes]
    }
}

impl ConvNet for GoogLeNet {
    fn check(&self, image: [usize; 3]) -> Result<(), ImageError> {
        let side = if self.pool.ceil_mode { 15 } else { 1 };
        at_least(side, "GoogLeNet", self.conv1.conv.weight.lazy_shape()[1], image)
    }

    /// Without the auxiliary classifiers, which do not predict.
    fn trace(&self, trace: &mut Trace) {
        trace.conv_norm("conv1", &self.conv1);
        trace.max_pool("maxpool1", &self.pool);
        trace.conv_norm("conv2", &self.conv2);
        trace.conv_norm("conv3", &self.conv3);
        trace.max_pool("maxpool2", &self.pool);
        self.inception3a.trace("inception3a", trace);
        self.inception3b.trace("inception3b", trace);
        trace.max_pool("maxpool3", &self.pool);
        self.inception4a.trace("inception4a", trace);
        self.inception4b.trace("inception4b", trace);
        self.inception4c.trace("inception4c", trace);
        self.inception4d.trace("inception4d", trace);
        self.inception4e.trace("inception4e", trace);
        trace.max_pool("maxpool4", &self.pool4);
        self.inception5a.trace("inception5a", trace);
        self.inception5b.trace("inception5b", trace);
        trace.average_to("avgpool", &self.average);
        trace.linear("fc", &self.fc);
    }

    fn torchvision_name(&self, layer: &str) -> String {
        match layer.rsplit_once('.') {
            Some((inception, "pool")) => format!("{inception}.branch4.0"),
            _ => layer.replace("branch4.", "branch4.1."),
        }
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

    /// torchvision's published weights hold the auxiliary classifiers.
    fn optional(&self) -> &'static [&'static str] {
        if self.aux1.is_some() { &[] } else { &["aux1.", "aux2."] }
    }
}

//! # LeNet: an early convolutional network
//!
//! LeCun, Bottou, Bengio and Haffner, [Gradient-based learning applied to document
//! recognition](https://ieeexplore.ieee.org/document/726791) (1998), section II; its figure 2 shows
//! the network. Two convolutions find features. Pooling after each convolution makes the features
//! less dependent on their position. Three fully connected layers classify the features. The
//! original network had pooling with learned weights and a last layer of Gaussian units; newer
//! versions, like this one, use average pooling and return logits.
//!
//! Two variants:
//!
//! - [`LeNetConfig::lenet`]: the first convolution is padded, so that images of 28 pixels give
//!   feature maps of the same size as images of 32 pixels in the paper.
//! - [`LeNetConfig::lenet_bn`]: the network of the D2L notes, with batch normalization between each
//!   layer and its sigmoid. The first convolution is not padded. The gradient of a sigmoid is small
//!   where its input is far from zero; normalized inputs stay in the steep part.
//!
//! | stage | `lenet` | parameters | `lenet_bn` | parameters |
//! |---|---|---|---|---|
//! | image | 1 x 28 x 28 | | 1 x 28 x 28 | |
//! | conv1, 5 x 5, pooled | 6 x 14 x 14 | 156 | 6 x 12 x 12 | 156 + 12 |
//! | conv2, 5 x 5, pooled | 16 x 5 x 5 | 2,416 | 16 x 4 x 4 | 2,416 + 32 |
//! | fc1 | 120 | 48,120 | 120 | 30,840 + 240 |
//! | fc2 | 84 | 10,164 | 84 | 10,164 + 168 |
//! | fc3 | 10 | 850 | 10 | 850 |
//! | **total** | | **61,706** | | **44,878** |

use batch_norm::{BatchNorm, fold_into_linear};
use burn::{
    config::Config,
    module::Module,
    nn::{Linear, pool::AvgPool2d},
    tensor::Device,
};

use crate::{
    ConvNet, FeatureMap, FeatureVector, ImageError, Initialization, Kernels, LayerNames, Listing,
    blocks::{ConvNorm, Layers, window},
    conv_net::{assert_takes, exactly},
};

/// The config of a LeNet.
#[derive(Config, Debug)]
pub struct LeNetConfig {
    /// Channels of the images: 1 for grayscale, 3 for color.
    #[config(default = 1)]
    pub channels: usize,
    /// Number of classes.
    #[config(default = 10)]
    pub classes: usize,
    /// Zeros added on each side before the first convolution.
    pub padding: usize,
    /// Whether each layer but the last is followed by batch normalization.
    pub batch_norm: bool,
    /// Which kernels compute the layers.
    #[config(default = "Kernels::Winograd")]
    pub kernels: Kernels,
}

/// LeNet-5, with or without batch normalization, for images of 28 x 28 pixels.
///
/// Created by [`LeNetConfig::init`].
#[derive(Module, Debug)]
pub struct LeNet {
    /// 5 x 5, to 6 channels.
    pub conv1: ConvNorm,
    /// 5 x 5, from 6 to 16 channels.
    pub conv2: ConvNorm,
    /// 2 x 2, after both convolutions.
    pub pool: AvgPool2d,
    /// From the feature map to 120 units.
    pub fc1: Linear,
    /// After `fc1`.
    pub bn3: Option<BatchNorm>,
    /// From 120 to 84 units.
    pub fc2: Linear,
    /// After `fc2`.
    pub bn4: Option<BatchNorm>,
    /// From 84 units to the logits.
    pub fc3: Linear,
    /// Which kernels compute the layers.
    #[module(skip)]
    pub kernels: Kernels,
}

impl LeNetConfig {
    /// The height and width, in pixels, of LeNet's input images.
    pub const SIDE: usize = 28;

    /// LeNet-5 without batch normalization; the first convolution is padded.
    pub fn lenet() -> Self {
        Self::new(2, false)
    }

    /// The LeNet with batch normalization of the D2L notes.
    pub fn lenet_bn() -> Self {
        Self::new(0, true)
    }

    /// Creates the network with Xavier initialization, as in the D2L notes.
    pub fn init(&self, device: &Device) -> LeNet {
        let layers = Layers {
            batch_norm: self.batch_norm,
            ..Layers::new(&Initialization::XAVIER, self.kernels, device)
        };
        let bn = |channels| self.batch_norm.then(|| layers.norm(channels));
        // A 5 x 5 convolution shortens each side by 4 pixels, pooling halves it.
        let side = ((Self::SIDE + 2 * self.padding - 4) / 2 - 4) / 2;

        LeNet {
            conv1: layers.conv_norm([self.channels, 6], window(5).padding(self.padding)),
            conv2: layers.conv_norm([6, 16], window(5)),
            pool: window(2).stride(2).average_pool(),
            fc1: layers.linear([16 * side * side, 120]),
            bn3: bn(120),
            fc2: layers.linear([120, 84]),
            bn4: bn(84),
            fc3: layers.linear([84, self.classes]),
            kernels: self.kernels,
        }
    }
}

fn normalize<V: FeatureVector>(norm: &Option<BatchNorm>, x: V) -> V {
    match norm {
        Some(norm) => x.batch_norm(norm),
        None => x,
    }
}

impl ConvNet for LeNet {
    /// Maps images `[batch, channels, 28, 28]` to the last feature map: `[batch, 16, 5, 5]`, or
    /// `[batch, 16, 4, 4]` with batch normalization.
    ///
    /// # Panics
    ///
    /// If the images have a different size or number of channels.
    fn features<X: FeatureMap>(&self, images: X) -> X {
        assert_takes(self, &images);
        let kernels = self.kernels;
        let x = self.conv1.forward(images).sigmoid(kernels); // [b, 6, 28, 28], batch norm: 24
        let x = x.avg_pool2d(&self.pool, kernels); // [b, 6, 14, 14], batch norm: 12
        let x = self.conv2.forward(x).sigmoid(kernels); // [b, 16, 10, 10], batch norm: 8
        x.avg_pool2d(&self.pool, kernels) // [b, 16, 5, 5], batch norm: 4
    }

    fn classify<X: FeatureMap>(&self, features: X) -> X::Vector {
        let x = features.flatten(); // [b, 400], batch norm: [b, 256]
        let x = normalize(&self.bn3, x.linear(&self.fc1)).sigmoid(self.kernels); // [b, 120]
        let x = normalize(&self.bn4, x.linear(&self.fc2)).sigmoid(self.kernels); // [b, 84]
        x.linear(&self.fc3) // [b, 10]
    }

    fn check(&self, image: [usize; 3]) -> Result<(), ImageError> {
        exactly(LeNetConfig::SIDE, "LeNet", self.conv1.conv.weight.lazy_shape()[1], image)
    }

    fn prepare_for_prediction(self) -> Self {
        let network = self.valid();
        let fc = |fc: Linear, norm: Option<BatchNorm>| match norm {
            Some(norm) => fold_into_linear(fc, &norm),
            None => fc,
        };
        Self {
            conv1: network.conv1.fold(),
            conv2: network.conv2.fold(),
            fc1: fc(network.fc1, network.bn3),
            bn3: None,
            fc2: fc(network.fc2, network.bn4),
            bn4: None,
            ..network
        }
    }
}

impl LayerNames for LeNet {
    fn torchvision_name(&self, layer: &str) -> String {
        match layer.split_once('.') {
            Some((convolution, "conv")) => convolution.to_owned(),
            Some((convolution, _)) => convolution.replace("conv", "bn"),
            None => layer.to_owned(),
        }
    }

    fn d2l_name(&self, layer: &str, _: Listing) -> Option<String> {
        let [plain, normalized] = match layer {
            "conv1.conv" => ["0", "0"],
            "conv1.bn" => ["", "1"],
            "conv2.conv" => ["3", "4"],
            "conv2.bn" => ["", "5"],
            "fc1" => ["7", "9"],
            "bn3" => ["", "10"],
            "fc2" => ["9", "12"],
            "bn4" => ["", "13"],
            "fc3" => ["11", "15"],
            _ => return None,
        };
        Some(if self.bn3.is_some() { normalized } else { plain }.to_owned())
    }

    fn classifier(&self) -> &'static [&'static str] {
        &["fc3"]
    }
}

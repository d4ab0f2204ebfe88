use burn::{
    config::Config,
    module::Module,
    tensor::{Device, Tensor},
};

use crate::{
    AlexNet, AlexNetConfig, ConvNet, DenseNet, DenseNetConfig, GoogLeNet, GoogLeNetConfig,
    ImageError, Kernels, LeNet, LeNetConfig, Listing, Nin, NinConfig, ResNet, ResNetConfig, Vgg,
    VggConfig, WideResNet, WideResNetConfig, summary::Trace,
};

/// Any network of this crate, as one module: for a program that learns at run time which.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // there is one of it, and it is moved a few times
pub enum Network {
    /// A LeNet.
    LeNet(LeNet),
    /// An AlexNet.
    AlexNet(AlexNet),
    /// A VGG.
    Vgg(Vgg),
    /// A NiN.
    Nin(Nin),
    /// A GoogLeNet.
    GoogLeNet(GoogLeNet),
    /// A ResNet.
    ResNet(ResNet),
    /// A wide residual network.
    WideResNet(WideResNet),
    /// A DenseNet.
    DenseNet(DenseNet),
}

/// Any network's config.
#[derive(Config, Debug)]
pub enum NetworkConfig {
    /// Of a LeNet.
    LeNet(LeNetConfig),
    /// Of an AlexNet.
    AlexNet(AlexNetConfig),
    /// Of a VGG.
    Vgg(VggConfig),
    /// Of a NiN.
    Nin(NinConfig),
    /// Of a GoogLeNet.
    GoogLeNet(GoogLeNetConfig),
    /// Of a ResNet.
    ResNet(ResNetConfig),
    /// Of a wide residual network.
    WideResNet(WideResNetConfig),
    /// Of a DenseNet.
    DenseNet(DenseNetConfig),
}

/// The same expression for the network, or the config, of whichever family.
macro_rules! each {
    ($enum:ident, $value:expr, $inner:ident => $result:expr) => {
        match $value {
            $enum::LeNet($inner) => $result,
            $enum::AlexNet($inner) => $result,
            $enum::Vgg($inner) => $result,
            $enum::Nin($inner) => $result,
            $enum::GoogLeNet($inner) => $result,
            $enum::ResNet($inner) => $result,
            $enum::WideResNet($inner) => $result,
            $enum::DenseNet($inner) => $result,
        }
    };
}

impl NetworkConfig {
    /// For images of so many channels: 1 for grey, 3 for colour.
    pub fn with_channels(mut self, channels: usize) -> Self {
        each!(Self, &mut self, config => config.channels = channels);
        self
    }

    /// For so many classes.
    pub fn with_classes(mut self, classes: usize) -> Self {
        each!(Self, &mut self, config => config.classes = classes);
        self
    }

    /// Without dropout.
    pub fn without_dropout(mut self) -> Self {
        match &mut self {
            Self::AlexNet(config) => config.dropout = 0.0,
            Self::Vgg(config) => config.dropout = 0.0,
            Self::Nin(config) => config.dropout = 0.0,
            Self::GoogLeNet(config) => (config.dropout, config.auxiliary_dropout) = (0.0, 0.0),
            Self::LeNet(_) | Self::ResNet(_) | Self::WideResNet(_) | Self::DenseNet(_) => {}
        }
        self
    }

    /// With the layers computed by this.
    pub fn with_kernels(mut self, kernels: Kernels) -> Self {
        each!(Self, &mut self, config => config.kernels = kernels);
        self
    }

    /// The network with fresh weights.
    pub fn init(&self, device: &Device) -> Network {
        match self {
            Self::LeNet(config) => Network::LeNet(config.init(device)),
            Self::AlexNet(config) => Network::AlexNet(config.init(device)),
            Self::Vgg(config) => Network::Vgg(config.init(device)),
            Self::Nin(config) => Network::Nin(config.init(device)),
            Self::GoogLeNet(config) => Network::GoogLeNet(config.init(device)),
            Self::ResNet(config) => Network::ResNet(config.init(device)),
            Self::WideResNet(config) => Network::WideResNet(config.init(device)),
            Self::DenseNet(config) => Network::DenseNet(config.init(device)),
        }
    }
}

impl Network {
    /// Images `[batch, channels, height, width]` to logits `[batch, classes]`.
    ///
    /// # Panics
    ///
    /// If the images do not have the size or the channels that the network takes.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        each!(Self, self, network => network.forward(images))
    }

    /// Images `[batch, channels, height, width]` to the last feature map.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn features(&self, images: Tensor<4>) -> Tensor<4> {
        each!(Self, self, network => network.features(images))
    }

    /// [`forward`](Self::forward), and the logits of classifiers that exist for training only, each
    /// `[batch, classes]`: those of a GoogLeNet with auxiliary heads, whose losses count 0.3.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_auxiliary(&self, images: Tensor<4>) -> (Tensor<2>, Vec<Tensor<2>>) {
        match self {
            Self::GoogLeNet(network) => {
                let output = network.forward_auxiliary(images);
                (output.logits, output.auxiliary)
            }
            network => (network.forward(images), Vec::new()),
        }
    }
}

impl ConvNet for Network {
    fn check(&self, image: [usize; 3]) -> Result<(), ImageError> {
        each!(Self, self, network => network.check(image))
    }

    fn trace(&self, trace: &mut Trace) {
        each!(Self, self, network => network.trace(trace))
    }

    fn torchvision_name(&self, layer: &str) -> String {
        each!(Self, self, network => network.torchvision_name(layer))
    }

    fn d2l_name(&self, layer: &str, listing: Listing) -> Option<String> {
        each!(Self, self, network => network.d2l_name(layer, listing))
    }

    fn classifier(&self) -> &'static [&'static str] {
        each!(Self, self, network => network.classifier())
    }

    fn prepare_for_prediction(self) -> Self {
        match self {
            Self::LeNet(network) => Self::LeNet(network.prepare_for_prediction()),
            Self::AlexNet(network) => Self::AlexNet(network.prepare_for_prediction()),
            Self::Vgg(network) => Self::Vgg(network.prepare_for_prediction()),
            Self::Nin(network) => Self::Nin(network.prepare_for_prediction()),
            Self::GoogLeNet(network) => Self::GoogLeNet(network.prepare_for_prediction()),
            Self::ResNet(network) => Self::ResNet(network.prepare_for_prediction()),
            Self::WideResNet(network) => Self::WideResNet(network.prepare_for_prediction()),
            Self::DenseNet(network) => Self::DenseNet(network.prepare_for_prediction()),
        }
    }

    fn optional(&self) -> &'static [&'static str] {
        each!(Self, self, network => network.optional())
    }
}

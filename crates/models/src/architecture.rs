use std::{fmt, str::FromStr};

use crate::{
    AlexNetConfig, DenseNetConfig, GoogLeNetConfig, LeNetConfig, NetworkConfig, NinConfig,
    ResNetConfig, VggConfig, WideResNetConfig,
};

/// Names each network once: variant and name.
macro_rules! architectures {
    ($($variant:ident $name:literal: $doc:literal,)*) => {
        /// The name of a network: every one that this crate has, once, spelled as torchvision does
        /// where it has the network.
        ///
        /// ```
        /// use burn::tensor::Device;
        /// use models::{Architecture, Preset};
        ///
        /// let architecture: Architecture = "resnet18".parse()?;
        /// let config = architecture.config(Preset::Imagenet)?;
        /// let network = config.with_classes(37).init(&Device::flex());
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Architecture {
            $(#[doc = $doc] $variant,)*
        }

        impl Architecture {
            /// Every network.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// The name, as in a config file.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

architectures! {
    LeNet "lenet": "LeNet-5.",
    LeNetBn "lenet_bn": "LeNet-5 with batch normalization.",
    AlexNet "alexnet": "AlexNet.",
    Vgg11 "vgg11": "VGG of 11 layers.",
    Vgg11Bn "vgg11_bn": "VGG of 11 layers with batch normalization.",
    Vgg13 "vgg13": "VGG of 13 layers.",
    Vgg13Bn "vgg13_bn": "VGG of 13 layers with batch normalization.",
    Vgg16 "vgg16": "VGG of 16 layers.",
    Vgg16Bn "vgg16_bn": "VGG of 16 layers with batch normalization.",
    Vgg19 "vgg19": "VGG of 19 layers.",
    Vgg19Bn "vgg19_bn": "VGG of 19 layers with batch normalization.",
    Nin "nin": "Network in network.",
    GoogLeNet "googlenet": "GoogLeNet.",
    ResNet18 "resnet18": "ResNet of 18 layers.",
    ResNet34 "resnet34": "ResNet of 34 layers.",
    ResNet50 "resnet50": "ResNet of 50 layers, with bottlenecks.",
    ResNet101 "resnet101": "ResNet of 101 layers, with bottlenecks.",
    ResNet152 "resnet152": "ResNet of 152 layers, with bottlenecks.",
    Wrn16_4 "wrn_16_4": "Wide residual network of 16 layers, 4 times as wide.",
    Wrn28_10 "wrn_28_10": "Wide residual network of 28 layers, 10 times as wide.",
    Wrn40_4 "wrn_40_4": "Wide residual network of 40 layers, 4 times as wide.",
    DenseNet "densenet": "The notes' DenseNet.",
    DenseNetBc "densenet_bc": "DenseNet-BC with growth rate 12 and 100 layers.",
    DenseNet121 "densenet121": "DenseNet of 121 layers.",
    DenseNet161 "densenet161": "DenseNet of 161 layers.",
    DenseNet169 "densenet169": "DenseNet of 169 layers.",
    DenseNet201 "densenet201": "DenseNet of 201 layers.",
}

/// What a network is made for: its size, its input, its number of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Preset {
    /// The notes' networks for Fashion-MNIST: grey images, 10 classes, Xavier's weights.
    D2l,
    /// torchvision's networks for ImageNet, and NiN as its authors published it: colour images of 224
    /// pixels, 1000 classes.
    Imagenet,
    /// Networks for small images, 28 to 32 pixels: grey, 10 classes.
    Small,
}

/// A name that nothing has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    what: &'static str,
    name: String,
    known: Vec<&'static str>,
}

/// A network that does not exist in this preset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchPreset {
    architecture: Architecture,
    preset: Preset,
}

impl Architecture {
    /// The network's config in this preset.
    ///
    /// # Errors
    ///
    /// If the network does not exist in the preset.
    pub fn config(self, preset: Preset) -> Result<NetworkConfig, NoSuchPreset> {
        use NetworkConfig::{AlexNet, DenseNet, GoogLeNet, LeNet, Nin, ResNet, Vgg, WideResNet};
        let config = match (preset, self) {
            (Preset::D2l, Self::LeNet) => LeNet(LeNetConfig::lenet()),
            (Preset::D2l, Self::LeNetBn) => LeNet(LeNetConfig::lenet_bn()),
            (Preset::D2l, Self::AlexNet) => AlexNet(AlexNetConfig::d2l()),
            (Preset::D2l, Self::Vgg11) => Vgg(VggConfig::d2l()),
            (Preset::D2l, Self::Nin) => Nin(NinConfig::d2l()),
            (Preset::D2l, Self::GoogLeNet) => GoogLeNet(GoogLeNetConfig::d2l()),
            (Preset::D2l, Self::ResNet18) => ResNet(ResNetConfig::d2l()),
            (Preset::D2l, Self::DenseNet) => DenseNet(DenseNetConfig::d2l()),
            (Preset::Imagenet, Self::AlexNet) => AlexNet(AlexNetConfig::imagenet()),
            (Preset::Imagenet, Self::Vgg11) => Vgg(VggConfig::vgg11(false)),
            (Preset::Imagenet, Self::Vgg11Bn) => Vgg(VggConfig::vgg11(true)),
            (Preset::Imagenet, Self::Vgg13) => Vgg(VggConfig::vgg13(false)),
            (Preset::Imagenet, Self::Vgg13Bn) => Vgg(VggConfig::vgg13(true)),
            (Preset::Imagenet, Self::Vgg16) => Vgg(VggConfig::vgg16(false)),
            (Preset::Imagenet, Self::Vgg16Bn) => Vgg(VggConfig::vgg16(true)),
            (Preset::Imagenet, Self::Vgg19) => Vgg(VggConfig::vgg19(false)),
            (Preset::Imagenet, Self::Vgg19Bn) => Vgg(VggConfig::vgg19(true)),
            (Preset::Imagenet, Self::Nin) => Nin(NinConfig::imagenet()),
            (Preset::Imagenet, Self::GoogLeNet) => GoogLeNet(GoogLeNetConfig::imagenet()),
            (Preset::Imagenet, Self::ResNet18) => ResNet(ResNetConfig::resnet18()),
            (Preset::Imagenet, Self::ResNet34) => ResNet(ResNetConfig::resnet34()),
            (Preset::Imagenet, Self::ResNet50) => ResNet(ResNetConfig::resnet50()),
            (Preset::Imagenet, Self::ResNet101) => ResNet(ResNetConfig::resnet101()),
            (Preset::Imagenet, Self::ResNet152) => ResNet(ResNetConfig::resnet152()),
            (Preset::Imagenet, Self::DenseNet121) => DenseNet(DenseNetConfig::densenet121()),
            (Preset::Imagenet, Self::DenseNet161) => DenseNet(DenseNetConfig::densenet161()),
            (Preset::Imagenet, Self::DenseNet169) => DenseNet(DenseNetConfig::densenet169()),
            (Preset::Imagenet, Self::DenseNet201) => DenseNet(DenseNetConfig::densenet201()),
            (Preset::Small, Self::Vgg16Bn) => Vgg(VggConfig::vgg16_bn_small()),
            (Preset::Small, Self::ResNet18) => ResNet(ResNetConfig::resnet18_small()),
            (Preset::Small, Self::Wrn16_4) => WideResNet(WideResNetConfig::wrn_16_4()),
            (Preset::Small, Self::Wrn28_10) => WideResNet(WideResNetConfig::wrn_28_10()),
            (Preset::Small, Self::Wrn40_4) => WideResNet(WideResNetConfig::wrn_40_4()),
            (Preset::Small, Self::DenseNetBc) => DenseNet(DenseNetConfig::densenet_bc()),
            _ => return Err(NoSuchPreset { architecture: self, preset }),
        };
        Ok(config)
    }

    /// The presets in which the network exists.
    pub fn presets(self) -> impl Iterator<Item = Preset> {
        Preset::ALL.into_iter().filter(move |&preset| self.config(preset).is_ok())
    }

    /// `[channels, height, width]` of the images that the network is made for in this preset.
    ///
    /// # Errors
    ///
    /// If the network does not exist in the preset.
    pub fn image(self, preset: Preset) -> Result<[usize; 3], NoSuchPreset> {
        self.config(preset)?;
        Ok(match (preset, self) {
            (Preset::D2l, Self::LeNet | Self::LeNetBn) | (Preset::Small, _) => [1, 28, 28],
            (Preset::D2l, Self::GoogLeNet | Self::ResNet18 | Self::DenseNet) => [1, 96, 96],
            (Preset::D2l, _) => [1, 224, 224],
            (Preset::Imagenet, _) => [3, 224, 224],
        })
    }

    /// Whether the network normalizes batches, so that it cannot train on a batch of one image.
    pub fn has_batch_norm(self, preset: Preset) -> bool {
        match self {
            Self::LeNetBn | Self::Vgg11Bn | Self::Vgg13Bn | Self::Vgg16Bn | Self::Vgg19Bn => true,
            Self::LeNet | Self::AlexNet | Self::Nin => false,
            Self::Vgg11 | Self::Vgg13 | Self::Vgg16 | Self::Vgg19 => false,
            Self::GoogLeNet => preset != Preset::D2l,
            _ => true,
        }
    }
}

impl Preset {
    /// Every preset.
    pub const ALL: [Self; 3] = [Self::D2l, Self::Imagenet, Self::Small];

    /// The name, as in a config file.
    pub fn name(self) -> &'static str {
        match self {
            Self::D2l => "d2l",
            Self::Imagenet => "imagenet",
            Self::Small => "small",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Architecture {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        find("network", name, &Self::ALL, Self::name)
    }
}

impl FromStr for Preset {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        find("preset", name, &Self::ALL, Self::name)
    }
}

fn find<T: Copy>(
    what: &'static str,
    name: &str,
    all: &[T],
    name_of: fn(T) -> &'static str,
) -> Result<T, UnknownName> {
    let found = all.iter().copied().find(|&candidate| name_of(candidate) == name);
    found.ok_or_else(|| UnknownName {
        what,
        name: name.to_owned(),
        known: all.iter().copied().map(name_of).collect(),
    })
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.join("`, `");
        write!(f, "unknown {} `{}`, expected one of `{known}`", self.what, self.name)
    }
}

impl std::error::Error for UnknownName {}

impl fmt::Display for NoSuchPreset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { architecture, preset } = self;
        let presets: Vec<_> = architecture.presets().map(Preset::name).collect();
        let presets = presets.join("`, `");
        write!(f, "there is no `{architecture}` in preset `{preset}`, only in `{presets}`")
    }
}

impl std::error::Error for NoSuchPreset {}

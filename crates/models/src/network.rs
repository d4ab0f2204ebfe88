//! The code that the table of all networks, [`networks`](crate::networks), expands to.

/// Makes [`Architecture`](crate::Architecture), [`Network`](crate::Network) and
/// [`NetworkConfig`](crate::NetworkConfig) from the table of all networks.
macro_rules! networks {
    ($($module:ident: $family:ident($config:ident) {$(
        $variant:ident $name:literal $about:literal:
            $($preset:ident $image:tt $make:ident($($argument:tt)*)),+;
    )+})+) => {
        use burn::{config::Config, module::Module, tensor::{Device, Tensor}};

        use $crate::{
            ConvNet, FeatureMap, ImageError, Kernels, LayerNames, Listing, NoSuchPreset, Preset,
        };

        $(pub use $crate::$module::{$family, $config};)+

        /// The name of a network: each network of this crate, once, spelled as in torchvision if it
        /// is there.
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
            $($(#[doc = $about] $variant,)+)+
        }

        impl Architecture {
            /// All networks.
            pub const ALL: [Self; [$($($name),+),+].len()] = [$($(Self::$variant),+),+];

            /// The name, as in a config file.
            pub fn name(self) -> &'static str {
                match self {
                    $($(Self::$variant => $name,)+)+
                }
            }

            /// The network's config in this preset.
            ///
            /// # Errors
            ///
            /// If the network does not exist in the preset.
            pub fn config(self, preset: Preset) -> Result<NetworkConfig, NoSuchPreset> {
                match (self, preset) {
                    $($($((Self::$variant, Preset::$preset) => {
                        Ok(NetworkConfig::$family($config::$make($($argument)*)))
                    })+)+)+
                    (architecture, preset) => Err(NoSuchPreset { architecture, preset }),
                }
            }

            /// `[channels, height, width]` of this preset's images.
            ///
            /// # Errors
            ///
            /// If the network does not exist in the preset.
            pub fn image(self, preset: Preset) -> Result<[usize; 3], NoSuchPreset> {
                match (self, preset) {
                    $($($((Self::$variant, Preset::$preset) => Ok($image),)+)+)+
                    (architecture, preset) => Err(NoSuchPreset { architecture, preset }),
                }
            }
        }

        /// Any network of this crate, as one module, for a program that chooses it at run time.
        #[derive(Module, Debug)]
        #[allow(clippy::large_enum_variant)] // a program has one, and seldom moves it
        pub enum Network {
            $(#[doc = concat!("[`", stringify!($family), "`](crate::", stringify!($family), ").")]
            $family($family),)+
        }

        /// The config of any network.
        #[derive(Config, Debug)]
        pub enum NetworkConfig {
            $(#[doc = concat!("The config of [`", stringify!($family), "`](crate::", stringify!($family), ").")]
            $family($config),)+
        }

        impl NetworkConfig {
            /// Sets the channels of the images: 1 for grayscale, 3 for color.
            pub fn with_channels(mut self, channels: usize) -> Self {
                match &mut self {
                    $(Self::$family(config) => config.channels = channels,)+
                }
                self
            }

            /// Sets the number of classes.
            pub fn with_classes(mut self, classes: usize) -> Self {
                match &mut self {
                    $(Self::$family(config) => config.classes = classes,)+
                }
                self
            }

            /// Sets the implementation of the layers.
            pub fn with_kernels(mut self, kernels: Kernels) -> Self {
                match &mut self {
                    $(Self::$family(config) => config.kernels = kernels,)+
                }
                self
            }

            /// Creates the network with random weights.
            pub fn init(&self, device: &Device) -> Network {
                match self {
                    $(Self::$family(config) => Network::$family(config.init(device)),)+
                }
            }
        }

        impl ConvNet for Network {
            fn classify<X: FeatureMap>(&self, features: X) -> X::Vector {
                match self {
                    $(Self::$family(network) => network.classify(features),)+
                }
            }

            fn features<X: FeatureMap>(&self, images: X) -> X {
                match self {
                    $(Self::$family(network) => network.features(images),)+
                }
            }

            fn forward_auxiliary(&self, images: Tensor<4>) -> (Tensor<2>, Vec<Tensor<2>>) {
                match self {
                    $(Self::$family(network) => network.forward_auxiliary(images),)+
                }
            }

            fn check(&self, image: [usize; 3]) -> Result<(), ImageError> {
                match self {
                    $(Self::$family(network) => network.check(image),)+
                }
            }

            fn prepare_for_prediction(self) -> Self {
                match self {
                    $(Self::$family(network) => Self::$family(network.prepare_for_prediction()),)+
                }
            }
        }

        impl LayerNames for Network {
            fn torchvision_name(&self, layer: &str) -> String {
                match self {
                    $(Self::$family(network) => network.torchvision_name(layer),)+
                }
            }

            fn d2l_name(&self, layer: &str, listing: Listing) -> Option<String> {
                match self {
                    $(Self::$family(network) => network.d2l_name(layer, listing),)+
                }
            }

            fn classifier(&self) -> &'static [&'static str] {
                match self {
                    $(Self::$family(network) => network.classifier(),)+
                }
            }

            fn optional(&self) -> &'static [&'static str] {
                match self {
                    $(Self::$family(network) => network.optional(),)+
                }
            }
        }
    };
}

pub(crate) use networks;

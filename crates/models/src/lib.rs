//! # The modern convolutional networks, one file each
//!
//! Every network is a Burn [`Module`](burn::module::Module) made from a config, with presets for
//! the variants that people know by name:
//!
//! ```
//! use burn::tensor::{Device, Distribution, Tensor};
//! use models::LeNetConfig;
//!
//! let device = Device::flex();
//! let network = LeNetConfig::lenet_bn().init(&device);
//! let images = Tensor::<4>::random([2, 1, 28, 28], Distribution::Uniform(0.0, 1.0), &device);
//! let logits = network.forward(images);
//! assert_eq!(logits.dims(), [2, 10]);
//! ```
//!
//! | file | idea | networks |
//! |---|---|---|
//! | [`lenet`] | convolutions find features, fully connected layers decide | LeNet-5, with and without batch normalization |
//! | [`alexnet`] | deep, wide, with ReLUs and dropout | AlexNet |
//! | [`vgg`] | repeated blocks of 3 x 3 convolutions | VGG-11, 13, 16 and 19, with and without batch normalization |
//! | [`nin`] | a network at every pixel, and no fully connected layers | NiN |
//! | [`googlenet`] | parallel branches | GoogLeNet |
//! | [`resnet`] | blocks that add to their input | ResNet-18, 34, 50, 101 and 152 |
//! | [`wide_resnet`] | fewer and wider residual blocks | WRN-16-4, WRN-28-10, WRN-40-4 |
//! | [`densenet`] | layers that see all before them | DenseNet-121, 161, 169 and 201, DenseNet-BC |
//!
//! Each comes in the form of the notes for Fashion-MNIST (`d2l`), in torchvision's for ImageNet
//! (`imagenet`), or in one for small images (`small`); channels and classes are the caller's choice.
//!
//! All of them [load weights](ConvNet::load) of PyTorch, safetensors and Burn, with torchvision's names
//! or those of Dive into Deep Learning, [save](ConvNet::save) them so that PyTorch loads them, [fold](ConvNet::prepare_for_prediction)
//! their batch normalization for prediction, and give a [summary](ConvNet::summary) of their layers.
//!
//! A program that lets its user choose names a network by [`Architecture`] and holds it as a
//! [`Network`].
//!
//! No backend is turned on by default: turn on the feature of this crate, or of `burn`, that has
//! the name of yours (`wgpu`, `vulkan`, `metal`, `cuda`, `rocm`, `flex`, `ndarray`).

#![warn(missing_docs)]

pub mod alexnet;
mod architecture;
mod blocks;
mod conv_net;
pub mod densenet;
pub mod googlenet;
pub mod imagenet;
mod init;
pub mod lenet;
mod network;
pub mod nin;
pub mod resnet;
pub mod summary;
pub mod vgg;
mod weights;
pub mod wide_resnet;

pub use convolution::Kernels;

pub use alexnet::{AlexNet, AlexNetConfig};
pub use architecture::{Architecture, NoSuchPreset, Preset, UnknownName};
pub use blocks::ConvNorm;
pub use conv_net::{ConvNet, ImageError, Listing};
pub use densenet::{DenseNet, DenseNetConfig};
pub use googlenet::{GoogLeNet, GoogLeNetConfig};
pub use init::Initialization;
pub use lenet::{LeNet, LeNetConfig};
pub use network::{Network, NetworkConfig};
pub use nin::{Nin, NinConfig};
pub use resnet::{ResNet, ResNetConfig};
pub use vgg::{Vgg, VggConfig};
pub use weights::{Hint, LoadOptions, Metadata, Mismatch, WeightsError, read_metadata};
pub use wide_resnet::{WideResNet, WideResNetConfig};

#[cfg(test)]
mod tests;

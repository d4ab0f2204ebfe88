//! # Modern convolutional networks, one file each
//!
//! Every network is a Burn [`Module`](burn::module::Module) created from a config. There are
//! presets for the well-known variants:
//!
//! ```
//! use burn::tensor::{Device, Distribution, Tensor};
//! use models::{ConvNet, LeNetConfig};
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
//! | [`alexnet`] | deeper and wider, with ReLU and dropout | AlexNet |
//! | [`vgg`] | repeated blocks of 3 x 3 convolutions | VGG-11, 13, 16 and 19, with and without batch normalization |
//! | [`nin`] | a small network at every pixel, no fully connected layers | NiN |
//! | [`googlenet`] | parallel branches | GoogLeNet |
//! | [`resnet`] | blocks that add to their input | ResNet-18, 34, 50, 101 and 152 |
//! | [`wide_resnet`] | fewer, wider residual blocks | WRN-16-1, WRN-16-2, WRN-16-4, WRN-28-10, WRN-40-4 |
//! | [`densenet`] | each layer gets the outputs of all layers before it | DenseNet-121, 161, 169 and 201, DenseNet-BC |
//!
//! There are up to three presets of each network: `d2l`, the network of the notes of
//! [Dive into Deep Learning](https://d2l.ai) (D2L) for Fashion-MNIST; `imagenet`, torchvision's
//! network; and `small`, a network for small images. The caller can choose the numbers of channels
//! and classes.
//!
//! Every network can [load weights](ConvNet::load) from files of PyTorch, safetensors and Burn,
//! with the layer names of torchvision or D2L; [save](ConvNet::save) weights in a form that PyTorch
//! can load; [fold](ConvNet::prepare_for_prediction) its batch normalization for prediction; and
//! return a [summary](ConvNet::summary) of its layers.
//!
//! If the user of a program chooses the network, the program can use [`Architecture`] for its name
//! and [`Network`] for the module.
//!
//! ## The files
//!
//! `networks` is the table of all networks, and `network` makes [`Architecture`], [`Network`] and
//! [`NetworkConfig`] from it. A network's file uses `blocks` (convolution with batch normalization,
//! pools), `init` (how weights are drawn) and [`Kernels`] of the `convolution` crate, and implements
//! [`ConvNet`] (`conv_net`) and [`LayerNames`] (`layer_names`). Its forward pass is written once, for
//! any [`FeatureMap`] (`feature_map`): a tensor is computed, an [`Outline`] lists the layers for the
//! [`summary`], `recorded` keeps the output of each layer. `weights` reads and writes files, [`imagenet`] prepares photos.
//!
//! ## Backends
//!
//! No backend is enabled by default: enable the feature of this crate, or of `burn`, with the name
//! of your backend (`wgpu`, `vulkan`, `metal`, `cuda`, `rocm`, `flex`, `ndarray`).

#![warn(missing_docs)]

pub mod alexnet;
mod architecture;
mod blocks;
mod conv_net;
pub mod densenet;
mod feature_map;
pub mod googlenet;
pub mod imagenet;
mod init;
mod layer_names;
pub mod lenet;
mod network;
mod networks;
pub mod nin;
mod recorded;
pub mod resnet;
pub mod summary;
pub mod vgg;
mod weights;
pub mod wide_resnet;

pub use convolution::Kernels;

pub use architecture::{NoSuchPreset, Preset, UnknownName};
pub use blocks::ConvNorm;
pub use conv_net::{ConvNet, ImageError};
pub use feature_map::{FeatureMap, FeatureVector, Outline};
pub use init::Initialization;
pub use layer_names::{LayerNames, Listing};
pub use networks::*;
pub use weights::{
    Hint, LoadOptions, Metadata, Mismatch, WeightsError, read_metadata, read_metadata_bytes,
};

#[cfg(test)]
mod tests;

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

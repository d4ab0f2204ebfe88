//! # Fashion-MNIST, from the files to batches on the device
//!
//! Xiao, Rasul and Vollgraf, [Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
//! Learning Algorithms](https://arxiv.org/abs/1708.07747) (2017): 70,000 grayscale images of
//! clothes, 28 by 28 pixels, in ten [classes](Class) of equal size; 60,000 to train on, 10,000 to
//! test on.
//!
//! ```no_run
//! use burn::{data::dataloader::DataLoader, tensor::Device};
//! use fashion_mnist::{BatchLoader, FashionMnist, Split};
//!
//! let data = FashionMnist::find(None)?; // found on this machine, or downloaded
//! let data = data.hold_out(5_000, 0); // for validation
//! let train = data.split(Split::Train);
//! println!("{}, {} images to train on", data.source(), train.images());
//!
//! let device = Device::default();
//! let loader = BatchLoader::new(train, 256, &device).shuffled(0);
//! for batch in loader.iter() {
//!     let batch = batch?;
//!     assert_eq!(batch.images.dims()[1..], [1, 28, 28]);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - **Files.** From a given directory, the environment variable `FASHION_MNIST_DIR`, the user's
//!   cache directory, or a download, in this order. Their SHA-256 is always checked, because the
//!   handwritten digits of MNIST are in files of the same names and sizes.
//! - **Images.** [`Images`] implements Burn's `Dataset`, for access to single items. A [`Split`]
//!   for validation is held out of the training images: seeded, the same share of each class.
//! - **Batches.** [`BatchLoader`] implements Burn's `DataLoader`. The images are on the device as
//!   bytes, 47 MB, and become floats there, a batch at a time: the host sends only the order of the
//!   images, once per epoch.
//! - **Augmentation.** [`Augment`] changes training images at random, on the device: crops, flips,
//!   Random Erasing, mixup, CutMix. The random choices depend only on seed, epoch and image, or on
//!   the batch for the last two, so that a repeated run has the same images on every machine.
//! - **Synthetic data.** [`FashionMnist::synthetic`] draws images for machines without the files.
//!   They are not Fashion-MNIST, and their displayed source says so.
//!
//! `files` finds, downloads and checks the files, `idx` reads their format, `synthetic` draws images
//! in their place; `images` holds them, `dataset` their splits; `batches` makes batches, and `augment`
//! changes them.

#![warn(missing_docs)]

mod augment;
mod batches;
mod class;
mod dataset;
mod error;
mod files;
mod idx;
mod images;
mod normalization;
mod synthetic;

pub use augment::Augment;
pub use batches::{Batch, BatchLoader, Batches, Mix};
pub use class::{Class, Split};
pub use dataset::{FashionMnist, Source};
pub use error::{Error, Fault, Origin};
pub use files::{Files, FilesInMemory, RawData};
pub use idx::IdxError;
pub use images::{Images, Item, PIXELS, SIDE};
pub use normalization::Normalization;

/// The example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

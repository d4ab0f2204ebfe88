//! What every network can do.

use std::{collections::HashMap, fmt, path::Path};

use burn::tensor::{Int, Tensor, activation::relu};

use crate::{
    feature_map::{FeatureMap, Listed, Outline},
    layer_names::LayerNames,
    recorded::{Recorded, RecordedVector},
    summary::{Layer, Summary},
    weights::{self, LoadOptions, Metadata, WeightsError},
};

/// A network of this crate.
pub trait ConvNet: LayerNames {
    /// Maps images `[batch, channels, height, width]` to the last feature map.
    ///
    /// # Panics
    ///
    /// If the network does not [take](Self::check) these images.
    fn features<X: FeatureMap>(&self, images: X) -> X;

    /// Maps the last feature map to logits `[batch, classes]`.
    fn classify<X: FeatureMap>(&self, features: X) -> X::Vector;

    /// Maps images `[batch, channels, height, width]` to logits `[batch, classes]`.
    ///
    /// # Panics
    ///
    /// If the network does not [take](Self::check) these images.
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        self.classify(self.features(images))
    }

    /// [`forward`](Self::forward) for training, which also returns the logits of classifiers that exist
    /// only for training, each `[batch, classes]`: those of a GoogLeNet with auxiliary classifiers,
    /// whose losses have a weight of 0.3.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    fn forward_auxiliary(&self, images: Tensor<4>) -> (Tensor<2>, Vec<Tensor<2>>) {
        (self.forward(images), Vec::new())
    }

    /// Checks whether the network accepts an image of `[channels, height, width]`.
    ///
    /// # Errors
    ///
    /// If it does not; the error says what it accepts.
    fn check(&self, image: [usize; 3]) -> Result<(), ImageError>;

    /// Returns the same network for prediction only: without gradients, and with each batch
    /// normalization folded into the convolution before it. The logits are the same, up to
    /// rounding. Save the weights before this call: the weights of a folded network do not fit the
    /// original network. (Those of a folded VGG fit the VGG without batch normalization.) The
    /// default is for networks without batch normalization, and folds nothing.
    fn prepare_for_prediction(self) -> Self {
        self.valid()
    }

    /// Returns the layers, with their outputs, parameters and multiply-adds, and the blocks that they
    /// are part of, for an image of `[channels, height, width]`. Nothing is computed, and no weights
    /// are initialized.
    ///
    /// # Errors
    ///
    /// If the network does not accept such an image.
    fn summary(&self, image: [usize; 3]) -> Result<Summary, ImageError> {
        self.check(image)?;
        let images = Outline::new(image);
        self.classify(self.features(images.clone()));
        let (layers, blocks) = images.finish();
        let parameters = weights::parameters(self);
        let paths: HashMap<_, _> = parameters.iter().map(|it| (it.id, it.layer())).collect();
        let layers = layers.into_iter().map(|Listed { weight, layer }| {
            let path = weight.and_then(|weight| paths.get(&weight));
            let name = path.map(|path| self.torchvision_name(path)).unwrap_or_default();
            Layer { name, ..layer }
        });
        Ok(Summary { input: image, layers: layers.collect(), blocks })
    }

    /// Computes images `[batch, channels, height, width]` and returns each layer whose output is a
    /// feature map, in the order of the [`summary`](Self::summary), with this output: after the sum
    /// with the residual and the activation, if the layer has them. The images are on a device without
    /// gradients.
    ///
    /// # Panics
    ///
    /// If the network does not [take](Self::check) these images.
    fn feature_maps(&self, images: Tensor<4>) -> Vec<(Layer, Tensor<4>)> {
        let summary = self.summary(FeatureMap::shape(&images));
        let layers = summary.unwrap_or_else(|error| panic!("{error}")).layers;
        let network = self.valid();
        let images = Recorded::new(images);
        network.classify(network.features(images.clone()));
        layers.into_iter().filter(|layer| layer.output.len() == 3).zip(images.finish()).collect()
    }

    /// Returns at most `most` of the [feature maps](Self::feature_maps), to look at: those of layers with
    /// an activation, from the first to the last, at equal distances.
    ///
    /// # Panics
    ///
    /// As [`feature_maps`](Self::feature_maps).
    fn activations(&self, images: Tensor<4>, most: usize) -> Vec<(Layer, Tensor<4>)> {
        let maps = self.feature_maps(images).into_iter();
        let maps: Vec<_> = maps.filter(|(layer, _)| layer.activation.is_some()).collect();
        let count = maps.len().min(most);
        let last = maps.len().saturating_sub(1);
        let chosen = (0..count).map(|index| index * last / (count - 1).max(1));
        chosen.map(|index| maps[index].clone()).collect()
    }

    /// Returns where in each image the network sees its class: Grad-CAM, Selvaraju et al., [Visual
    /// explanations from deep networks via gradient-based
    /// localization](https://arxiv.org/abs/1610.02391) (2017), section 3.
    ///
    /// The last feature map is the output of [`features`](Self::features), after its last pool if the
    /// network has one. Each channel has the mean gradient of the class's logit as its weight;
    /// the result is ReLU of the weighted sum of the channels, `[batch, height, width]`. `images` are `[batch, channels, height, width]`, and `classes` `[batch]`, both on a
    /// device without gradients.
    ///
    /// # Panics
    ///
    /// If the network does not [take](Self::check) these images, or has no such class.
    fn grad_cam(&self, images: Tensor<4>, classes: Tensor<1, Int>) -> Tensor<3> {
        let network = self.valid();
        let features = network.features(images);
        let leaf = Tensor::from_inner(features.clone()).require_grad();
        let RecordedVector(logits) = network.train().classify(Recorded::new(leaf.clone()));
        let classes = Tensor::from_inner(classes).unsqueeze_dim::<2>(1);
        let gradients = logits.gather(1, classes).sum().backward();
        let gradient = leaf.grad(&gradients).expect("the logits depend on the feature map");
        let weights = gradient.mean_dim(3).mean_dim(2); // [b, c, 1, 1]
        relu((features * weights).sum_dim(1)).squeeze_dim(1)
    }

    /// Returns the number of trainable parameters, as papers count them.
    ///
    /// Unlike [`Module::num_params`](burn::module::Module::num_params), it does not count the running
    /// means and variances, which have no gradient.
    fn parameters(&self) -> usize {
        let all = weights::parameters(self).into_iter();
        all.filter(|parameter| !parameter.is_running()).map(|parameter| parameter.values()).sum()
    }

    /// Whether the network has batch normalization, so that it cannot train on a batch of one image.
    fn has_batch_norm(&self) -> bool {
        weights::parameters(self).iter().any(|parameter| parameter.is_running())
    }

    /// Returns the network with the weights of a file: PyTorch (`.pth`, `.pt`), `.safetensors`, or
    /// Burn's `.bpk`. In the first two, layers have torchvision's names or those of a
    /// [listing](LayerNames::d2l_name) of Dive into Deep Learning. No content of a file is ever executed.
    /// Clones of the network do not change.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, has two tensors with the same name, or has unreasonably long
    /// names (one of more than 1,000 bytes, or more than 10 MB together); or if its entries do not
    /// fit the network: one error lists all entries that are missing, unexpected or have a
    /// different shape.
    fn load(self, path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        self.load_with(path, LoadOptions::default())
    }

    /// [`load`](Self::load) for weights that were trained on other classes, or on color images.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    fn load_with(self, path: impl AsRef<Path>, options: LoadOptions) -> Result<Self, WeightsError> {
        weights::load(self, path.as_ref(), options)
    }

    /// [`load_with`](Self::load_with) for the contents of a `.safetensors` or `.bpk` file with this
    /// name, for programs without a file system.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    fn load_bytes(
        self,
        name: &str,
        contents: Vec<u8>,
        options: LoadOptions,
    ) -> Result<Self, WeightsError> {
        weights::load_bytes(self, name, contents, options)
    }

    /// Returns the contents of the `.safetensors` file that [`save_with`](Self::save_with) writes.
    fn to_safetensors(&self, metadata: &Metadata) -> Vec<u8> {
        weights::to_safetensors(self, metadata)
    }

    /// Writes the weights, in f32: as `.safetensors` with torchvision's names, which PyTorch can
    /// load, or as Burn's `.bpk`, which is also a record of the module. Running means and variances
    /// include the last batch. The write is atomic: afterwards the complete file is on the disk, or
    /// no file.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    fn save(&self, path: impl AsRef<Path>) -> Result<(), WeightsError> {
        self.save_with(path, &Metadata::new())
    }

    /// [`save`](Self::save) with metadata, which [`read_metadata`](crate::read_metadata) reads.
    ///
    /// # Errors
    ///
    /// As [`save`](Self::save).
    fn save_with(&self, path: impl AsRef<Path>, metadata: &Metadata) -> Result<(), WeightsError> {
        weights::save(self, path.as_ref(), metadata)
    }
}

/// The error for an image that a network does not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageError {
    network: &'static str,
    takes: Takes,
    image: [usize; 3],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Channels(usize),
    Side(usize),
    AtLeast(usize),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, takes, image: [channels, height, width] } = self;
        match takes {
            Takes::Channels(expected) => {
                write!(f, "this {network} takes images of {expected} channels, got {channels}")
            }
            Takes::Side(side) => write!(
                f,
                "{network} takes images of {side} x {side} pixels, got {height} x {width}"
            ),
            Takes::AtLeast(side) => write!(
                f,
                "{network} takes images of at least {side} x {side} pixels, got {height} x {width}"
            ),
        }
    }
}

impl std::error::Error for ImageError {}

/// Checks an image's number of channels and the minimum of its height and width.
pub(crate) fn at_least(
    side: usize,
    network: &'static str,
    channels: usize,
    image: [usize; 3],
) -> Result<(), ImageError> {
    let takes = match image {
        [found, _, _] if found != channels => Takes::Channels(channels),
        [_, height, width] if height < side || width < side => Takes::AtLeast(side),
        _ => return Ok(()),
    };
    Err(ImageError { network, takes, image })
}

/// Checks an image's number of channels, and that its height and width are `side`.
pub(crate) fn exactly(
    side: usize,
    network: &'static str,
    channels: usize,
    image: [usize; 3],
) -> Result<(), ImageError> {
    let takes = match image {
        [found, _, _] if found != channels => Takes::Channels(channels),
        [_, height, width] if [height, width] != [side; 2] => Takes::Side(side),
        _ => return Ok(()),
    };
    Err(ImageError { network, takes, image })
}

/// Panics unless the network accepts these images.
pub(crate) fn assert_takes(network: &impl ConvNet, images: &impl FeatureMap) {
    if let Err(error) = network.check(images.shape()) {
        panic!("{error}");
    }
}

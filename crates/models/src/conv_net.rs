use std::{fmt, path::Path};

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::Tensor,
};

use crate::{
    LoadOptions, Metadata, WeightsError,
    summary::{Summary, Trace},
    weights,
};

/// One of the PyTorch listings of a network in [Dive into Deep Learning](https://d2l.ai).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// A bare `nn.Sequential`: the notes, and the book up to its version 0.17.
    Sequential,
    /// The `net` of a class: the book since its version 1.0.
    Class,
}

/// What every network of this crate can do, beside `forward` and `features`, which each has as methods
/// of its own. Code for any of them holds a [`Network`](crate::Network).
pub trait ConvNet: Module {
    /// Whether the network takes an image of `[channels, height, width]`.
    ///
    /// # Errors
    ///
    /// If it does not, with what it takes.
    fn check(&self, image: [usize; 3]) -> Result<(), ImageError>;

    /// Goes through the layers as an image does, in the order of `forward`. The layers' names are
    /// their paths in this module.
    fn trace(&self, trace: &mut Trace);

    /// What torchvision calls the layer at this path of the module; where torchvision does not have
    /// the network, the name that a PyTorch program would give it.
    fn torchvision_name(&self, layer: &str) -> String;

    /// What the layer at this path of the module is called in a listing of Dive into Deep Learning:
    /// its position, `4`, inside a block `0.2`, and inside the book's classes `Inception`, `Residual`
    /// and `DenseBlock` the name of its attribute. A class's `net.` is left out. `None` where the book
    /// has no such network.
    fn d2l_name(&self, layer: &str, listing: Listing) -> Option<String> {
        let _ = (layer, listing);
        None
    }

    /// The layers whose shape depends on the number of classes, by torchvision's names.
    fn classifier(&self) -> &'static [&'static str];

    /// The same network, for prediction only: gradients are off, and each batch normalization that
    /// follows a convolution is folded into it. Logits stay what they were, up to rounding. Save the
    /// weights before: those of the folded network fit no other, but a VGG's a VGG without
    /// normalization.
    fn prepare_for_prediction(self) -> Self;

    /// Layers that a file may hold beyond the network's own, by the beginning of their names.
    fn optional(&self) -> &'static [&'static str] {
        &[]
    }

    /// The layers, with their outputs, parameters and multiply-adds, for an image of `[channels,
    /// height, width]`. Nothing is computed, and no weight is drawn.
    ///
    /// # Errors
    ///
    /// If the network does not take such an image.
    fn summary(&self, image: [usize; 3]) -> Result<Summary, ImageError> {
        self.check(image)?;
        let mut trace = Trace::new(image);
        self.trace(&mut trace);
        Ok(trace.into_summary(|layer| self.torchvision_name(layer)))
    }

    /// The number of trainable parameters, as papers count them.
    ///
    /// Unlike [`Module::num_params`], it leaves out the running means and variances,
    /// which no gradient reaches.
    fn parameters(&self) -> usize {
        #[derive(Default)]
        struct Count {
            path: Vec<String>,
            parameters: usize,
        }
        impl ModuleVisitor for Count {
            fn enter_module(&mut self, name: &str, _container: &str) {
                self.path.push(name.to_owned());
            }
            fn exit_module(&mut self, _name: &str, _container: &str) {
                self.path.pop();
            }
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let name = self.path.last().map(String::as_str);
                if !matches!(name, Some("running_mean" | "running_var")) {
                    self.parameters += param.lazy_shape().num_elements();
                }
            }
        }
        let mut count = Count::default();
        self.visit(&mut count);
        count.parameters
    }

    /// The network with the weights of a file: of PyTorch (`.pth`, `.pt`), `.safetensors`, or
    /// Burn's `.bpk`. In the first two, layers have torchvision's names, or those of a
    /// [listing](Self::d2l_name) of Dive into Deep Learning. Nothing that a file holds is ever executed.
    /// Clones of the network stay as they are.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, has two tensors of one name, or names that no network has (longer
    /// than 1,000 bytes, or 10 MB together), or if its entries are not those of the network: one error
    /// lists all that are missing, unexpected or of another shape.
    fn load(self, path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        self.load_with(path, LoadOptions::default())
    }

    /// [`load`](Self::load) for weights that were made for other classes, or for colour images.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    fn load_with(self, path: impl AsRef<Path>, options: LoadOptions) -> Result<Self, WeightsError> {
        weights::load(self, path.as_ref(), options)
    }

    /// Writes the weights, in f32: as `.safetensors` with torchvision's names, so that PyTorch loads
    /// them, or as Burn's `.bpk`, which is also a record of the module. Running means and variances are
    /// those after the last batch. The file is there whole and on the disk, or not at all.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    fn save(&self, path: impl AsRef<Path>) -> Result<(), WeightsError> {
        self.save_with(path, &Metadata::new())
    }

    /// [`save`](Self::save), and text beside the weights, which
    /// [`read_metadata`](crate::read_metadata) reads.
    ///
    /// # Errors
    ///
    /// As [`save`](Self::save).
    fn save_with(&self, path: impl AsRef<Path>, metadata: &Metadata) -> Result<(), WeightsError> {
        weights::save(self, path.as_ref(), metadata)
    }
}

/// An image that a network does not take.
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

/// Checks an image against the network's first convolution and its smallest side.
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

/// Checks an image against the network's first convolution and its only side.
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

/// Panics unless the network takes these images.
pub(crate) fn assert_takes(network: &impl ConvNet, images: &Tensor<4>) {
    let [_, channels, height, width] = images.dims();
    if let Err(error) = network.check([channels, height, width]) {
        panic!("{error}");
    }
}

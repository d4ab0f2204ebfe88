//! The names of layers in weights files.

use burn::module::Module;

/// One of the PyTorch listings of a network in [Dive into Deep Learning](https://d2l.ai).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// A bare `nn.Sequential`: the notes, and the book up to its version 0.17.
    Sequential,
    /// The `net` of a class: the book since its version 1.0.
    Class,
}

/// The names that the layers of a network have in weights files.
pub trait LayerNames: Module {
    /// Returns torchvision's name of the layer at this path of the module. For networks that
    /// torchvision does not have, it is the name that a PyTorch program would use; by default, the
    /// path itself.
    fn torchvision_name(&self, layer: &str) -> String {
        layer.to_owned()
    }

    /// Returns the name, in a listing of Dive into Deep Learning, of the layer at this path of the
    /// module: its position, such as `4` or, inside a block, `0.2`; inside the book's classes
    /// `Inception`, `Residual` and `DenseBlock`, the name of its attribute. The prefix `net.` of a
    /// class is omitted. `None` if the book does not have the network.
    fn d2l_name(&self, layer: &str, listing: Listing) -> Option<String> {
        let _ = (layer, listing);
        None
    }

    /// The layers whose shape depends on the number of classes, with torchvision's names.
    fn classifier(&self) -> &'static [&'static str];

    /// Prefixes of the names of layers that a file may contain although the network does not have
    /// them.
    fn optional(&self) -> &'static [&'static str] {
        &[]
    }
}

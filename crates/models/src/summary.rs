//! The layers of a network, listed without computing anything.

use std::fmt;

/// The layers of a network, for one image; `Display` formats them as a table. An activation and a
/// sum belong to the layer before them; dropout is not listed.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// `[channels, height, width]` of the image.
    pub input: [usize; 3],
    /// The layers in the order of the forward pass.
    pub layers: Vec<Layer>,
    /// The blocks that layers are part of, each after the block that contains it.
    pub blocks: Vec<Block>,
}

/// A layer of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Its name in torchvision; empty if it has no weights.
    pub name: String,
    /// What it is.
    pub kind: LayerKind,
    /// The shape of its output: `[channels, height, width]`, or `[features]`.
    pub output: Vec<usize>,
    /// The number of its trainable parameters.
    pub parameters: usize,
    /// Multiply-adds, counted for convolutions and fully connected layers.
    pub macs: u64,
    /// The stride of a convolution or a pool; 1 for other layers.
    pub stride: usize,
    /// What it reads: one feature map, or several to concatenate.
    pub inputs: Vec<Source>,
    /// What is added to its output, before the activation.
    pub residual: Option<Source>,
    /// The activation function of its output: `ReLU` or `sigmoid`.
    pub activation: Option<&'static str>,
    /// The innermost block that it is part of: an index in [`Summary::blocks`].
    pub block: Option<usize>,
}

/// What a layer is; sizes are `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// A convolution with this window.
    Convolution([usize; 2]),
    /// Batch normalization.
    BatchNorm,
    /// A fully connected layer.
    Linear,
    /// Max pooling with this window.
    MaxPool([usize; 2]),
    /// Average pooling with this window.
    AveragePool([usize; 2]),
    /// Average pooling to an output of this size.
    AverageTo([usize; 2]),
    /// The channels of several feature maps, one after the other.
    Concatenate,
}

/// Where a feature map comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The image.
    Image,
    /// The output of a layer: an index in [`Summary::layers`].
    Layer(usize),
}

/// A part of a network with a name of its own, such as a residual block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its name in the paper.
    pub name: &'static str,
    /// The block that contains it: an index in [`Summary::blocks`].
    pub parent: Option<usize>,
}

impl Summary {
    /// Counts all trainable parameters, without those of auxiliary classifiers.
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(|layer| layer.parameters).sum()
    }

    /// Counts all multiply-adds for one image.
    pub fn macs(&self) -> u64 {
        self.layers.iter().map(|layer| layer.macs).sum()
    }

    /// Returns the size in bytes of the outputs of the layers for a batch, concatenations included,
    /// in f32. Training keeps about this much memory for the backward pass, in addition to weights
    /// and workspace.
    pub fn activation_bytes(&self, batch: usize) -> u64 {
        let values: usize =
            self.layers.iter().map(|layer| layer.output.iter().product::<usize>()).sum();
        (4 * batch as u64).saturating_mul(values as u64)
    }
}

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, size) = match self {
            Self::Convolution(window) => ("conv ", Some(window)),
            Self::BatchNorm => ("batch norm", None),
            Self::Linear => ("linear", None),
            Self::MaxPool(window) => ("max pool ", Some(window)),
            Self::AveragePool(window) => ("average pool ", Some(window)),
            Self::AverageTo(size) => ("average to ", Some(size)),
            Self::Concatenate => ("concatenate", None),
        };
        let size = size.map(|[height, width]| format!("{height}x{width}"));
        f.pad(&format!("{name}{}", size.unwrap_or_default()))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.layers.iter().map(|layer| layer.name.len());
        let width = names.max().unwrap_or_default().max("layer".len());
        let dimensions =
            |shape: &[usize]| shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
        let mut row = |name: &str, kind: &str, output: &str, parameters: &str, macs: &str| {
            let [name, kind] = [format!("{name:width$}"), format!("{kind:16}")];
            writeln!(f, "{name}  {kind} {output:12} {parameters:>11} {macs:>14}")
        };
        row("layer", "kind", "output", "parameters", "multiply-adds")?;
        row("image", "", &dimensions(&self.input), "", "")?;
        for layer in &self.layers {
            let number = |n: u64| if n == 0 { String::new() } else { n.to_string() };
            let [parameters, macs] = [number(layer.parameters as u64), number(layer.macs)];
            row(
                &layer.name,
                &layer.kind.to_string(),
                &dimensions(&layer.output),
                &parameters,
                &macs,
            )?;
        }
        row("total", "", "", &self.parameters().to_string(), &self.macs().to_string())
    }
}

//! The layers of a network, listed without computing anything.

use std::fmt;

use batch_norm::BatchNorm;
use burn::nn::{
    Linear, PaddingConfig2d,
    conv::Conv2d,
    pool::{AdaptiveAvgPool2d, AvgPool2d, MaxPool2d},
};

use crate::blocks::ConvNorm;

/// The layers of a network, for one image; `Display` formats them as a table. Activations, dropout
/// and sums are not listed.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// `[channels, height, width]` of the image.
    pub input: [usize; 3],
    /// The layers in the order of the forward pass.
    pub layers: Vec<Layer>,
}

/// A layer of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Its name in torchvision.
    pub name: String,
    /// Its kind: `conv 3x3`, `batch norm`, `linear`, `max pool 3x3` ...
    pub kind: String,
    /// The shape of its output: `[channels, height, width]`, or `[features]`.
    pub output: Vec<usize>,
    /// The number of its trainable parameters.
    pub parameters: usize,
    /// Multiply-adds, counted for convolutions and fully connected layers.
    pub macs: u64,
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

    /// Returns the size in bytes of the outputs of the layers for a batch, in f32. Training keeps
    /// about this much memory for the backward pass, in addition to weights and workspace.
    pub fn activation_bytes(&self, batch: usize) -> u64 {
        let values: usize =
            self.layers.iter().map(|layer| layer.output.iter().product::<usize>()).sum();
        (4 * batch as u64).saturating_mul(values as u64)
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
            row(&layer.name, &layer.kind, &dimensions(&layer.output), &parameters, &macs)?;
        }
        row("total", "", "", &self.parameters().to_string(), &self.macs().to_string())
    }
}

/// Records the layers of a network one by one, with the shape of the current feature map.
#[derive(Debug)]
pub struct Trace {
    /// The shape of the feature map: `[channels, height, width]`.
    pub shape: [usize; 3],
    input: [usize; 3],
    layers: Vec<Layer>,
}

impl Trace {
    pub(crate) fn new(input: [usize; 3]) -> Self {
        Self { shape: input, input, layers: Vec::new() }
    }

    pub(crate) fn into_summary(self, rename: impl Fn(&str) -> String) -> Summary {
        let layers = self.layers.into_iter();
        let layers = layers.map(|layer| Layer { name: rename(&layer.name), ..layer }).collect();
        Summary { input: self.input, layers }
    }

    /// Adds a convolution.
    pub fn conv(&mut self, name: &str, conv: &Conv2d) {
        let [outputs, inputs, height, width] = conv.weight.lazy_shape().dims();
        let padding = padding(&conv.padding);
        self.slide(outputs, &conv.kernel_size, &conv.stride, padding, false);
        let parameters = conv.weight.lazy_shape().num_elements()
            + conv.bias.as_ref().map_or(0, |bias| bias.lazy_shape().num_elements());
        let macs = self.shape.iter().product::<usize>() * inputs * height * width;
        self.push(name, format!("conv {height}x{width}"), parameters, macs);
    }

    /// Adds a batch normalization.
    pub fn norm(&mut self, name: &str, norm: &BatchNorm) {
        let parameters = 2 * norm.gamma.lazy_shape().num_elements();
        self.push(name, "batch norm".to_owned(), parameters, 0);
    }

    /// Adds a convolution, `NAME.conv`, and its normalization, `NAME.bn`.
    pub fn conv_norm(&mut self, name: &str, block: &ConvNorm) {
        self.conv(&format!("{name}.conv"), &block.conv);
        if let Some(norm) = &block.bn {
            self.norm(&format!("{name}.bn"), norm);
        }
    }

    /// Adds a fully connected layer, whose input is the whole feature map.
    pub fn linear(&mut self, name: &str, linear: &Linear) {
        let [inputs, outputs] = linear.weight.lazy_shape().dims();
        self.shape = [outputs, 1, 1];
        let parameters = inputs * outputs
            + linear.bias.as_ref().map_or(0, |bias| bias.lazy_shape().num_elements());
        let (kind, output) = ("linear".to_owned(), vec![outputs]);
        let macs = (inputs * outputs) as u64;
        self.layers.push(Layer { name: name.to_owned(), kind, output, parameters, macs });
    }

    /// Adds a batch normalization of the output of a fully connected layer.
    pub fn linear_norm(&mut self, name: &str, norm: &BatchNorm) {
        self.norm(name, norm);
        if let Some(layer) = self.layers.last_mut() {
            layer.output.truncate(1);
        }
    }

    /// Adds a max pool.
    pub fn max_pool(&mut self, name: &str, pool: &MaxPool2d) {
        let [height, width] = pool.kernel_size;
        let padding = padding(&pool.padding);
        self.slide(self.shape[0], &pool.kernel_size, &pool.stride, padding, pool.ceil_mode);
        self.push(name, format!("max pool {height}x{width}"), 0, 0);
    }

    /// Adds an average pool.
    pub fn average_pool(&mut self, name: &str, pool: &AvgPool2d) {
        let [height, width] = pool.kernel_size;
        self.slide(self.shape[0], &pool.kernel_size, &pool.stride, 0, pool.ceil_mode);
        self.push(name, format!("average pool {height}x{width}"), 0, 0);
    }

    /// Adds an adaptive average pool.
    pub fn average_to(&mut self, name: &str, pool: &AdaptiveAvgPool2d) {
        let [height, width] = pool.output_size;
        self.shape = [self.shape[0], height, width];
        self.push(name, format!("average to {height}x{width}"), 0, 0);
    }

    fn slide(
        &mut self,
        channels: usize,
        kernel: &[usize; 2],
        stride: &[usize; 2],
        padding: usize,
        ceil: bool,
    ) {
        let along = |axis: usize| {
            let (kernel, stride) = (kernel[axis], stride[axis]);
            let length = self.shape[axis + 1];
            let room = (length + 2 * padding).saturating_sub(kernel);
            let steps = if ceil { room.div_ceil(stride) } else { room / stride };
            // A window that starts in the padding after the image does not count.
            if ceil && steps * stride >= length + padding { steps } else { steps + 1 }
        };
        self.shape = [channels, along(0), along(1)];
    }

    fn push(&mut self, name: &str, kind: String, parameters: usize, macs: usize) {
        let (name, output) = (name.to_owned(), self.shape.to_vec());
        self.layers.push(Layer { name, kind, output, parameters, macs: macs as u64 });
    }
}

/// The number of pixels added on each side.
pub(crate) fn padding(config: &PaddingConfig2d) -> usize {
    match config {
        PaddingConfig2d::Explicit(top, ..) => *top,
        _ => 0,
    }
}

//! What flows through a network: tensors that are computed, or shapes that are followed.
//!
//! A network writes its forward pass once, for any [`FeatureMap`]. For a tensor, each layer computes.
//! For an [`Outline`], which has no values, each layer only determines the shape of its output and
//! adds itself to a list: this is the network's [`summary`](crate::ConvNet::summary).

use std::{cell::RefCell, rc::Rc};

use batch_norm::BatchNorm;
use burn::{
    module::ParamId,
    nn::{
        Dropout, Linear, PaddingConfig2d,
        conv::Conv2d,
        pool::{AdaptiveAvgPool2d, AvgPool2d, MaxPool2d},
    },
    tensor::{Tensor, activation::relu},
};

use crate::{
    Kernels,
    summary::{Block, Layer, LayerKind, Source},
};

/// A feature map: a tensor `[batch, channels, height, width]`, or an [`Outline`] of one. Its methods
/// are the layers of the networks.
pub trait FeatureMap: Clone {
    /// The flattened feature map.
    type Vector: FeatureVector;

    /// `[channels, height, width]`.
    fn shape(&self) -> [usize; 3];

    /// A convolution, then the sum with the residual if there is one, then ReLU if `relu`.
    fn convolve(self, conv: &Conv2d, residual: Option<Self>, relu: bool, kernels: Kernels) -> Self;

    /// Batch normalization, then the sum with the residual if there is one, then ReLU if `relu`.
    fn normalize(self, norm: &BatchNorm, residual: Option<Self>, relu: bool) -> Self;

    /// Max pooling.
    fn max_pool2d(self, pool: &MaxPool2d, kernels: Kernels) -> Self;

    /// Average pooling.
    fn avg_pool2d(self, pool: &AvgPool2d, kernels: Kernels) -> Self;

    /// Average pooling to an output of fixed size.
    fn adaptive_avg_pool2d(self, pool: &AdaptiveAvgPool2d, kernels: Kernels) -> Self;

    /// The sigmoid function.
    fn sigmoid(self, kernels: Kernels) -> Self;

    /// Dropout.
    fn dropout(self, dropout: &Dropout) -> Self;

    /// The same feature map `N` times, where the network branches.
    fn fork<const N: usize>(self, kernels: Kernels) -> [Self; N];

    /// The channels of all feature maps, in their order.
    fn concatenate(maps: Vec<Self>, kernels: Kernels) -> Self;

    /// Maps `[batch, channels, height, width]` to `[batch, channels * height * width]`.
    fn flatten(self) -> Self::Vector;

    /// Applies layers that are a block with this name, for the summary.
    fn block(self, _name: &'static str, layers: impl FnOnce(Self) -> Self) -> Self {
        layers(self)
    }

    /// A convolution.
    fn conv2d(self, conv: &Conv2d, kernels: Kernels) -> Self {
        self.convolve(conv, None, false, kernels)
    }

    /// A convolution, then ReLU.
    fn conv2d_relu(self, conv: &Conv2d, kernels: Kernels) -> Self {
        self.convolve(conv, None, true, kernels)
    }

    /// Batch normalization, then ReLU.
    fn batch_norm_relu(self, norm: &BatchNorm) -> Self {
        self.normalize(norm, None, true)
    }
}

/// A flattened feature map: a tensor `[batch, features]`, or an [`Outline`] of one.
pub trait FeatureVector {
    /// A fully connected layer.
    fn linear(self, linear: &Linear) -> Self;

    /// Batch normalization.
    fn batch_norm(self, norm: &BatchNorm) -> Self;

    /// ReLU.
    fn relu(self) -> Self;

    /// The sigmoid function.
    fn sigmoid(self, kernels: Kernels) -> Self;

    /// Dropout.
    fn dropout(self, dropout: &Dropout) -> Self;
}

impl FeatureMap for Tensor<4> {
    type Vector = Tensor<2>;

    fn shape(&self) -> [usize; 3] {
        let [_, channels, height, width] = self.dims();
        [channels, height, width]
    }

    fn convolve(self, conv: &Conv2d, residual: Option<Self>, relu: bool, kernels: Kernels) -> Self {
        match (residual, relu) {
            (None, false) => kernels.conv2d(conv, self),
            (None, true) => kernels.conv2d_relu(conv, self),
            (Some(residual), false) => kernels.conv2d_add(conv, self, residual),
            (Some(residual), true) => kernels.conv2d_add_relu(conv, self, residual),
        }
    }

    fn normalize(self, norm: &BatchNorm, residual: Option<Self>, relu: bool) -> Self {
        match (residual, relu) {
            (None, false) => norm.forward(self),
            (None, true) => norm.forward_relu(self),
            (Some(residual), false) => norm.forward(self) + residual,
            (Some(residual), true) => norm.forward_add_relu(self, residual),
        }
    }

    fn max_pool2d(self, pool: &MaxPool2d, kernels: Kernels) -> Self {
        kernels.max_pool2d(pool, self)
    }

    fn avg_pool2d(self, pool: &AvgPool2d, kernels: Kernels) -> Self {
        kernels.avg_pool2d(pool, self)
    }

    fn adaptive_avg_pool2d(self, pool: &AdaptiveAvgPool2d, kernels: Kernels) -> Self {
        kernels.adaptive_avg_pool2d(pool, self)
    }

    fn sigmoid(self, kernels: Kernels) -> Self {
        kernels.sigmoid(self)
    }

    fn dropout(self, dropout: &Dropout) -> Self {
        dropout.forward(self)
    }

    fn fork<const N: usize>(self, kernels: Kernels) -> [Self; N] {
        kernels.fork(self)
    }

    fn concatenate(maps: Vec<Self>, kernels: Kernels) -> Self {
        kernels.concatenate(maps)
    }

    fn flatten(self) -> Self::Vector {
        self.flatten(1, 3)
    }
}

impl FeatureVector for Tensor<2> {
    fn linear(self, linear: &Linear) -> Self {
        linear.forward(self)
    }

    fn batch_norm(self, norm: &BatchNorm) -> Self {
        norm.forward(self)
    }

    fn relu(self) -> Self {
        relu(self)
    }

    fn sigmoid(self, kernels: Kernels) -> Self {
        kernels.sigmoid(self)
    }

    fn dropout(self, dropout: &Dropout) -> Self {
        dropout.forward(self)
    }
}

/// The shape of a feature map without its values, and the list of all layers before it.
#[derive(Clone, Debug)]
pub struct Outline {
    /// `[channels, height, width]`, or `[features]`.
    shape: Vec<usize>,
    /// The last layer before it.
    from: Source,
    list: Rc<RefCell<List>>,
}

/// What all outlines of one image have in common.
#[derive(Debug, Default)]
struct List {
    layers: Vec<Listed>,
    blocks: Vec<Block>,
    /// The block that the next layer is part of.
    block: Option<usize>,
}

/// A layer in the list of an [`Outline`].
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    /// The ID of the weight, by which the layer is found in the network; `None` if it has no weight.
    pub weight: Option<ParamId>,
    /// The layer, without its name.
    pub layer: Layer,
}

impl Outline {
    /// Images of `[channels, height, width]`.
    pub(crate) fn new(image: [usize; 3]) -> Self {
        Self { shape: image.to_vec(), from: Source::Image, list: Rc::default() }
    }

    /// The layers and blocks that all outlines of this image went through.
    pub(crate) fn finish(self) -> (Vec<Listed>, Vec<Block>) {
        let List { layers, blocks, .. } = self.list.take();
        (layers, blocks)
    }

    /// Adds a layer with an output of this shape.
    fn through(
        self,
        kind: LayerKind,
        shape: Vec<usize>,
        weight: Option<ParamId>,
        [parameters, macs]: [usize; 2],
    ) -> Self {
        let mut list = self.list.borrow_mut();
        let layer = Layer {
            name: String::new(),
            kind,
            output: shape.clone(),
            parameters,
            macs: macs as u64,
            stride: 1,
            inputs: vec![self.from],
            residual: None,
            activation: None,
            block: list.block,
        };
        list.layers.push(Listed { weight, layer });
        let from = Source::Layer(list.layers.len() - 1);
        drop(list);
        Self { shape, from, ..self }
    }

    /// Changes the layer that this outline comes from.
    fn change(self, change: impl FnOnce(&mut Layer)) -> Self {
        if let Source::Layer(index) = self.from {
            change(&mut self.list.borrow_mut().layers[index].layer);
        }
        self
    }

    /// Sets what follows the layer that this outline comes from.
    fn followed_by(self, residual: Option<Self>, relu: bool) -> Self {
        self.change(|layer| {
            layer.residual = residual.map(|residual| residual.from);
            layer.activation = relu.then_some(RELU);
        })
    }

    fn through_norm(self, norm: &BatchNorm) -> Self {
        let parameters = 2 * norm.gamma.lazy_shape().num_elements();
        let shape = self.shape.clone();
        self.through(LayerKind::BatchNorm, shape, Some(norm.gamma.id), [parameters, 0])
    }

    fn through_pool(self, kind: fn([usize; 2]) -> LayerKind, window: Window) -> Self {
        let shape = self.slide(self.shape[0], window);
        self.through(kind(window.size), shape, None, [0, 0])
            .change(|layer| layer.stride = window.stride[0])
    }

    /// The shape after a window with this number of output channels has moved over the image.
    fn slide(&self, channels: usize, Window { size, stride, padding, ceil }: Window) -> Vec<usize> {
        let padding = padded(padding);
        let along = |axis: usize| {
            let (size, stride, length) = (size[axis], stride[axis], self.shape[axis + 1]);
            let room = (length + 2 * padding).saturating_sub(size);
            let steps = if ceil { room.div_ceil(stride) } else { room / stride };
            // A window that starts in the padding after the image does not count.
            if ceil && steps * stride >= length + padding { steps } else { steps + 1 }
        };
        vec![channels, along(0), along(1)]
    }
}

const RELU: &str = "ReLU";
const SIGMOID: &str = "sigmoid";

/// The window of a convolution or pool.
#[derive(Clone, Copy)]
struct Window<'a> {
    size: [usize; 2],
    stride: [usize; 2],
    padding: &'a PaddingConfig2d,
    ceil: bool,
}

/// The number of pixels added on each side.
pub(crate) fn padded(config: &PaddingConfig2d) -> usize {
    match config {
        PaddingConfig2d::Explicit(top, ..) => *top,
        _ => 0,
    }
}

impl FeatureMap for Outline {
    type Vector = Self;

    fn shape(&self) -> [usize; 3] {
        [0, 1, 2].map(|axis| self.shape[axis])
    }

    fn convolve(self, conv: &Conv2d, residual: Option<Self>, relu: bool, _: Kernels) -> Self {
        let Conv2d { weight, bias, kernel_size, stride, padding, .. } = conv;
        let [outputs, inputs, height, width] = weight.lazy_shape().dims();
        let window = Window { size: *kernel_size, stride: *stride, padding, ceil: false };
        let shape = self.slide(outputs, window);
        let parameters = weight.lazy_shape().num_elements()
            + bias.as_ref().map_or(0, |bias| bias.lazy_shape().num_elements());
        let macs = shape.iter().product::<usize>() * inputs * height * width;
        self.through(
            LayerKind::Convolution([height, width]),
            shape,
            Some(weight.id),
            [parameters, macs],
        )
        .change(|layer| layer.stride = stride[0])
        .followed_by(residual, relu)
    }

    fn normalize(self, norm: &BatchNorm, residual: Option<Self>, relu: bool) -> Self {
        self.through_norm(norm).followed_by(residual, relu)
    }

    fn max_pool2d(self, pool: &MaxPool2d, _: Kernels) -> Self {
        let MaxPool2d { kernel_size, stride, padding, ceil_mode, .. } = pool;
        let window = Window { size: *kernel_size, stride: *stride, padding, ceil: *ceil_mode };
        self.through_pool(LayerKind::MaxPool, window)
    }

    fn avg_pool2d(self, pool: &AvgPool2d, _: Kernels) -> Self {
        let AvgPool2d { kernel_size, stride, padding, ceil_mode, .. } = pool;
        let window = Window { size: *kernel_size, stride: *stride, padding, ceil: *ceil_mode };
        self.through_pool(LayerKind::AveragePool, window)
    }

    fn adaptive_avg_pool2d(self, pool: &AdaptiveAvgPool2d, _: Kernels) -> Self {
        let [height, width] = pool.output_size;
        let shape = vec![self.shape[0], height, width];
        self.through(LayerKind::AverageTo([height, width]), shape, None, [0, 0])
    }

    fn sigmoid(self, _: Kernels) -> Self {
        self.change(|layer| layer.activation = Some(SIGMOID))
    }

    fn dropout(self, _: &Dropout) -> Self {
        self
    }

    fn fork<const N: usize>(self, _: Kernels) -> [Self; N] {
        std::array::from_fn(|_| self.clone())
    }

    fn concatenate(maps: Vec<Self>, _: Kernels) -> Self {
        let channels = maps.iter().map(|map| map.shape[0]).sum();
        let [_, height, width] = maps[0].shape();
        let shape = vec![channels, height, width];
        let inputs = maps.iter().map(|map| map.from).collect();
        maps[0]
            .clone()
            .through(LayerKind::Concatenate, shape, None, [0, 0])
            .change(|layer| layer.inputs = inputs)
    }

    fn flatten(self) -> Self {
        Self { shape: vec![self.shape.iter().product()], ..self }
    }

    fn block(self, name: &'static str, layers: impl FnOnce(Self) -> Self) -> Self {
        let shared = self.list.clone();
        let mut list = shared.borrow_mut();
        let parent = list.block;
        list.blocks.push(Block { name, parent });
        list.block = Some(list.blocks.len() - 1);
        drop(list);
        let output = layers(self);
        shared.borrow_mut().block = parent;
        output
    }
}

impl FeatureVector for Outline {
    fn linear(self, linear: &Linear) -> Self {
        let Linear { weight, bias, .. } = linear;
        let [inputs, outputs] = weight.lazy_shape().dims();
        let parameters =
            inputs * outputs + bias.as_ref().map_or(0, |bias| bias.lazy_shape().num_elements());
        let (shape, macs) = (vec![outputs], inputs * outputs);
        self.through(LayerKind::Linear, shape, Some(weight.id), [parameters, macs])
    }

    fn batch_norm(self, norm: &BatchNorm) -> Self {
        self.through_norm(norm)
    }

    fn relu(self) -> Self {
        self.change(|layer| layer.activation = Some(RELU))
    }

    fn sigmoid(self, _: Kernels) -> Self {
        self.change(|layer| layer.activation = Some(SIGMOID))
    }

    fn dropout(self, _: &Dropout) -> Self {
        self
    }
}

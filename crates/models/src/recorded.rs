//! A tensor that is computed as in prediction, with or without gradients, and keeps the outputs of
//! all layers before it.

use std::{cell::RefCell, rc::Rc};

use batch_norm::BatchNorm;
use burn::{
    module::Module,
    nn::{
        Dropout, Linear,
        conv::Conv2d,
        pool::{AdaptiveAvgPool2d, AvgPool2d, MaxPool2d},
    },
    tensor::{Tensor, activation::relu},
};

use crate::{FeatureMap, FeatureVector, Kernels};

/// A feature map that is computed as in prediction, and the list of the outputs of all layers before
/// it. The layers are those that an [`Outline`](crate::Outline) lists.
///
/// On a device with gradients, Burn's layers compute as in training. These do not: batch
/// normalization uses the running mean and variance, and dropout does nothing.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    tensor: Tensor<4>,
    /// The layer that this is the output of: an index in the list. `None` for the images.
    layer: Option<usize>,
    outputs: Rc<RefCell<Vec<Tensor<4>>>>,
}

impl Recorded {
    /// Images, and an empty list.
    pub fn new(images: Tensor<4>) -> Self {
        Self { tensor: images, layer: None, outputs: Rc::default() }
    }

    /// The outputs of all layers that these images went through.
    pub fn finish(self) -> Vec<Tensor<4>> {
        self.outputs.take()
    }

    /// The output of a layer.
    fn through(self, layer: impl FnOnce(Tensor<4>) -> Tensor<4>) -> Self {
        let tensor = layer(self.tensor);
        let mut outputs = self.outputs.borrow_mut();
        outputs.push(tensor.clone());
        let layer = Some(outputs.len() - 1);
        drop(outputs);
        Self { tensor, layer, ..self }
    }

    /// Applies an activation, which belongs to the layer before it.
    fn activated(self, activation: impl FnOnce(Tensor<4>) -> Tensor<4>) -> Self {
        let tensor = activation(self.tensor);
        if let Some(layer) = self.layer {
            self.outputs.borrow_mut()[layer] = tensor.clone();
        }
        Self { tensor, ..self }
    }
}

impl FeatureMap for Recorded {
    type Vector = RecordedVector;

    fn shape(&self) -> [usize; 3] {
        FeatureMap::shape(&self.tensor)
    }

    fn convolve(self, conv: &Conv2d, residual: Option<Self>, relu: bool, kernels: Kernels) -> Self {
        self.through(|x| x.convolve(conv, residual.map(|it| it.tensor), relu, kernels))
    }

    fn normalize(self, norm: &BatchNorm, residual: Option<Self>, relu_follows: bool) -> Self {
        self.through(|x| {
            let residual = residual.map(|it| it.tensor);
            if !x.device().is_autodiff() {
                return x.normalize(norm, residual, relu_follows);
            }
            let x = normalized(norm, x);
            let x = residual.map_or(x.clone(), |residual| x + residual);
            if relu_follows { relu(x) } else { x }
        })
    }

    fn max_pool2d(self, pool: &MaxPool2d, kernels: Kernels) -> Self {
        self.through(|x| x.max_pool2d(pool, kernels))
    }

    fn avg_pool2d(self, pool: &AvgPool2d, kernels: Kernels) -> Self {
        self.through(|x| x.avg_pool2d(pool, kernels))
    }

    fn adaptive_avg_pool2d(self, pool: &AdaptiveAvgPool2d, kernels: Kernels) -> Self {
        self.through(|x| x.adaptive_avg_pool2d(pool, kernels))
    }

    fn sigmoid(self, kernels: Kernels) -> Self {
        self.activated(|x| FeatureMap::sigmoid(x, kernels))
    }

    fn dropout(self, _: &Dropout) -> Self {
        self
    }

    fn fork<const N: usize>(self, kernels: Kernels) -> [Self; N] {
        let Self { tensor, layer, outputs } = self;
        FeatureMap::fork(tensor, kernels).map(|tensor| Self {
            tensor,
            layer,
            outputs: outputs.clone(),
        })
    }

    fn concatenate(maps: Vec<Self>, kernels: Kernels) -> Self {
        let first = maps[0].clone();
        let maps = maps.into_iter().map(|map| map.tensor).collect();
        first.through(|_| FeatureMap::concatenate(maps, kernels))
    }

    fn flatten(self) -> RecordedVector {
        RecordedVector(FeatureMap::flatten(self.tensor))
    }
}

/// A flattened feature map that is computed as in prediction.
#[derive(Debug)]
pub(crate) struct RecordedVector(pub Tensor<2>);

impl FeatureVector for RecordedVector {
    fn linear(self, linear: &Linear) -> Self {
        Self(FeatureVector::linear(self.0, linear))
    }

    fn batch_norm(self, norm: &BatchNorm) -> Self {
        Self(normalized(norm, self.0))
    }

    fn relu(self) -> Self {
        Self(relu(self.0))
    }

    fn sigmoid(self, kernels: Kernels) -> Self {
        Self(FeatureVector::sigmoid(self.0, kernels))
    }

    fn dropout(self, _: &Dropout) -> Self {
        self
    }
}

/// Normalizes with the running mean and variance.
fn normalized<const D: usize>(norm: &BatchNorm, x: Tensor<D>) -> Tensor<D> {
    let norm = norm.valid();
    if !x.device().is_autodiff() {
        return norm.forward(x);
    }
    let mut shape = [1; D];
    shape[1] = x.dims()[1];
    let scale = norm.gamma.val() / (norm.running_var.value() + norm.epsilon).sqrt();
    let shift = norm.beta.val() - norm.running_mean.value() * scale.clone();
    let [scale, shift] = [scale, shift].map(|it| Tensor::from_inner(it.reshape(shape)));
    x * scale + shift
}

//! The exponential moving average (EMA) of the weights.

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
};
use convolution::weighted_sum;

use super::classifier::Classifier;

/// A classifier whose weights are the exponential moving average of another's over its training
/// ([Polyak and Juditsky, 1992](https://doi.org/10.1137/0330046)). The running mean and variance of
/// batch normalization are averaged too.
#[derive(Clone, Debug)]
pub struct Ema {
    /// Without gradients.
    pub classifier: Classifier,
    decay: f64,
}

impl Ema {
    /// Starts with the current weights.
    pub fn new(classifier: &Classifier, decay: f64) -> Self {
        Self { classifier: classifier.valid(), decay }
    }

    /// Updates the average with the weights after a step, counted from 1. The decay is
    /// min(decay, (1 + step) / (10 + step)), as in TensorFlow: lower in the first steps, so that
    /// the random initial weights are soon forgotten.
    pub fn update(&mut self, classifier: &Classifier, step: usize) {
        let step = step as f64;
        let kept = self.decay.min((1.0 + step) / (10.0 + step));
        let mut weights = Weights(GradientsParams::new());
        classifier.valid().visit(&mut weights);
        self.classifier = self.classifier.clone().map(&mut Blend { weights: weights.0, kept });
    }
}

/// The weights by parameter ID, in the container that Burn uses for gradients.
struct Weights(GradientsParams);

impl ModuleVisitor for Weights {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.register(param.id, param.val());
    }
}

struct Blend {
    weights: GradientsParams,
    kept: f64,
}

impl ModuleMapper for Blend {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.weights.remove::<D>(param.id) {
            Some(new) => param.map(|average| {
                // Training on several devices leaves running statistics on any of them.
                let new = new.to_device(&average.device());
                weighted_sum([self.kept, 1.0 - self.kept], average, new)
            }),
            None => param,
        }
    }
}

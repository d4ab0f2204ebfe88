//! SGD, Burn's other optimizers with the settings of a config, and clipping of the gradient.

use burn::{
    module::{Module, ModuleVisitor, Param, ParamGroup, ParamId},
    optim::{
        AdamConfig, AdamWConfig, DynOptimizer, GradientsParams, ModuleOptimizer, Optimizer,
        RecordState, RmsPropConfig, StateSink, StateSource, decay::WeightDecayConfig, join_path,
    },
    tensor::{Device, Tensor},
};
use convolution::weighted_sum;

use crate::config::{DecayConfig, OptimizerConfig, OptimizerName};

/// The config's optimizer, for the weights of this module.
pub fn optimizer(config: &OptimizerConfig, module: &impl Module) -> ModuleOptimizer {
    let decayed = match config.decay {
        DecayConfig::All => ParamGroup::all(),
        DecayConfig::Weights => ParamGroup::from_ids(matrices(module)),
    };
    let decay =
        (config.weight_decay > 0.0).then(|| WeightDecayConfig::new(config.weight_decay as f32));
    let beta1 = config.beta1.unwrap_or(0.9) as f32;
    let beta2 = |default: f64| config.beta2.unwrap_or(default) as f32;
    // PyTorch's default; Burn's own is 1e-5.
    let epsilon = 1e-8;
    match config.name {
        OptimizerName::Sgd => {
            let OptimizerConfig { momentum, nesterov, weight_decay, .. } = *config;
            let sgd = Sgd { momentum, nesterov, weight_decay: 0.0 };
            grouped(sgd.clone(), Sgd { weight_decay, ..sgd }, decayed)
        }
        OptimizerName::Adam => {
            let adam = AdamConfig::new()
                .with_beta_1(beta1)
                .with_beta_2(beta2(0.999))
                .with_epsilon(epsilon);
            grouped(adam.build(), adam.with_weight_decay(decay).build(), decayed)
        }
        OptimizerName::AdamW => {
            let adam = AdamWConfig::new()
                .with_beta_1(beta1)
                .with_beta_2(beta2(0.999))
                .with_epsilon(epsilon)
                .with_weight_decay(0.0);
            let decay = config.weight_decay as f32;
            grouped(adam.build(), adam.with_weight_decay(decay).build(), decayed)
        }
        OptimizerName::RmsProp => {
            let rms = RmsPropConfig::new()
                .with_alpha(beta2(0.99))
                .with_momentum(config.momentum as f32)
                .with_epsilon(epsilon);
            grouped(rms.build(), rms.with_weight_decay(decay).build(), decayed)
        }
    }
}

/// Stochastic gradient descent with momentum, as PyTorch's `SGD` without dampening. The results are
/// bit-identical to Burn's own SGD, which on a CPU passes five times over the weights on one
/// thread.
#[derive(Clone, Debug)]
struct Sgd {
    momentum: f64,
    nesterov: bool,
    weight_decay: f64,
}

impl Optimizer for Sgd {
    type State<const D: usize> = Velocity<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: f64,
        weights: Tensor<D>,
        mut gradient: Tensor<D>,
        state: Option<Velocity<D>>,
    ) -> (Tensor<D>, Option<Velocity<D>>) {
        if self.weight_decay > 0.0 {
            gradient = weighted_sum([1.0, self.weight_decay], gradient, weights.clone());
        }
        let mut velocity = None;
        let mut direction = gradient;
        if self.momentum > 0.0 {
            let new = match state.and_then(|state| state.0) {
                Some(velocity) => weighted_sum([self.momentum, 1.0], velocity, direction.clone()),
                None => direction.clone(),
            };
            direction = if self.nesterov {
                weighted_sum([1.0, self.momentum], direction, new.clone())
            } else {
                new.clone()
            };
            velocity = Some(new);
        }
        (weighted_sum([1.0, -learning_rate], weights, direction), Some(Velocity(velocity)))
    }

    fn to_device<const D: usize>(state: Velocity<D>, device: &Device) -> Velocity<D> {
        Velocity(state.0.map(|velocity| velocity.to_device(device)))
    }
}

/// The momentum buffer of a weight: the decaying sum of its gradients; `None` without momentum. Its
/// name in a checkpoint is that of Burn's own SGD.
#[derive(Clone, Debug)]
struct Velocity<const D: usize>(Option<Tensor<D>>);

impl<const D: usize> RecordState for Velocity<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        if let Some(velocity) = &self.0 {
            out.push_tensor(&join_path(prefix, "momentum"), "velocity", velocity.to_data());
        }
    }

    fn state_unflatten(prefix: &str, source: &mut StateSource, device: &Device) -> Option<Self> {
        let velocity = source.take_tensor(&join_path(prefix, "momentum"), "velocity");
        Some(Self(velocity.map(|velocity| Tensor::from_data(velocity, device))))
    }
}

/// One optimizer for all weights, with weight decay for some of them.
fn grouped<O: Optimizer + DynOptimizer>(all: O, decaying: O, some: ParamGroup) -> ModuleOptimizer {
    ModuleOptimizer::from(all).with_group(some, decaying, None)
}

/// The weights of convolutions and fully connected layers: those of more than one dimension.
fn matrices(module: &impl Module) -> Vec<ParamId> {
    #[derive(Default)]
    struct Matrices(Vec<ParamId>);
    impl ModuleVisitor for Matrices {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if D > 1 {
                self.0.push(param.id);
            }
        }
    }
    let mut matrices = Matrices::default();
    module.visit(&mut matrices);
    matrices.0
}

/// Clips the gradients of all weights together to a norm of at most `longest`
/// ([Pascanu et al., 2013](https://arxiv.org/abs/1211.5063)), as PyTorch's `clip_grad_norm_` does.
/// `squares` are the squared norms of the gradients. Nothing is read from the device.
pub fn clip(
    module: &impl Module,
    gradients: GradientsParams,
    squares: Tensor<1>,
    longest: f64,
) -> GradientsParams {
    struct Scale {
        gradients: GradientsParams,
        scale: Tensor<1>,
    }
    impl ModuleVisitor for Scale {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.remove::<D>(param.id) {
                let scale = self.scale.clone().to_device(&gradient.device()).unsqueeze::<D>();
                self.gradients.register(param.id, gradient * scale);
            }
        }
    }
    let norm = squares.sum().sqrt();
    let scale = ((norm + 1e-6).recip() * longest).clamp_max(1.0);
    let mut visitor = Scale { gradients, scale };
    module.visit(&mut visitor);
    visitor.gradients
}

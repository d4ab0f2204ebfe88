use burn::{
    config::Config,
    module::{Content, DisplaySettings, Flag, Module, ModuleDisplay, Param, RunningState},
    nn::Initializer,
    tensor::{
        Device, Tensor, assert_shape,
        module::{batch_norm, batch_norm_train},
    },
};

/// Which variance the layer's moving average keeps.
///
/// Both describe the same batch of n values: the biased variance divides the sum of squares by n,
/// the unbiased one by n - 1. They differ by a share of 1/n, which shows in prediction when n is
/// small.
#[derive(Config, Copy, Debug, PartialEq, Eq)]
pub enum RunningVariance {
    /// Divided by n, as in Burn and in the equations of the paper's algorithm 1.
    Biased,
    /// Divided by n - 1, as in PyTorch and in the paper's algorithm 2.
    Unbiased,
}

/// Everything that distinguishes one [`BatchNorm`] from another.
#[derive(Config, Debug)]
pub struct BatchNormConfig {
    /// The number of channels, the input's second axis.
    pub num_features: usize,
    /// Added to the variance, so that a channel of equal values does not divide by zero.
    #[config(default = 1e-5)]
    pub epsilon: f64,
    /// The share, from 0 to 1, that the moving averages take from each batch.
    #[config(default = 0.1)]
    pub momentum: f64,
    /// Which variance the moving average keeps.
    #[config(default = "RunningVariance::Biased")]
    pub running_variance: RunningVariance,
}

/// Batch normalization of a tensor `[batch, channels, ...]` of rank 2 to 5.
///
/// Made by [`BatchNormConfig::init`]. The parameters have the names of `burn::nn::BatchNorm`, so a
/// record of one loads into the other. The crate's documentation has the equations.
///
/// Burn lets the moving averages take up a batch at the next one, or when the module is asked for
/// its `valid` form: before a record is taken in the middle of training, call `valid` once, or the
/// record lacks the last batch.
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct BatchNorm {
    /// The learned scale, `[channels]`; ones at first.
    pub gamma: Param<Tensor<1>>,
    /// The learned shift, `[channels]`; zeros at first.
    pub beta: Param<Tensor<1>>,
    /// Whether the layer may train: off once the layer is frozen.
    pub training: Param<Flag>,
    /// The moving average of the batches' means, `[channels]`; zeros at first.
    pub running_mean: RunningState<Tensor<1>>,
    /// The moving average of the batches' variances, `[channels]`; ones at first.
    pub running_var: RunningState<Tensor<1>>,
    /// The share that the moving averages take from each batch.
    pub momentum: f64,
    /// Added to the variance.
    pub epsilon: f64,
    /// Which variance the moving average keeps.
    #[module(skip)]
    pub running_variance: RunningVariance,
}

impl BatchNormConfig {
    /// A layer that changes nothing yet but the distribution: gamma 1, beta 0.
    ///
    /// # Panics
    ///
    /// If there are no channels, epsilon is not a positive number, or momentum is outside 0 to 1.
    pub fn init(&self, device: &Device) -> BatchNorm {
        let Self { num_features, epsilon, momentum, running_variance } = *self;
        assert!(num_features > 0, "batch norm needs at least one channel");
        assert!(
            epsilon.is_finite() && epsilon > 0.0,
            "batch norm needs an epsilon above zero, not {epsilon}"
        );
        assert!(
            (0.0..=1.0).contains(&momentum),
            "batch norm needs a momentum from 0 to 1, not {momentum}"
        );
        BatchNorm {
            gamma: Initializer::Ones.init([num_features], device),
            beta: Initializer::Zeros.init([num_features], device),
            training: Param::from_bool(true),
            running_mean: RunningState::new(Tensor::zeros([num_features], device)),
            running_var: RunningState::new(Tensor::ones([num_features], device)),
            momentum,
            epsilon,
            running_variance,
        }
    }
}

impl BatchNorm {
    /// Normalizes each channel of `[batch, channels, ...]`; the shape stays as it is.
    ///
    /// On a device with gradients (`device.autodiff()`), unless the layer is frozen, it normalizes
    /// with the statistics of this batch and updates the moving averages. Otherwise it normalizes
    /// with the moving averages.
    ///
    /// # Panics
    ///
    /// If the rank is not 2 to 5, the second axis is not the layer's number of channels, or, in
    /// training, a channel has fewer than two values: their variance would be zero, and the output
    /// beta whatever the input.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        assert!((2..=5).contains(&D), "batch norm takes tensors of rank 2 to 5, not {D}");
        let [channels] = self.gamma.shape().dims();
        assert_shape!(input, [_, channels, ..]);

        if input.device().is_autodiff() && self.training.is_enabled() {
            self.forward_train(input)
        } else {
            self.forward_predict(input)
        }
    }

    fn forward_train<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let device = input.device();
        let [channels] = self.gamma.shape().dims();
        let n = input.shape().num_elements() / channels;
        assert!(
            n > 1,
            "batch norm needs more than one value per channel in training, got input {:?}",
            input.dims()
        );

        let batch = batch_norm_train(input, self.gamma.val(), self.beta.val(), self.epsilon);

        let variance = match self.running_variance {
            RunningVariance::Biased => batch.variance,
            RunningVariance::Unbiased => batch.variance * (n as f64 / (n - 1) as f64),
        };
        let blend = |average: &RunningState<Tensor<1>>, new: Tensor<1>| {
            let old = average.value_sync().to_device(&device);
            let blended = old * (1.0 - self.momentum) + new.detach() * self.momentum;
            average.update(blended.detach());
        };
        blend(&self.running_mean, batch.mean);
        blend(&self.running_var, variance);

        batch.output
    }

    fn forward_predict<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let device = input.device();
        batch_norm(
            input,
            self.gamma.val(),
            self.beta.val(),
            self.running_mean.value().to_device(&device),
            self.running_var.value().to_device(&device),
            self.epsilon,
        )
    }
}

impl ModuleDisplay for BatchNorm {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().with_new_line_after_attribute(false).optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [num_features] = self.gamma.shape().dims();
        content
            .add("num_features", &num_features)
            .add("momentum", &self.momentum)
            .add("epsilon", &self.epsilon)
            .optional()
    }
}

use burn::{
    backend::{Dispatch, TensorMetadata},
    config::Config,
    module::{Content, DisplaySettings, Flag, Module, ModuleDisplay, Param, RunningState},
    nn::Initializer,
    tensor::{Device, Tensor, assert_shape},
};

use crate::{
    ops::{self, BatchNormOps, Epilogue, Options},
    reference,
};

/// Which variance the layer's running variance is one of.
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

/// What computes the layer.
#[derive(Config, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    /// This crate's kernels, written by hand. Where there are none, for a backend whose feature of
    /// this crate is off or for a type that it has no kernel for, the layer is its reference.
    Kernel,
    /// Burn's own operations, which the kernels are measured against.
    Reference,
}

/// Everything that distinguishes one [`BatchNorm`] from another.
#[derive(Config, Debug)]
pub struct BatchNormConfig {
    /// The number of channels, the input's second axis.
    pub num_features: usize,
    /// Added to the variance, so that a channel of equal values does not divide by zero.
    #[config(default = 1e-5)]
    pub epsilon: f64,
    /// The share, from 0 to 1, that the running mean and variance take from each batch.
    #[config(default = 0.1)]
    pub momentum: f64,
    /// Which variance the running one takes from each batch.
    #[config(default = "RunningVariance::Biased")]
    pub running_variance: RunningVariance,
    /// What computes the layer.
    #[config(default = "Implementation::Kernel")]
    pub implementation: Implementation,
}

/// Batch normalization of a tensor `[batch, channels, ...]` of rank 2 to 5.
///
/// Made by [`BatchNormConfig::init`]. The parameters have the names of `burn::nn::BatchNorm`, so a
/// record of one loads into the other. The crate's documentation has the equations.
///
/// In half precision the running mean and variance are kept in f32, where small steps still count. A
/// record keeps them so; one whose running statistics are of half precision loads, and they are f32
/// from the next step of training on.
///
/// Burn lets the running mean and variance take up a batch at the next one, or when the module is
/// asked for its `valid` form: before a record is taken in the middle of training, or a layer is
/// frozen, call `valid` once, or the last batch is missing.
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct BatchNorm {
    /// The learned scale, `[channels]`; ones at first.
    pub gamma: Param<Tensor<1>>,
    /// The learned shift, `[channels]`; zeros at first.
    pub beta: Param<Tensor<1>>,
    /// Whether the layer may train: off once the layer is frozen.
    pub training: Param<Flag>,
    /// The running mean: the moving average of the batches' means, `[channels]`; zeros at first.
    pub running_mean: RunningState<Tensor<1>>,
    /// The running variance: the moving average of the batches' variances, `[channels]`; ones at
    /// first.
    pub running_var: RunningState<Tensor<1>>,
    /// The share that the running mean and variance take from each batch.
    pub momentum: f64,
    /// Added to the variance.
    pub epsilon: f64,
    /// Which variance the running one takes from each batch.
    #[module(skip)]
    pub running_variance: RunningVariance,
    /// What computes the layer.
    #[module(skip)]
    pub implementation: Implementation,
}

impl BatchNormConfig {
    /// A layer that changes nothing yet but the distribution: gamma 1, beta 0.
    ///
    /// # Panics
    ///
    /// If there are no channels, epsilon is not a positive number in f32 (in f64 for a layer in f64),
    /// or momentum is outside 0 to 1.
    pub fn init(&self, device: &Device) -> BatchNorm {
        let Self { num_features, epsilon, momentum, running_variance, implementation } = *self;
        assert!(num_features > 0, "batch norm needs at least one channel");
        assert!(
            (0.0..=1.0).contains(&momentum),
            "batch norm needs a momentum from 0 to 1, not {momentum}"
        );
        let dtype = device.settings().float_dtype.into();
        ops::assert_epsilon(epsilon, dtype);
        let running = (device, ops::statistics_dtype(dtype));
        BatchNorm {
            gamma: Initializer::Ones.init([num_features], device),
            beta: Initializer::Zeros.init([num_features], device),
            training: Param::from_bool(true),
            running_mean: RunningState::new(Tensor::zeros([num_features], running)),
            running_var: RunningState::new(Tensor::ones([num_features], running)),
            momentum,
            epsilon,
            running_variance,
            implementation,
        }
    }
}

impl BatchNorm {
    /// Normalizes each channel of `[batch, channels, ...]`; the shape stays as it is.
    ///
    /// On a device with gradients (`device.autodiff()`), unless the layer is frozen, it normalizes
    /// with the statistics of this batch and updates the running mean and variance. Otherwise it
    /// normalizes with these.
    ///
    /// # Panics
    ///
    /// If the rank is not 2 to 5, the second axis is not the layer's number of channels, or, in
    /// training, a channel has fewer than two values: their variance would be zero, and the output
    /// beta whatever the input. If epsilon is 0 or infinite in f32 (f64 for a tensor of f64).
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        self.forward_with(input, Epilogue::Identity)
    }

    /// `relu(forward(input))` in the passes that [`forward`](Self::forward) takes alone.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_relu<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        self.forward_with(input, Epilogue::Relu)
    }

    /// `relu(forward(input) + residual)`, the end of a residual block, in one pass less than each
    /// of the three would take.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward), and if the residual has another shape than the input.
    pub fn forward_add_relu<const D: usize>(
        &self,
        input: Tensor<D>,
        residual: Tensor<D>,
    ) -> Tensor<D> {
        assert_eq!(
            input.dims(),
            residual.dims(),
            "batch norm adds a residual of the input's shape, {:?}, not {:?}",
            input.dims(),
            residual.dims()
        );
        self.forward_with(input, Epilogue::AddRelu(residual.into_dispatch()))
    }

    fn forward_with<const D: usize>(
        &self,
        input: Tensor<D>,
        epilogue: Epilogue<Dispatch>,
    ) -> Tensor<D> {
        assert!((2..=5).contains(&D), "batch norm takes tensors of rank 2 to 5, not {D}");
        let [channels] = self.gamma.shape().dims();
        assert_shape!(input, [_, channels, ..]);
        ops::assert_epsilon(self.epsilon, input.dtype());

        if input.device().is_autodiff() && self.training.is_enabled() {
            self.train(input, epilogue)
        } else {
            self.predict(input, epilogue)
        }
    }

    fn train<const D: usize>(&self, input: Tensor<D>, epilogue: Epilogue<Dispatch>) -> Tensor<D> {
        let [channels] = self.gamma.shape().dims();
        let n = input.shape().num_elements() / channels;
        assert!(
            n > 1,
            "batch norm needs more than one value per channel in training, got input {:?}",
            input.dims()
        );

        let device = input.device();
        let dtype = ops::statistics_dtype(input.dtype());
        let running_mean = self.running_mean.value_sync().to_device(&device).cast(dtype);
        let running_var = self.running_var.value_sync().to_device(&device).cast(dtype);
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        let options = Options {
            epsilon: self.epsilon,
            momentum: self.momentum,
            running_variance: self.running_variance,
        };
        let normalized = match self.has_kernels(&input, [&gamma, &beta], &epilogue) {
            true => Dispatch::normalize(
                input.into_dispatch(),
                gamma.into_dispatch(),
                beta.into_dispatch(),
                running_mean.into_dispatch(),
                running_var.into_dispatch(),
                epilogue,
                options,
            ),
            false => reference::normalize(
                input,
                gamma,
                beta,
                running_mean,
                running_var,
                epilogue,
                options,
            ),
        };
        self.running_mean.update(Tensor::from_dispatch(normalized.running_mean));
        self.running_var.update(Tensor::from_dispatch(normalized.running_var));
        Tensor::from_dispatch(normalized.output)
    }

    fn predict<const D: usize>(&self, input: Tensor<D>, epilogue: Epilogue<Dispatch>) -> Tensor<D> {
        let device = input.device();
        let stored = input.dtype();
        // In half precision the two factors would lose what the statistics keep.
        let dtype = ops::statistics_dtype(stored);
        let residual = |residual| Tensor::<D>::from_dispatch(residual).cast(dtype).into_dispatch();
        let (input, epilogue) = (input.cast(dtype), epilogue.map(residual));
        let mean = self.running_mean.value().to_device(&device).cast(dtype);
        let variance = self.running_var.value().to_device(&device).cast(dtype);
        let (gamma, beta) = (self.gamma.val().cast(dtype), self.beta.val().cast(dtype));
        let output = match self.has_kernels(&input, [&gamma, &beta], &epilogue) {
            true => {
                let scale = gamma / (variance + self.epsilon).sqrt();
                let shift = beta - mean * scale.clone();
                Tensor::from_dispatch(Dispatch::scale_and_shift(
                    input.into_dispatch(),
                    scale.into_dispatch(),
                    shift.into_dispatch(),
                    epilogue,
                ))
            }
            false => reference::predict(input, gamma, beta, mean, variance, epilogue, self.epsilon),
        };
        output.cast(stored)
    }

    /// Whether the kernels are wanted and there are some for these tensors.
    fn has_kernels<const D: usize>(
        &self,
        input: &Tensor<D>,
        parameters: [&Tensor<1>; 2],
        epilogue: &Epilogue<Dispatch>,
    ) -> bool {
        let (dtype, device) = (input.dtype(), input.device());
        self.implementation == Implementation::Kernel
            && input.shape().num_elements() > 0
            && ops::is_covered(&input.clone().into_dispatch())
            && parameters.iter().all(|it| it.dtype() == dtype && it.device() == device)
            && epilogue.residual().is_none_or(|residual| {
                residual.dtype() == dtype && Device::new(residual.device()) == device
            })
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

use burn::{
    backend::{Dispatch, TensorMetadata},
    config::Config,
    module::{Content, DisplaySettings, Flag, Module, ModuleDisplay, Param, RunningState},
    nn::Initializer,
    tensor::{Device, Tensor, assert_shape},
};

use crate::{
    ops::{self, BatchNormOps, Epilogue, Options, RunningVariance},
    reference,
};

/// What computes the layer.
#[derive(Config, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    /// This crate's handwritten kernels. Where there are none, for a backend whose feature of this
    /// crate is off or for a type without a kernel, the layer uses [`Reference`](Self::Reference).
    Kernel,
    /// Burn's own operations, the baseline for the kernels.
    Reference,
}

/// The configuration of a [`BatchNorm`].
#[derive(Config, Debug)]
pub struct BatchNormConfig {
    /// The number of channels, the input's second axis.
    pub num_features: usize,
    /// Added to the variance, so that a channel of equal values does not divide by zero.
    #[config(default = 1e-5)]
    pub epsilon: f64,
    /// The share, from 0 to 1, of each batch in the new running mean and variance.
    #[config(default = 0.1)]
    pub momentum: f64,
    /// Which variance of a batch updates the running variance.
    #[config(default = "RunningVariance::Biased")]
    pub running_variance: RunningVariance,
    /// What computes the layer.
    #[config(default = "Implementation::Kernel")]
    pub implementation: Implementation,
}

/// Batch normalization of a tensor `[batch, channels, ...]` of rank 2 to 5.
///
/// Created by [`BatchNormConfig::init`]. The parameters have the names of `burn::nn::BatchNorm`, so
/// a record of one loads into the other. The crate's documentation has the equations.
///
/// In half precision the running mean and variance are kept in f32, which does not lose small
/// updates. A record stores them in f32. A record with half-precision running statistics also
/// loads; they are f32 from the next training step on.
///
/// Burn adds a batch to the running mean and variance at the next batch, or when `valid` is called.
/// Call `valid` once before you take a record in the middle of training or freeze a layer;
/// otherwise the last batch is missing.
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct BatchNorm {
    /// The learned scale, `[channels]`; ones at first.
    pub gamma: Param<Tensor<1>>,
    /// The learned shift, `[channels]`; zeros at first.
    pub beta: Param<Tensor<1>>,
    /// Whether the layer may train: off once the layer is frozen.
    pub training: Param<Flag>,
    /// The running mean of the batches, `[channels]`; zeros at first.
    pub running_mean: RunningState<Tensor<1>>,
    /// The running variance of the batches, `[channels]`; ones at first.
    pub running_var: RunningState<Tensor<1>>,
    /// The share of each batch in the new running mean and variance.
    pub momentum: f64,
    /// Added to the variance.
    pub epsilon: f64,
    /// Which variance of a batch updates the running variance.
    #[module(skip)]
    pub running_variance: RunningVariance,
    /// What computes the layer.
    #[module(skip)]
    pub implementation: Implementation,
}

impl BatchNormConfig {
    /// Creates a layer with gamma 1 and beta 0, which only normalizes.
    ///
    /// # Panics
    ///
    /// If there are no channels, epsilon is not a positive number in f32 (in f64 for a layer in
    /// f64), or momentum is outside 0 to 1.
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
    /// normalizes with the running mean and variance.
    ///
    /// # Panics
    ///
    /// If the rank is not 2 to 5, the second axis is not the layer's number of channels, or, in
    /// training, a channel has fewer than two values: their variance would be zero, and the output
    /// beta for any input. Also if epsilon is 0 or infinite in f32 (f64 for a tensor of f64).
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        self.forward_with(input, Epilogue::Identity)
    }

    /// `relu(forward(input))`, with no more passes than [`forward`](Self::forward) alone.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_relu<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        self.forward_with(input, Epilogue::Relu)
    }

    /// `relu(forward(input) + residual)`, the end of a residual block, without additional passes
    /// for the sum and ReLU.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward), and if the residual's shape differs from the input's.
    pub fn forward_add_relu<const D: usize>(
        &self,
        input: Tensor<D>,
        residual: Tensor<D>,
    ) -> Tensor<D> {
        assert_eq!(
            input.dims(),
            residual.dims(),
            "batch norm needs a residual of the input's shape, {:?}, got {:?}",
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
        let normalized = if self.has_kernels(&input, [&gamma, &beta], &epilogue) {
            Dispatch::normalize(
                input.into_dispatch(),
                gamma.into_dispatch(),
                beta.into_dispatch(),
                running_mean.into_dispatch(),
                running_var.into_dispatch(),
                epilogue,
                options,
            )
        } else {
            reference::normalize(input, gamma, beta, running_mean, running_var, epilogue, options)
        };
        self.running_mean.update(Tensor::from_dispatch(normalized.running_mean));
        self.running_var.update(Tensor::from_dispatch(normalized.running_var));
        Tensor::from_dispatch(normalized.output)
    }

    fn predict<const D: usize>(&self, input: Tensor<D>, epilogue: Epilogue<Dispatch>) -> Tensor<D> {
        let device = input.device();
        let stored = input.dtype();
        // In half precision, scale and shift would lose the precision of the statistics.
        let dtype = ops::statistics_dtype(stored);
        let residual = |residual| Tensor::<D>::from_dispatch(residual).cast(dtype).into_dispatch();
        let (input, epilogue) = (input.cast(dtype), epilogue.map(residual));
        let mean = self.running_mean.value().to_device(&device).cast(dtype);
        let variance = self.running_var.value().to_device(&device).cast(dtype);
        let (gamma, beta) = (self.gamma.val().cast(dtype), self.beta.val().cast(dtype));
        let output = if self.has_kernels(&input, [&gamma, &beta], &epilogue) {
            let scale = gamma / (variance + self.epsilon).sqrt();
            let shift = beta - mean * scale.clone();
            Tensor::from_dispatch(Dispatch::scale_and_shift(
                input.into_dispatch(),
                scale.into_dispatch(),
                shift.into_dispatch(),
                epilogue,
            ))
        } else {
            reference::predict(input, gamma, beta, mean, variance, epilogue, self.epsilon)
        };
        output.cast(stored)
    }

    /// Whether the kernels are selected and support these tensors.
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

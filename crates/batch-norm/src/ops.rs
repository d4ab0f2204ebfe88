//! The operations of the layer: one trait, which each supported backend implements with its own
//! kernels, in a file of `backends`.

// The generated code names every backend, and Burn's next release no longer has ndarray.
#![cfg_attr(feature = "ndarray", allow(deprecated))]
// Without kernels for a backend, it does not use its arguments.
#![cfg_attr(not(any(feature = "_cpu", feature = "_cube")), allow(unused_variables))]

#[cfg(feature = "_cube")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::{
    Backend, DispatchTensor, ExtensionType, TensorMetadata, backend_extension, tensor::FloatTensor,
};
use burn::config::Config;
use burn::tensor::DType;
#[cfg(any(feature = "_cpu", feature = "_cube"))]
use burn::tensor::Shape;

/// Which variance of a batch updates the running variance.
///
/// Both describe the same batch of n values: the biased variance divides the sum of squares by n,
/// the unbiased one by n - 1. They differ by 1/n of their value, which matters in prediction when n
/// is small.
#[derive(Config, Copy, Debug, PartialEq, Eq)]
pub enum RunningVariance {
    /// Divided by n, as in Burn and in the equations of the paper's algorithm 1.
    Biased,
    /// Divided by n - 1, as in PyTorch and in the paper's algorithm 2.
    Unbiased,
}

/// What follows the normalization in the same pass over the values.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "_cube"))]
pub enum Epilogue<B: Backend> {
    /// Nothing.
    Identity,
    /// `max(y, 0)`.
    Relu,
    /// `max(y + residual, 0)`; the residual has the input's shape.
    AddRelu(FloatTensor<B>),
}

impl<B: Backend> Epilogue<B> {
    /// The residual, if there is one.
    pub fn residual(&self) -> Option<&FloatTensor<B>> {
        match self {
            Self::AddRelu(residual) => Some(residual),
            Self::Identity | Self::Relu => None,
        }
    }

    /// Converts the residual to another backend.
    pub fn map<Other: Backend>(
        self,
        residual: impl FnOnce(FloatTensor<B>) -> FloatTensor<Other>,
    ) -> Epilogue<Other> {
        match self {
            Self::Identity => Epilogue::Identity,
            Self::Relu => Epilogue::Relu,
            Self::AddRelu(tensor) => Epilogue::AddRelu(residual(tensor)),
        }
    }
}

/// How [`BatchNormOps::normalize`] normalizes and updates the running mean and variance.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Added to the variance.
    pub epsilon: f64,
    /// The share of the batch in the new running mean and variance.
    pub momentum: f64,
    /// Which variance of the batch updates the running variance.
    pub running_variance: RunningVariance,
}

impl Options {
    /// The factor from the biased variance of `n` values to the one that updates the running
    /// variance.
    pub fn correction(&self, n: usize) -> f64 {
        match self.running_variance {
            RunningVariance::Biased => 1.0,
            RunningVariance::Unbiased => n as f64 / (n - 1) as f64,
        }
    }
}

/// What [`BatchNormOps::normalize`] returns; all but the output have the shape `[channels]`.
#[derive(Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "_cube"))]
pub struct Normalized<B: Backend> {
    /// After the epilogue, in the shape of the input.
    pub output: FloatTensor<B>,
    /// The mean of the batch.
    pub mean: FloatTensor<B>,
    /// `1 / sqrt(variance + epsilon)` of the batch.
    pub inverse_std: FloatTensor<B>,
    /// The running mean after this batch.
    pub running_mean: FloatTensor<B>,
    /// The running variance after this batch.
    pub running_var: FloatTensor<B>,
}

/// Which gradients [`BatchNormOps::normalize_backward`] computes, and whether the statistics depend
/// on the input.
#[derive(Clone, Copy, Debug)]
pub struct BackwardOptions {
    /// Whether the mean and the variance are those of the batch. If not, they are constants.
    pub batch_statistics: bool,
    /// The gradient of the input.
    pub input: bool,
    /// The gradients of gamma and beta.
    pub parameters: bool,
    /// The gradient of the residual, if there is one.
    pub residual: bool,
}

impl BackwardOptions {
    /// Whether the input's gradient needs sums over the channels. Constant statistics have no
    /// gradient: then it does not, even if the parameters' gradients do.
    pub fn input_needs_sums(&self) -> bool {
        self.input && self.batch_statistics
    }
}

/// A gradient, if it is wanted.
#[derive(Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "_cube"))]
pub enum Gradient<B: Backend> {
    /// Not computed.
    Unwanted,
    /// The gradient, in the shape of the tensor that it belongs to.
    Wanted(FloatTensor<B>),
}

/// What [`BatchNormOps::normalize_backward`] returns.
#[derive(Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "_cube"))]
pub struct Gradients<B: Backend> {
    /// Of the input.
    #[extension_type]
    pub input: Gradient<B>,
    /// Of gamma, `[channels]`.
    #[extension_type]
    pub gamma: Gradient<B>,
    /// Of beta, `[channels]`.
    #[extension_type]
    pub beta: Gradient<B>,
    /// Of the residual.
    #[extension_type]
    pub residual: Gradient<B>,
}

/// The three operations of batch normalization. `input`, `residual`, `output` and their gradients
/// are `[batch, channels, ...]`, everything else is `[channels]`. All tensors have one type, except
/// the statistics of the batch and the running ones, which have [`statistics_dtype`].
///
/// # Panics
///
/// If the tensors are not on one device, or have other shapes or types than these; if the input has
/// no values, or, on a GPU, more than the kernels can count (2^31); if epsilon is 0 or infinite in
/// [`statistics_dtype`].
#[backend_extension(
    Cube: cfg(feature = "_cube"),
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Autodiff,
    Fusion: cfg(feature = "_cube"),
)]
pub trait BatchNormOps: Backend {
    /// Training: normalizes with the statistics of the batch and updates the running ones.
    #[fusion(meta = normalized)]
    fn normalize(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        running_mean: FloatTensor<Self>,
        running_var: FloatTensor<Self>,
        #[extension_type] epilogue: Epilogue<Self>,
        options: Options,
    ) -> Normalized<Self>;

    /// The gradients of [`normalize`](Self::normalize), given the gradient of its output,
    /// `epilogue(gamma * (input - mean) * inverse_std + beta)`.
    #[fusion(meta = gradients)]
    #[allow(clippy::too_many_arguments)]
    fn normalize_backward(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        inverse_std: FloatTensor<Self>,
        #[extension_type] epilogue: Epilogue<Self>,
        output_grad: FloatTensor<Self>,
        options: BackwardOptions,
    ) -> Gradients<Self>;

    /// Prediction: `epilogue(scale * input + shift)`, with all statistics folded into scale and
    /// shift.
    #[fusion(meta = scaled)]
    fn scale_and_shift(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        #[extension_type] epilogue: Epilogue<Self>,
    ) -> FloatTensor<Self>;
}

/// The shapes and types that the lazy form of [`BatchNormOps::normalize`] will return.
#[cfg(feature = "_cube")]
fn normalized(
    input: &TensorSpec,
    gamma: &TensorSpec,
    beta: &TensorSpec,
    running_mean: &TensorSpec,
    running_var: &TensorSpec,
    epilogue: &EpilogueMetadata,
    options: &Options,
) -> NormalizedMetadata {
    assert_countable(&input.shape);
    assert_epsilon(options.epsilon, input.dtype);
    Spec::from(input).assert_fits(
        residual(epilogue).map(Spec::from),
        [gamma, beta].map(Spec::from),
        [running_mean, running_var].map(Spec::from),
    );
    NormalizedMetadata {
        output: input.clone(),
        mean: running_mean.clone(),
        inverse_std: running_mean.clone(),
        running_mean: running_mean.clone(),
        running_var: running_mean.clone(),
    }
}

/// The shapes and types that the lazy form of [`BatchNormOps::normalize_backward`] will return.
#[cfg(feature = "_cube")]
#[allow(clippy::too_many_arguments)]
fn gradients(
    input: &TensorSpec,
    gamma: &TensorSpec,
    beta: &TensorSpec,
    mean: &TensorSpec,
    inverse_std: &TensorSpec,
    epilogue: &EpilogueMetadata,
    output_grad: &TensorSpec,
    options: &BackwardOptions,
) -> GradientsMetadata {
    assert_countable(&input.shape);
    Spec::from(input).assert_fits(
        residual(epilogue).into_iter().chain([output_grad]).map(Spec::from),
        [gamma, beta].map(Spec::from),
        [mean, inverse_std].map(Spec::from),
    );
    let gradient = |wanted, of: &TensorSpec| {
        if wanted { GradientMetadata::Wanted(of.clone()) } else { GradientMetadata::Unwanted }
    };
    GradientsMetadata {
        input: gradient(options.input, input),
        gamma: gradient(options.parameters, gamma),
        beta: gradient(options.parameters, beta),
        residual: gradient(options.residual && residual(epilogue).is_some(), input),
    }
}

/// The shape and type that the lazy form of [`BatchNormOps::scale_and_shift`] will return.
#[cfg(feature = "_cube")]
fn scaled(
    input: &TensorSpec,
    scale: &TensorSpec,
    shift: &TensorSpec,
    epilogue: &EpilogueMetadata,
) -> TensorSpec {
    assert_countable(&input.shape);
    let residual = residual(epilogue).map(Spec::from);
    Spec::from(input).assert_fits(residual, [scale, shift].map(Spec::from), []);
    input.clone()
}

#[cfg(feature = "_cube")]
fn residual(epilogue: &EpilogueMetadata) -> Option<&TensorSpec> {
    match epilogue {
        EpilogueMetadata::AddRelu(residual) => Some(residual),
        EpilogueMetadata::Identity | EpilogueMetadata::Relu => None,
    }
}

/// The shape, type and device of a tensor, which are checked before a kernel uses it.
#[cfg(any(feature = "_cpu", feature = "_cube"))]
pub(crate) struct Spec<D = ()> {
    shape: Shape,
    dtype: DType,
    /// `()` for a tensor that is not computed yet; Burn checks its device.
    device: D,
}

#[cfg(feature = "_cube")]
impl From<&TensorSpec> for Spec {
    fn from(tensor: &TensorSpec) -> Self {
        Self { shape: tensor.shape.clone(), dtype: tensor.dtype, device: () }
    }
}

#[cfg(any(feature = "_cpu", feature = "_cube"))]
impl<D: PartialEq + std::fmt::Debug> Spec<D> {
    /// The shape, type and device of a tensor.
    pub fn of(tensor: &impl TensorMetadata<Device = D>) -> Self {
        Self { shape: tensor.shape(), dtype: tensor.dtype(), device: tensor.device() }
    }

    /// Checks all tensors of an operation on this input.
    ///
    /// # Panics
    ///
    /// If a tensor has another shape, type or device than the operation needs.
    pub fn assert_fits(
        &self,
        alike: impl IntoIterator<Item = Self>,
        parameters: impl IntoIterator<Item = Self>,
        statistics: impl IntoIterator<Item = Self>,
    ) {
        let shape = &self.shape;
        assert!(
            shape.num_dims() > 1 && shape.num_elements() > 0,
            "batch norm needs a non-empty input [batch, channels, ...], got {shape:?}"
        );
        for tensor in alike {
            assert_eq!(
                tensor.shape, *shape,
                "batch norm needs the residual and the gradient in the shape of the input"
            );
            self.assert_type_and_device(&tensor, self.dtype);
        }
        let parameters = parameters.into_iter().map(|tensor| (tensor, self.dtype));
        let statistics =
            statistics.into_iter().map(|tensor| (tensor, statistics_dtype(self.dtype)));
        for (tensor, dtype) in parameters.chain(statistics) {
            assert_eq!(tensor.shape.to_vec(), [shape[1]], "batch norm needs one value per channel");
            self.assert_type_and_device(&tensor, dtype);
        }
    }

    fn assert_type_and_device(&self, tensor: &Self, dtype: DType) {
        let (found, input) = (tensor.dtype, self.dtype);
        assert_eq!(found, dtype, "batch norm of {input:?} needs a tensor of {dtype:?} here");
        assert_eq!(tensor.device, self.device, "batch norm needs all tensors on one device");
    }
}

/// Checks that epsilon is a positive number in the type that the statistics are computed in.
///
/// # Panics
///
/// If it is below the smallest normal number, where GPUs treat it as 0, or above the largest.
pub(crate) fn assert_epsilon(epsilon: f64, dtype: DType) {
    let (least, most) = match statistics_dtype(dtype) {
        DType::F64 => (f64::MIN_POSITIVE, f64::MAX),
        _ => (f32::MIN_POSITIVE.into(), f32::MAX.into()),
    };
    assert!(
        (least..=most).contains(&epsilon),
        "batch norm of {dtype:?} needs an epsilon above zero, from {least:.1e} to {most:.1e}, not \
         {epsilon:?}"
    );
}

/// The type of the statistics, the batch's and the running ones, for a layer of `dtype`: at least
/// f32, because in half precision a running mean stops changing before it converges.
pub fn statistics_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    }
}

/// The largest number of values of a tensor on a GPU. The kernels count in 32 bits, and CubeCL's
/// fast division, on devices that have it, is wrong from 2^31 on.
#[cfg(feature = "_cube")]
const MOST_VALUES: usize = 1 << 31;

/// Checks that a GPU's kernels can count the values of a tensor.
///
/// # Panics
///
/// If there are too many.
#[cfg(feature = "_cube")]
pub(crate) fn assert_countable(shape: &Shape) {
    let values = shape.num_elements();
    assert!(
        values <= MOST_VALUES,
        "batch norm on a GPU takes at most {MOST_VALUES} values, not {values}"
    );
}

/// Whether a backend that this crate was built for has kernels for the tensor.
pub fn is_covered(tensor: &DispatchTensor) -> bool {
    use burn::backend::DispatchTensorKind as Kind;
    fn covered(kind: &Kind, dtype: DType) -> bool {
        match kind {
            #[cfg(feature = "_cube")]
            Kind::Cube(tensor) => {
                matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
                    && tensor.shape().num_elements() <= MOST_VALUES
            }
            #[cfg(feature = "flex")]
            Kind::Flex(_) => {
                matches!(dtype, DType::F64 | DType::F32 | DType::F16 | DType::BF16)
            }
            #[cfg(feature = "ndarray")]
            Kind::NdArray(_) => matches!(dtype, DType::F64 | DType::F32),
            Kind::Autodiff(inner) => covered(inner, dtype),
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }
    covered(&tensor.kind, tensor.dtype())
}

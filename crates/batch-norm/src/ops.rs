//! The operations that the layer is made of, and where they come from: one trait, which each
//! covered backend implements with kernels of its own, in a file of `backends`.

// The generated code names every backend, and Burn's next release no longer has ndarray.
#![cfg_attr(feature = "ndarray", allow(deprecated))]

#[cfg(feature = "_cube")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::{
    Backend, DispatchTensor, ExtensionType, TensorMetadata, backend_extension, tensor::FloatTensor,
};
use burn::tensor::DType;

use crate::RunningVariance;

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
    /// What is added, if anything is.
    pub fn residual(&self) -> Option<&FloatTensor<B>> {
        match self {
            Self::AddRelu(residual) => Some(residual),
            Self::Identity | Self::Relu => None,
        }
    }

    /// The same with the residual of another backend.
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

/// How [`BatchNormOps::normalize`] normalizes and what its moving averages take from a batch.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Added to the variance.
    pub epsilon: f64,
    /// The share that the moving averages take from the batch.
    pub momentum: f64,
    /// Which variance the moving average takes.
    pub running_variance: RunningVariance,
}

impl Options {
    /// The factor that turns the biased variance of `n` values into the one the average takes.
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
    /// The moving average of the means, with this batch.
    pub running_mean: FloatTensor<B>,
    /// The moving average of the variances, with this batch.
    pub running_var: FloatTensor<B>,
}

/// Which gradients [`BatchNormOps::normalize_backward`] is asked for, and whether the statistics
/// took part in the forward pass.
#[derive(Clone, Copy, Debug)]
pub struct BackwardOptions {
    /// Whether the mean and the variance were the batch's own. If not, they are constants.
    pub batch_statistics: bool,
    /// The gradient of the input.
    pub input: bool,
    /// The gradients of gamma and beta.
    pub parameters: bool,
    /// The gradient of the residual, if there is one.
    pub residual: bool,
}

/// A gradient, if it was asked for.
#[derive(Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "_cube"))]
pub enum Gradient<B: Backend> {
    /// Not asked for, not computed.
    Unwanted,
    /// In the shape of what it is the gradient of.
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

/// Batch normalization's three operations. `input`, `residual`, `output` and their gradients are
/// `[batch, channels, ...]`, everything else is `[channels]`; all are of one type, but for the batch's
/// own statistics ([`statistics_dtype`]).
///
/// # Panics
///
/// If the shapes do not fit, or there are no values.
#[backend_extension(
    Cube: cfg(feature = "_cube"),
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Autodiff,
    Fusion: cfg(feature = "_cube"),
)]
pub trait BatchNormOps: Backend {
    /// Training: normalizes with the statistics of the batch and updates the moving averages.
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

    /// The gradients of [`normalize`](Self::normalize), given that of its output: of
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

    /// Prediction: `epilogue(scale * input + shift)`, all statistics folded into the two factors.
    #[fusion(meta = |input, _scale, _shift, _epilogue| input.clone())]
    fn scale_and_shift(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        #[extension_type] epilogue: Epilogue<Self>,
    ) -> FloatTensor<Self>;
}

/// What the lazy form of [`BatchNormOps::normalize`] will return, told before it runs.
#[cfg(feature = "_cube")]
fn normalized(
    input: &TensorSpec,
    gamma: &TensorSpec,
    _beta: &TensorSpec,
    _running_mean: &TensorSpec,
    _running_var: &TensorSpec,
    _epilogue: &EpilogueMetadata,
    _options: &Options,
) -> NormalizedMetadata {
    NormalizedMetadata {
        output: input.clone(),
        mean: statistics(gamma),
        inverse_std: statistics(gamma),
        running_mean: gamma.clone(),
        running_var: gamma.clone(),
    }
}

/// What the lazy form of [`BatchNormOps::normalize_backward`] will return.
#[cfg(feature = "_cube")]
#[allow(clippy::too_many_arguments)]
fn gradients(
    input: &TensorSpec,
    gamma: &TensorSpec,
    beta: &TensorSpec,
    _mean: &TensorSpec,
    _inverse_std: &TensorSpec,
    epilogue: &EpilogueMetadata,
    _output_grad: &TensorSpec,
    options: &BackwardOptions,
) -> GradientsMetadata {
    let gradient = |wanted, of: &TensorSpec| match wanted {
        true => GradientMetadata::Wanted(of.clone()),
        false => GradientMetadata::Unwanted,
    };
    let has_residual = matches!(epilogue, EpilogueMetadata::AddRelu(_));
    GradientsMetadata {
        input: gradient(options.input, input),
        gamma: gradient(options.parameters, gamma),
        beta: gradient(options.parameters, beta),
        residual: gradient(options.residual && has_residual, input),
    }
}

/// The batch's statistics are kept in at least f32, whatever the layer stores.
#[cfg(feature = "_cube")]
fn statistics(parameter: &TensorSpec) -> TensorSpec {
    TensorSpec::new(parameter.shape.clone(), statistics_dtype(parameter.dtype))
}

/// What every backend checks before its kernels trust the shapes.
///
/// # Panics
///
/// If a tensor does not have the shape that its place in an operation asks for.
#[cfg(any(feature = "_cpu", feature = "_cube"))]
pub(crate) fn assert_shapes<T: TensorMetadata>(input: &T, alike: &[&T], per_channel: &[&T]) {
    let shape = input.shape();
    assert!(shape.num_elements() > 0, "batch norm needs values, got input {shape:?}");
    for tensor in alike {
        assert_eq!(tensor.shape(), shape, "batch norm adds and derives tensors of one shape only");
    }
    for tensor in per_channel {
        let (found, channels) = (tensor.shape(), shape[1]);
        assert_eq!(found.to_vec(), [channels], "batch norm needs one value per channel");
    }
}

/// The type of the batch's mean and inverse standard deviation for a layer of `dtype`.
pub fn statistics_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    }
}

/// Whether a backend that this crate was built for has kernels for the tensor.
pub fn is_covered(tensor: &DispatchTensor) -> bool {
    use burn::backend::DispatchTensorKind as Kind;
    fn covered(kind: &Kind, dtype: DType) -> bool {
        match kind {
            #[cfg(feature = "_cube")]
            Kind::Cube(_) => matches!(dtype, DType::F32 | DType::F16 | DType::BF16),
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

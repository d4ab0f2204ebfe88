//! Batch normalization merged into the layer before it, for prediction.
//!
//! In prediction the layer multiplies each channel by a constant and adds another constant. The
//! weights and the bias of the convolution or fully connected layer before it can include both:
//!
//! ```text
//! scale  = gamma / sqrt(running_var + epsilon)      one number per output channel
//! weight = weight * scale
//! bias   = (bias - running_mean) * scale + beta     where there is no bias, bias is 0
//! ```
//!
//! The merged layer predicts what the two did, up to rounding. This saves a pass that reads and
//! writes each output value once.
//!
//! In training this is wrong: there the mean and the variance are not constants but those of the
//! current batch, and they have gradients.

use burn::{
    module::{Module, Param, ParamId},
    nn::{Linear, conv::Conv2d},
    tensor::Tensor,
};

use crate::{BatchNorm, ops::statistics_dtype};

/// The convolution that predicts what `norm` after `convolution` predicts.
///
/// It has a bias whether or not `convolution` had one; all other settings stay. Clone the
/// convolution to keep it: training needs the two separate layers.
///
/// The running mean and variance include the last batch. The new parameters are detached from the
/// graph of the old ones. They require gradients if the old ones did; a bias that is new requires
/// them if beta does.
///
/// ```
/// use batch_norm::{BatchNormConfig, fold_into_convolution};
/// use burn::{nn::conv::Conv2dConfig, tensor::{Device, Distribution, Tensor, Tolerance}};
///
/// let device = Device::flex(); // gradients off: the layers predict
/// let convolution = Conv2dConfig::new([1, 4], [3, 3]).with_bias(false).init(&device);
/// let norm = BatchNormConfig::new(4).init(&device);
///
/// let images = Tensor::<4>::random([2, 1, 8, 8], Distribution::Default, &device);
/// let two_layers = norm.forward(convolution.forward(images.clone()));
/// let one_layer = fold_into_convolution(convolution, &norm).forward(images);
/// one_layer.into_data().assert_approx_eq::<f32>(&two_layers.into_data(), Tolerance::default());
/// ```
///
/// # Panics
///
/// If the number of channels of `norm` differs from the convolution's number of outputs.
pub fn fold_into_convolution(convolution: Conv2d, norm: &BatchNorm) -> Conv2d {
    let Conv2d { weight, bias, .. } = convolution;
    let (weight, bias) = fold(weight, bias, 0, norm);
    Conv2d { weight, bias: Some(bias), ..convolution }
}

/// The fully connected layer that predicts what `norm` after `linear` predicts.
///
/// This is for inputs `[batch, features]`. For inputs of a higher rank the two layers work on
/// different axes: `linear` on the last one, `norm` on the second one.
///
/// Bias, settings, running statistics and gradients are as in [`fold_into_convolution`].
///
/// # Panics
///
/// If the number of channels of `norm` differs from the layer's number of outputs.
pub fn fold_into_linear(linear: Linear, norm: &BatchNorm) -> Linear {
    // The weight in memory is [inputs, outputs] for either layout: the parameter of a transposed
    // layout transposes it when it is saved and loaded.
    let (weight, bias) = fold(linear.weight, linear.bias, 1, norm);
    Linear { weight, bias: Some(bias) }
}

/// The new weight, whose outputs are along `axis`, and the new bias.
fn fold<const D: usize>(
    weight: Param<Tensor<D>>,
    bias: Option<Param<Tensor<1>>>,
    axis: usize,
    norm: &BatchNorm,
) -> (Param<Tensor<D>>, Param<Tensor<1>>) {
    let (outputs, [channels]) = (weight.dims()[axis], norm.gamma.dims());
    assert_eq!(
        channels, outputs,
        "batch norm of {channels} channels can not be folded into a layer of {outputs} outputs"
    );
    let bias = bias.unwrap_or_else(|| zero_bias(&norm.beta));

    // Includes the last batch, and drops the gradients.
    let norm = norm.valid();
    // In the type of the statistics, which may be wider than the weights'.
    let (mean, variance) = (norm.running_mean.value(), norm.running_var.value());
    let dtype = statistics_dtype(norm.gamma.val().dtype());
    let [mean, variance, gamma, beta] =
        [mean, variance, norm.gamma.val(), norm.beta.val()].map(|it| it.cast(dtype));
    let scale = gamma / (variance + norm.epsilon).sqrt();
    let mut per_output = [1; D];
    per_output[axis] = outputs;
    (
        replace(weight, |weight| weight * scale.clone().reshape(per_output)),
        replace(bias, |bias| (bias - mean) * scale + beta),
    )
}

/// A bias of zeros. It requires gradients if beta does, because it replaces beta.
fn zero_bias(beta: &Param<Tensor<1>>) -> Param<Tensor<1>> {
    let (_, beta, mapper) = beta.clone().consume();
    let zeros = beta.zeros_like().set_require_grad(beta.is_require_grad());
    Param::from_mapped_value(ParamId::new(), zeros, mapper)
}

/// The parameter with a new value, which is a leaf of the graph, as the old one was.
fn replace<const D: usize>(
    parameter: Param<Tensor<D>>,
    function: impl FnOnce(Tensor<D>) -> Tensor<D>,
) -> Param<Tensor<D>> {
    // Materialized, because `map` sees a weight without its low-rank adapter.
    parameter.materialize().map(|value| {
        let (require_grad, dtype) = (value.is_require_grad(), value.dtype());
        let value = value.cast(statistics_dtype(dtype));
        function(value).cast(dtype).detach().set_require_grad(require_grad)
    })
}

#[cfg(test)]
mod tests;

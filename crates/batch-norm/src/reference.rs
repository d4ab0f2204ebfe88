//! The layer built from Burn's own operations: the baseline for the kernels, and the fallback where
//! there are none.

use burn::{
    backend::Dispatch,
    tensor::{
        Tensor,
        activation::relu,
        module::{batch_norm, batch_norm_train},
    },
};

use crate::ops::{Epilogue, Normalized, Options};

/// [`crate::ops::BatchNormOps::normalize`] on any backend.
pub fn normalize<const D: usize>(
    input: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    running_mean: Tensor<1>,
    running_var: Tensor<1>,
    epilogue: Epilogue<Dispatch>,
    options: Options,
) -> Normalized<Dispatch> {
    let n = input.shape().num_elements() / gamma.shape().num_elements();
    let batch = batch_norm_train(input, gamma, beta, options.epsilon);
    let (mean, variance) = (batch.mean.detach(), batch.variance.detach());
    let dtype = running_mean.dtype();
    let (mean, variance) = (mean.cast(dtype), variance.cast(dtype));
    let blend = |running: Tensor<1>, new: Tensor<1>| {
        (running * (1.0 - options.momentum) + new * options.momentum).into_dispatch()
    };
    Normalized {
        output: epilogue_of(batch.output, epilogue).into_dispatch(),
        mean: mean.clone().into_dispatch(),
        inverse_std: (variance.clone() + options.epsilon).sqrt().recip().into_dispatch(),
        running_mean: blend(running_mean, mean),
        running_var: blend(running_var, variance * options.correction(n)),
    }
}

/// Prediction with the running mean and variance, on any backend.
pub fn predict<const D: usize>(
    input: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    mean: Tensor<1>,
    variance: Tensor<1>,
    epilogue: Epilogue<Dispatch>,
    epsilon: f64,
) -> Tensor<D> {
    epilogue_of(batch_norm(input, gamma, beta, mean, variance, epsilon), epilogue)
}

fn epilogue_of<const D: usize>(output: Tensor<D>, epilogue: Epilogue<Dispatch>) -> Tensor<D> {
    match epilogue {
        Epilogue::Identity => output,
        Epilogue::Relu => relu(output),
        Epilogue::AddRelu(residual) => relu(output + Tensor::from_dispatch(residual)),
    }
}

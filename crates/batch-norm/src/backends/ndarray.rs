//! ndarray: Burn's first CPU backend.

#![allow(deprecated)] // Burn's next release no longer has this backend.

use burn::backend::{NdArray, ndarray::NdArrayTensor, tensor::FloatTensor};

use super::cpu;
use crate::ops::{BackwardOptions, BatchNormOps, Epilogue, Gradients, Normalized, Options};

macro_rules! with_dtype {
    ($tensor:expr, $function:ident($($argument:expr),*)) => {
        match &$tensor {
            NdArrayTensor::F64(_) => cpu::$function::<Self, f64>($($argument),*),
            NdArrayTensor::F32(_) => cpu::$function::<Self, f32>($($argument),*),
            _ => panic!("batch norm has kernels for f32 and f64 on ndarray only"),
        }
    };
}

impl BatchNormOps for NdArray {
    fn normalize(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        running_mean: FloatTensor<Self>,
        running_var: FloatTensor<Self>,
        epilogue: Epilogue<Self>,
        options: Options,
    ) -> Normalized<Self> {
        let channels = [gamma, beta, running_mean, running_var];
        with_dtype!(input, normalize(input, channels, epilogue, options))
    }

    fn normalize_backward(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        inverse_std: FloatTensor<Self>,
        epilogue: Epilogue<Self>,
        output_grad: FloatTensor<Self>,
        options: BackwardOptions,
    ) -> Gradients<Self> {
        let channels = [gamma, beta, mean, inverse_std];
        with_dtype!(input, normalize_backward(input, channels, epilogue, output_grad, options))
    }

    fn scale_and_shift(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epilogue: Epilogue<Self>,
    ) -> FloatTensor<Self> {
        with_dtype!(input, scale_and_shift(input, scale, shift, epilogue))
    }
}

//! Flex: the CPU backend that Burn recommends.

use burn::{
    backend::{Flex, tensor::FloatTensor},
    tensor::{DType, bf16, f16},
};

use super::cpu;
use crate::ops::{BackwardOptions, BatchNormOps, Epilogue, Gradients, Normalized, Options};

macro_rules! with_dtype {
    ($tensor:expr, $function:ident($($argument:expr),*)) => {
        match $tensor.dtype() {
            DType::F64 => cpu::$function::<Self, f64>($($argument),*),
            DType::F32 => cpu::$function::<Self, f32>($($argument),*),
            DType::F16 => cpu::$function::<Self, f16>($($argument),*),
            DType::BF16 => cpu::$function::<Self, bf16>($($argument),*),
            dtype => panic!("batch norm has no kernel for {dtype:?} on flex"),
        }
    };
}

impl BatchNormOps for Flex {
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

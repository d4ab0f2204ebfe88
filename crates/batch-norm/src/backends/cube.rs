//! The GPU backends: one for Vulkan, Metal, WebGPU, CUDA and ROCm. See [`crate::gpu`].

use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;

use crate::gpu::launch::Pass;
use crate::ops::*;

impl BatchNormOps for CubeBackend {
    fn normalize(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        running_mean: FloatTensor<Self>,
        running_var: FloatTensor<Self>,
        epilogue: Epilogue<Self>,
        options: Options,
    ) -> Normalized<Self> {
        Pass::new(input, None, epilogue).normalize(
            gamma,
            beta,
            [running_mean, running_var],
            options,
        )
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
        Pass::new(input, Some(output_grad), epilogue)
            .backward([gamma, beta, mean, inverse_std], options)
    }

    fn scale_and_shift(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epilogue: Epilogue<Self>,
    ) -> FloatTensor<Self> {
        Pass::new(input, None, epilogue).scale_and_shift(scale, shift)
    }
}

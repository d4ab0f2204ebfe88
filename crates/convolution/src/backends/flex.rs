//! Flex: the CPU backend that Burn recommends.

use burn::backend::{Flex, tensor::FloatTensor};

use super::cpu;
use crate::ops::{Convolution, ConvolutionOps, Gradients, Optional, Pool, Wanted};

impl ConvolutionOps for Flex {
    fn convolve(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Optional<Self>,
        residual: Optional<Self>,
        options: Convolution,
    ) -> FloatTensor<Self> {
        cpu::convolve::<Self>(input, weight, bias.get(), residual.get(), options)
    }

    fn convolve_backward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        output: Optional<Self>,
        output_grad: FloatTensor<Self>,
        options: Convolution,
        wanted: Wanted,
    ) -> Gradients<Self> {
        cpu::convolve_backward::<Self>(input, weight, output.get(), output_grad, options, wanted)
    }

    fn pool(input: FloatTensor<Self>, pool: Pool) -> FloatTensor<Self> {
        cpu::pool::<Self>(input, pool)
    }

    fn pool_backward(
        input: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        pool: Pool,
    ) -> FloatTensor<Self> {
        cpu::pool_backward::<Self>(input, output_grad, pool)
    }

    fn fork(input: FloatTensor<Self>, count: usize) -> Vec<FloatTensor<Self>> {
        vec![input; count]
    }

    fn add(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        cpu::add::<Self>(a, b)
    }

    fn concatenate(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: Optional<Self>,
        fourth: Optional<Self>,
    ) -> FloatTensor<Self> {
        let images = [Some(first), Some(second), third.get(), fourth.get()];
        cpu::concatenate::<Self>(images.into_iter().flatten().collect())
    }

    fn separate(images: FloatTensor<Self>, channels: Vec<usize>) -> Vec<FloatTensor<Self>> {
        cpu::separate::<Self>(images, &channels)
    }

    fn logistic(input: FloatTensor<Self>) -> FloatTensor<Self> {
        cpu::logistic::<Self>(input)
    }

    fn logistic_backward(
        output: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        cpu::logistic_backward::<Self>(output, output_grad)
    }
}

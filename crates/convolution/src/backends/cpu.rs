//! Flex and ndarray, which have different tensors but the same operations: converts their tensors
//! to the slices of [`crate::cpu`] and back.

// Burn's next release no longer has ndarray.
#![cfg_attr(feature = "ndarray", allow(deprecated))]

use burn::backend::{Backend, TensorMetadata, tensor::FloatTensor};
use burn::tensor::DType;
use cpu_tensors::{CpuTensor, Order};

use crate::{
    cpu::{
        self,
        gather::{Finished, Source},
        geometry::Geometry,
        simd::Isa,
    },
    ops::{Convolution, ConvolutionOps, Gradients, Optional, Pool, Wanted},
};

/// The shape of a tensor of rank 4.
fn dims4(tensor: &impl CpuTensor<f32>) -> [usize; 4] {
    let dims = tensor.dims();
    dims.try_into().unwrap_or_else(|dims| {
        panic!("convolution and pooling take images [batch, channels, height, width], not {dims:?}")
    })
}

fn assert_f32(tensor: &impl TensorMetadata) {
    let dtype = tensor.dtype();
    assert_eq!(dtype, DType::F32, "these kernels need f32 tensors");
}

/// The sizes of a convolution, from its tensors and options.
fn geometry(
    input: &impl CpuTensor<f32>,
    weight: &impl CpuTensor<f32>,
    options: &Convolution,
) -> Geometry {
    let [batch, inputs, height, width] = dims4(input);
    let [outputs, channels, kernel_height, kernel_width] = dims4(weight);
    assert_eq!(
        inputs, channels,
        "a convolution of {channels} channels was given images of {inputs}"
    );
    let (size, kernel) = ([height, width], [kernel_height, kernel_width]);
    let Convolution { stride, padding, .. } = *options;
    let output = [0, 1].map(|axis| {
        let padded = size[axis] + padding[axis].iter().sum::<usize>();
        assert!(
            stride[axis] > 0 && kernel[axis] > 0 && padded >= kernel[axis],
            "a window of {kernel:?} pixels with stride {stride:?} does not fit into images of \
             {size:?} pixels with padding {padding:?}"
        );
        (padded - kernel[axis]) / stride[axis] + 1
    });
    let padding = padding.map(|[begin, _]| begin);
    Geometry { batch, inputs, outputs, size, kernel, stride, padding, output }
}

/// The tensor in a layout that the kernels can read, copied only if necessary: with few channels
/// they read any layout, with many channels only adjacent channels.
fn readable<T: CpuTensor<f32>>(tensor: T) -> T {
    let tensor = tensor.into_readable();
    let [_, channels, ..] = dims4(&tensor);
    let near = tensor.strides()[1] == 1;
    if channels > cpu::FEW && !near { tensor.into_order(Order::ChannelsLast) } else { tensor }
}

fn source<T: CpuTensor<f32>>(tensor: &T) -> Source<'_> {
    let view = tensor.view();
    let mut strides = [0; 4];
    for (to, from) in strides.iter_mut().zip(&view.strides) {
        *to = usize::try_from(*from).expect("a readable tensor has no negative strides");
    }
    Source { values: view.values, strides }
}

/// [`crate::ops::ConvolutionOps::convolve`].
pub fn convolve<B: Backend>(
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
    residual: Option<FloatTensor<B>>,
    options: Convolution,
) -> FloatTensor<B>
where
    FloatTensor<B>: CpuTensor<f32>,
{
    for tensor in [&input, &weight].into_iter().chain(&bias).chain(&residual) {
        assert_f32(tensor);
    }
    let geometry = geometry(&input, &weight, &options);
    let Geometry { batch, outputs, output: [height, width], .. } = geometry;
    let shape = vec![batch, outputs, height, width];
    let input = readable(input);
    let weight = weight.into_order(Order::ChannelsFirst);
    let bias = bias.map(|bias| bias.into_order(Order::ChannelsFirst));
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [outputs], "the bias must have one value per output channel");
    }
    let residual = residual.map(|residual| residual.into_order(Order::ChannelsLast));
    if let Some(residual) = &residual {
        assert_eq!(residual.dims(), shape, "the residual must have the shape of the output");
    }
    let finish = Finished {
        bias: bias.as_ref().map(|bias| bias.values()),
        residual: residual.as_ref().map(|residual| residual.values()),
        relu: options.relu,
    };
    let output = cpu::forward(
        &geometry,
        source(&input),
        weight.values(),
        finish,
        options.winograd,
        Isa::best(),
    );
    FloatTensor::<B>::from_values(output, shape, Order::ChannelsLast)
}

/// [`crate::ops::ConvolutionOps::convolve_backward`].
pub fn convolve_backward<B: Backend>(
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    output: Option<FloatTensor<B>>,
    output_grad: FloatTensor<B>,
    options: Convolution,
    wanted: Wanted,
) -> Gradients<B>
where
    FloatTensor<B>: CpuTensor<f32>,
{
    for tensor in [&input, &weight, &output_grad].into_iter().chain(&output) {
        assert_f32(tensor);
    }
    let geometry = geometry(&input, &weight, &options);
    let Geometry { batch, outputs, output: [height, width], .. } = geometry;
    assert_eq!(
        output_grad.dims(),
        [batch, outputs, height, width],
        "the gradient must have the shape of the output"
    );
    let input = readable(input);
    let weight = weight.into_order(Order::ChannelsFirst);
    let mut gradient = output_grad.into_order(Order::ChannelsLast);
    if options.relu {
        let output = output.expect("the gradient of a ReLU needs its output");
        let output = output.into_order(Order::ChannelsLast);
        cpu::relu_backward(output.values(), gradient.values_mut());
    }
    let isa = Isa::best();
    let of_output = source(&gradient);
    let of_input = wanted.input.then(|| {
        let values =
            cpu::input_gradient(&geometry, of_output, weight.values(), options.winograd, isa);
        FloatTensor::<B>::from_values(values, input.dims(), Order::ChannelsLast)
    });
    let (of_weight, of_bias) = if wanted.weight || wanted.bias {
        let (weights, bias) = cpu::weight_gradient(
            &geometry,
            source(&input),
            of_output,
            wanted.bias,
            options.winograd,
            isa,
        );
        let weights = wanted
            .weight
            .then(|| FloatTensor::<B>::from_values(weights, weight.dims(), Order::ChannelsFirst));
        let bias = bias
            .map(|bias| FloatTensor::<B>::from_values(bias, vec![outputs], Order::ChannelsFirst));
        (weights, bias)
    } else {
        (None, None)
    };
    Gradients {
        input: Optional::of(of_input),
        weight: Optional::of(of_weight),
        bias: Optional::of(of_bias),
        residual: Optional::of(wanted.residual.then_some(gradient)),
    }
}

/// The tensor in one of the two memory orders, and that order.
fn ordered<T: CpuTensor<f32>>(tensor: T) -> (T, Order) {
    let order = tensor.order().unwrap_or(Order::ChannelsLast);
    (tensor.into_order(order), order)
}

/// [`crate::ops::ConvolutionOps::pool`].
pub fn pool<B: Backend>(input: FloatTensor<B>, pool: Pool) -> FloatTensor<B>
where
    FloatTensor<B>: CpuTensor<f32>,
{
    assert_f32(&input);
    let shape = dims4(&input);
    let [batch, channels, height, width] = shape;
    let (input, order) = ordered(input);
    let values = input.values();
    let (values, [height, width]) = match pool {
        Pool::Max(window) => {
            (cpu::pool::max(values, shape, order, &window), window.output_size([height, width]))
        }
        Pool::Average { window, count_padding } => (
            cpu::pool::average(values, shape, order, &window, count_padding),
            window.output_size([height, width]),
        ),
        Pool::Adaptive(size) => (cpu::pool::adaptive_average(values, shape, order, size), size),
    };
    FloatTensor::<B>::from_values(values, vec![batch, channels, height, width], order)
}

/// [`crate::ops::ConvolutionOps::pool_backward`].
pub fn pool_backward<B: Backend>(
    input: FloatTensor<B>,
    output_grad: FloatTensor<B>,
    pool: Pool,
) -> FloatTensor<B>
where
    FloatTensor<B>: CpuTensor<f32>,
{
    let shape = dims4(&input);
    let (input, order) = ordered(input);
    let gradient = output_grad.into_order(order);
    let gradient = gradient.values();
    let values = match pool {
        Pool::Max(window) => {
            cpu::pool::max_backward(input.values(), gradient, shape, order, &window)
        }
        Pool::Average { window, count_padding } => {
            cpu::pool::average_backward(gradient, shape, order, &window, count_padding)
        }
        Pool::Adaptive(size) => cpu::pool::adaptive_average_backward(gradient, shape, order, size),
    };
    FloatTensor::<B>::from_values(values, shape.to_vec(), order)
}

/// The tensor without gaps, and its memory order: channels last if it has that, else row-major.
fn dense<T: CpuTensor<f32>>(tensor: T) -> (T, Order) {
    let order = match tensor.dims().len() {
        0 | 1 => Order::ChannelsFirst,
        _ => tensor.order().unwrap_or(Order::ChannelsFirst),
    };
    (tensor.into_order(order), order)
}

/// [`crate::ops::ConvolutionOps::weighted_sum`].
pub fn weighted_sum<B: Backend>(
    a: FloatTensor<B>,
    b: FloatTensor<B>,
    factors: [f32; 2],
) -> FloatTensor<B>
where
    FloatTensor<B>: CpuTensor<f32>,
{
    assert_f32(&a);
    assert_f32(&b);
    assert_eq!(a.dims(), b.dims(), "the tensors must have one shape");
    let (mut a, order) = dense(a);
    let b = b.into_order(order);
    cpu::weighted_sum(a.values_mut(), b.values(), factors);
    a
}

/// [`crate::ops::ConvolutionOps::sum_of_squares`].
pub fn sum_of_squares<B: Backend>(input: FloatTensor<B>) -> FloatTensor<B>
where
    FloatTensor<B>: CpuTensor<f32>,
{
    assert_f32(&input);
    let (input, _) = dense(input);
    let sum = cpu::sum_of_squares(input.values());
    FloatTensor::<B>::from_values(vec![sum], vec![1], Order::ChannelsFirst)
}

/// [`crate::ops::ConvolutionOps::concatenate`].
pub fn concatenate<B: Backend>(images: Vec<FloatTensor<B>>) -> FloatTensor<B>
where
    FloatTensor<B>: CpuTensor<f32>,
{
    images.iter().for_each(assert_f32);
    let images: Vec<_> =
        images.into_iter().map(|images| images.into_order(Order::ChannelsLast)).collect();
    let [batch, _, height, width] = dims4(&images[0]);
    let channels: Vec<_> = images
        .iter()
        .map(|images| {
            let [n, channels, h, w] = dims4(images);
            assert_eq!([n, h, w], [batch, height, width], "only the channels may differ");
            channels
        })
        .collect();
    let values: Vec<_> = images.iter().map(|images| images.values()).collect();
    let values = cpu::interleave(&values, &channels, batch * height * width);
    let shape = vec![batch, channels.iter().sum(), height, width];
    FloatTensor::<B>::from_values(values, shape, Order::ChannelsLast)
}

/// [`crate::ops::ConvolutionOps::separate`].
pub fn separate<B: Backend>(images: FloatTensor<B>, channels: &[usize]) -> Vec<FloatTensor<B>>
where
    FloatTensor<B>: CpuTensor<f32>,
{
    let [batch, all, height, width] = dims4(&images);
    assert_eq!(all, channels.iter().sum::<usize>(), "the parts must have all channels");
    let images = images.into_order(Order::ChannelsLast);
    let starts = channels.iter().scan(0, |start, channels| {
        *start += channels;
        Some(*start - channels)
    });
    let parts = starts.zip(channels).map(|(start, &channels)| {
        let values = cpu::take_channels(images.values(), all, start..start + channels);
        let shape = vec![batch, channels, height, width];
        FloatTensor::<B>::from_values(values, shape, Order::ChannelsLast)
    });
    parts.collect()
}

/// [`crate::ops::ConvolutionOps::logistic`].
pub fn logistic<B: Backend>(input: FloatTensor<B>) -> FloatTensor<B>
where
    FloatTensor<B>: CpuTensor<f32>,
{
    assert_f32(&input);
    let (input, order) = dense(input);
    FloatTensor::<B>::from_values(cpu::sigmoid::forward(input.values()), input.dims(), order)
}

/// [`crate::ops::ConvolutionOps::logistic_backward`].
pub fn logistic_backward<B: Backend>(
    output: FloatTensor<B>,
    output_grad: FloatTensor<B>,
) -> FloatTensor<B>
where
    FloatTensor<B>: CpuTensor<f32>,
{
    let (output, order) = dense(output);
    let gradient = output_grad.into_order(order);
    let values = cpu::sigmoid::backward(output.values(), gradient.values());
    FloatTensor::<B>::from_values(values, output.dims(), order)
}

/// Implements the operations of a backend with the functions above.
macro_rules! implement {
    ($backend:ty) => {
        impl ConvolutionOps for $backend {
            fn convolve(
                input: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                bias: Optional<Self>,
                residual: Optional<Self>,
                options: Convolution,
            ) -> FloatTensor<Self> {
                convolve::<Self>(input, weight, bias.get(), residual.get(), options)
            }

            fn convolve_backward(
                input: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                output: Optional<Self>,
                output_grad: FloatTensor<Self>,
                options: Convolution,
                wanted: Wanted,
            ) -> Gradients<Self> {
                convolve_backward::<Self>(input, weight, output.get(), output_grad, options, wanted)
            }

            fn pool(input: FloatTensor<Self>, pool: Pool) -> FloatTensor<Self> {
                self::pool::<Self>(input, pool)
            }

            fn pool_backward(
                input: FloatTensor<Self>,
                output_grad: FloatTensor<Self>,
                pool: Pool,
            ) -> FloatTensor<Self> {
                pool_backward::<Self>(input, output_grad, pool)
            }

            fn fork(input: FloatTensor<Self>, count: usize) -> Vec<FloatTensor<Self>> {
                vec![input; count]
            }

            fn weighted_sum(
                a: FloatTensor<Self>,
                b: FloatTensor<Self>,
                factors: [f32; 2],
            ) -> FloatTensor<Self> {
                weighted_sum::<Self>(a, b, factors)
            }

            fn sum_of_squares(input: FloatTensor<Self>) -> FloatTensor<Self> {
                sum_of_squares::<Self>(input)
            }

            fn concatenate(
                first: FloatTensor<Self>,
                second: FloatTensor<Self>,
                third: Optional<Self>,
                fourth: Optional<Self>,
            ) -> FloatTensor<Self> {
                let images = [Some(first), Some(second), third.get(), fourth.get()];
                concatenate::<Self>(images.into_iter().flatten().collect())
            }

            fn separate(images: FloatTensor<Self>, channels: Vec<usize>) -> Vec<FloatTensor<Self>> {
                separate::<Self>(images, &channels)
            }

            fn logistic(input: FloatTensor<Self>) -> FloatTensor<Self> {
                logistic::<Self>(input)
            }

            fn logistic_backward(
                output: FloatTensor<Self>,
                output_grad: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                logistic_backward::<Self>(output, output_grad)
            }
        }
    };
}

#[cfg(feature = "flex")]
implement!(burn::backend::Flex);
#[cfg(feature = "ndarray")]
implement!(burn::backend::NdArray);

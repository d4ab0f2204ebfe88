//! The code that flex and ndarray share: it converts their tensors to the slices of [`crate::cpu`]
//! and back.

use burn::backend::{Backend, TensorMetadata, tensor::FloatTensor};
use cpu_tensors::{CpuTensor, Order};

use crate::{
    cpu::{self, Parameters, Planes, Real, Storage},
    ops::{
        BackwardOptions, Epilogue, Gradient, Gradients, Normalized, Options, Spec, assert_epsilon,
    },
};

fn parameters<E: Storage>(gamma: impl CpuTensor<E>, beta: impl CpuTensor<E>) -> Parameters<E::Sum> {
    Parameters { gamma: widened(gamma), beta: widened(beta) }
}

fn widened<E: Storage>(tensor: impl CpuTensor<E>) -> Vec<E::Sum> {
    in_a_row(tensor).values().iter().map(|value| value.widen()).collect()
}

/// A tensor `[channels]` with contiguous values.
fn in_a_row<E, T: CpuTensor<E>>(tensor: T) -> T {
    tensor.into_order(Order::ChannelsFirst)
}

/// The residual in the memory order of the input, as the kernels need it.
fn residual_in<B: Backend, E>(epilogue: Epilogue<B>, order: Order) -> Epilogue<B>
where
    FloatTensor<B>: CpuTensor<E>,
{
    epilogue.map(|residual| residual.into_order(order))
}

fn slices<B: Backend, E>(epilogue: &Epilogue<B>) -> cpu::Epilogue<'_, E>
where
    FloatTensor<B>: CpuTensor<E>,
{
    match epilogue {
        Epilogue::Identity => cpu::Epilogue::Identity,
        Epilogue::Relu => cpu::Epilogue::Relu,
        Epilogue::AddRelu(residual) => cpu::Epilogue::AddRelu(residual.values()),
    }
}

/// [`crate::ops::BatchNormOps::normalize`].
pub fn normalize<B: Backend, E: Storage>(
    input: FloatTensor<B>,
    [gamma, beta, running_mean, running_var]: [FloatTensor<B>; 4],
    epilogue: Epilogue<B>,
    options: Options,
) -> Normalized<B>
where
    FloatTensor<B>: CpuTensor<E> + CpuTensor<E::Sum>,
{
    assert_epsilon(options.epsilon, input.dtype());
    Spec::of(&input).assert_fits(
        epilogue.residual().map(Spec::of),
        [&gamma, &beta].map(Spec::of),
        [&running_mean, &running_var].map(Spec::of),
    );
    let shape = CpuTensor::<E>::dims(&input);
    let order = CpuTensor::<E>::order(&input).unwrap_or(Order::ChannelsFirst);
    let input = CpuTensor::<E>::into_order(input, order);
    let epilogue = residual_in::<B, E>(epilogue, order);
    let planes = Planes::of(&shape, order);

    let parameters = parameters::<E>(gamma, beta);
    let (output, moments) = cpu::normalize::<E>(
        input.values(),
        planes,
        &parameters,
        options.epsilon,
        slices(&epilogue),
    );

    let correction = options.correction(planes.values());
    let blend = |running: FloatTensor<B>, new: &dyn Fn(&cpu::Moments) -> f64| {
        let running = in_a_row::<E::Sum, _>(running);
        let running: &[E::Sum] = running.values();
        let blended = running.iter().zip(&moments).map(|(&running, moments)| {
            let running: f64 = running.into();
            E::Sum::from_f64(running * (1.0 - options.momentum) + new(moments) * options.momentum)
        });
        vector::<E::Sum, _>(blended)
    };
    let statistic = |of: &dyn Fn(&cpu::Moments) -> f64| {
        vector::<E::Sum, _>(moments.iter().map(|moments| E::Sum::from_f64(of(moments))))
    };
    Normalized {
        output: CpuTensor::<E>::from_values(output, shape, order),
        mean: statistic(&|moments| moments.mean),
        inverse_std: statistic(&|moments| cpu::inverse_std(*moments, options.epsilon)),
        running_mean: blend(running_mean, &|moments| moments.mean),
        running_var: blend(running_var, &|moments| moments.variance * correction),
    }
}

/// [`crate::ops::BatchNormOps::normalize_backward`].
pub fn normalize_backward<B: Backend, E: Storage>(
    input: FloatTensor<B>,
    [gamma, beta, mean, inverse_std]: [FloatTensor<B>; 4],
    epilogue: Epilogue<B>,
    output_grad: FloatTensor<B>,
    options: BackwardOptions,
) -> Gradients<B>
where
    FloatTensor<B>: CpuTensor<E> + CpuTensor<E::Sum>,
{
    Spec::of(&input).assert_fits(
        epilogue.residual().into_iter().chain([&output_grad]).map(Spec::of),
        [&gamma, &beta].map(Spec::of),
        [&mean, &inverse_std].map(Spec::of),
    );
    let shape = CpuTensor::<E>::dims(&input);
    let order = CpuTensor::<E>::order(&input).unwrap_or(Order::ChannelsFirst);
    let input = CpuTensor::<E>::into_order(input, order);
    let epilogue = residual_in::<B, E>(epilogue, order);
    let mut gradient = CpuTensor::<E>::into_order(output_grad, order);

    let [mean, inverse_std] = [mean, inverse_std].map(in_a_row::<E::Sum, _>);
    let inverse_stds: &[E::Sum] = inverse_std.values();
    let (sums, residual_grad) = cpu::normalize_backward::<E>(
        input.values(),
        gradient.values_mut(),
        Planes::of(&shape, order),
        &cpu::Backward {
            parameters: &parameters::<E>(gamma, beta),
            mean: mean.values(),
            inverse_std: inverse_stds,
            options,
        },
        slices(&epilogue),
    );

    let parameter = |of: &dyn Fn(&cpu::GradientSums, f64) -> f64| {
        if options.parameters {
            let channels = sums.iter().zip(inverse_stds);
            let gradients = channels.map(|(sums, &inverse_std)| of(sums, inverse_std.into()));
            Gradient::Wanted(vector::<E, _>(gradients.map(|g| E::narrow(E::Sum::from_f64(g)))))
        } else {
            Gradient::Unwanted
        }
    };
    Gradients {
        gamma: parameter(&|sums, inverse_std| sums.product * inverse_std),
        beta: parameter(&|sums, _| sums.gradient),
        input: if options.input { Gradient::Wanted(gradient) } else { Gradient::Unwanted },
        residual: match residual_grad {
            Some(values) => Gradient::Wanted(CpuTensor::<E>::from_values(values, shape, order)),
            None => Gradient::Unwanted,
        },
    }
}

/// [`crate::ops::BatchNormOps::scale_and_shift`].
pub fn scale_and_shift<B: Backend, E: Storage>(
    input: FloatTensor<B>,
    scale: FloatTensor<B>,
    shift: FloatTensor<B>,
    epilogue: Epilogue<B>,
) -> FloatTensor<B>
where
    FloatTensor<B>: CpuTensor<E>,
{
    let residual = epilogue.residual().map(Spec::of);
    Spec::of(&input).assert_fits(residual, [&scale, &shift].map(Spec::of), []);
    let shape = input.dims();
    let order = input.order().unwrap_or(Order::ChannelsFirst);
    let input = input.into_order(order);
    let epilogue = residual_in::<B, E>(epilogue, order);
    let factors = parameters::<E>(scale, shift);
    let planes = Planes::of(&shape, order);
    let output = cpu::scale_and_shift::<E>(input.values(), planes, &factors, slices(&epilogue));
    CpuTensor::<E>::from_values(output, shape, order)
}

fn vector<E, T: CpuTensor<E>>(values: impl Iterator<Item = E>) -> T {
    let values: Vec<_> = values.collect();
    let shape = vec![values.len()];
    T::from_values(values, shape, Order::ChannelsFirst)
}

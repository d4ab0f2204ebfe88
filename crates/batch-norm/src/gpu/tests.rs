//! The kernels against the equations, computed in f64 with simple loops.
//!
//! The tests run on the same wgpu adapter as the other tests and share their compiled kernels.
//! Without an adapter they print a message and pass.

use burn::{
    backend::{Dispatch, DispatchDevice, ops::FloatTensorOps},
    tensor::{DType, Device, Shape, Tensor, TensorData},
};
use burn_cubecl::{
    CubeBackend, CubeDevice,
    kernel::{cast, slice},
    ops,
    tensor::CubeTensor,
};

use super::{
    launch::Pass,
    plan::{Abilities, element},
};
use crate::{
    RunningVariance,
    ops::{BackwardOptions, BatchNormOps, Epilogue, Gradient, Options},
};

const OPTIONS: Options =
    Options { epsilon: 1e-5, momentum: 0.3, running_variance: RunningVariance::Unbiased };
const ALL: BackwardOptions =
    BackwardOptions { batch_statistics: true, input: true, parameters: true, residual: true };

fn device() -> Option<CubeDevice> {
    test_devices::wgpu().map(|device| match device.as_dispatch() {
        DispatchDevice::Cube(device) => device.clone(),
        other => unreachable!("{other:?} is a wgpu device"),
    })
}

fn abilities(device: &CubeDevice) -> Abilities {
    Abilities::of(&device.client())
}

/// The memory layout of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    ChannelsFirst,
    ChannelsLast,
    /// Channels last, cut out of a tensor with more channels.
    Padded,
    /// The second half of a batch, which begins in the middle of a buffer.
    Offset,
    /// A layout that no kernel reads: the last two axes swapped.
    Transposed,
}

/// Pseudo-random numbers between -1 and 1.
fn noise(seed: u32, i: usize) -> f64 {
    let mut x = (i as u32).wrapping_mul(0x9E37_79B9) ^ seed.wrapping_mul(0x85EB_CA6B);
    x ^= x >> 16;
    x = x.wrapping_mul(0x7FEB_352D);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846C_A68B);
    x ^= x >> 16;
    f64::from(x) / f64::from(u32::MAX) * 2.0 - 1.0
}

fn noises(seed: u32, n: usize, center: f64, width: f64) -> Vec<f32> {
    (0..n).map(|i| (center + width * noise(seed, i)) as f32).collect()
}

/// A tensor `[batch, channels, ...]` with the values in the order of that shape.
fn tensor(values: &[f32], shape: &[usize], order: Order, device: &CubeDevice) -> CubeTensor {
    let contiguous = |values: Vec<f32>, shape: Vec<usize>| {
        CubeBackend::float_from_data(TensorData::new(values, shape), device)
    };
    let rank = shape.len();
    let (n, c) = (shape[0], shape[1]);
    let s = shape[2..].iter().product::<usize>();
    let channels_last = |padded: usize| {
        let mut last = vec![f32::NAN; n * s * padded];
        for (i, &value) in values.iter().enumerate() {
            let (sample, channel, position) = (i / (c * s), i / s % c, i % s);
            last[(sample * s + position) * padded + channel] = value;
        }
        let mut shape = [&shape[..1], &shape[2..]].concat();
        shape.push(padded);
        ops::permute_nhwc_to_nchw(contiguous(last, shape))
    };
    match order {
        Order::ChannelsFirst => contiguous(values.to_vec(), shape.to_vec()),
        Order::ChannelsLast => channels_last(c),
        Order::Padded => {
            let mut tensor = channels_last(c.next_multiple_of(8));
            tensor.meta.shape = Shape::from(shape.to_vec());
            tensor
        }
        Order::Offset => {
            let whole = [vec![f32::NAN; values.len()], values.to_vec()].concat();
            let whole = contiguous(whole, [&[2 * n], &shape[1..]].concat());
            let mut ranges = shape.iter().map(|&size| 0..size).collect::<Vec<_>>();
            ranges[0] = n..2 * n;
            let half = slice(whole, &ranges);
            assert_ne!(half.handle.offset_start.unwrap_or(0), 0, "the slice is not a copy");
            half
        }
        Order::Transposed => {
            let mut axes = (0..rank).collect::<Vec<_>>();
            axes.swap(rank - 2, rank - 1);
            let swapped = axes.iter().map(|&axis| shape[axis]).collect::<Vec<_>>();
            let (h, w) = (shape[rank - 2], shape[rank - 1]);
            let mut moved = values.to_vec();
            for (from, to) in values.chunks(h * w).zip(moved.chunks_mut(h * w)) {
                for (i, &value) in from.iter().enumerate() {
                    to[i % w * h + i / w] = value;
                }
            }
            ops::permute(contiguous(moved, swapped), &axes)
        }
    }
}

fn per_channel(values: &[f32], device: &CubeDevice) -> CubeTensor {
    CubeBackend::float_from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

fn values(tensor: CubeTensor) -> Vec<f32> {
    ops::into_data_sync(tensor).try_to_vec::<f32>().unwrap()
}

fn wanted(gradient: Gradient<CubeBackend>) -> Vec<f32> {
    match gradient {
        Gradient::Wanted(tensor) => values(tensor),
        Gradient::Unwanted => panic!("the gradient is missing"),
    }
}

#[track_caller]
fn assert_close(actual: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: length");
    for (i, (&actual, &expected)) in actual.iter().zip(expected).enumerate() {
        let distance = (f64::from(actual) - expected).abs();
        assert!(
            distance <= tolerance * (1.0 + expected.abs()),
            "{what}[{i}]: {actual} instead of {expected}"
        );
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum After {
    Identity,
    Relu,
    AddRelu,
}

/// A layer with its input and the gradient of its output.
struct Case {
    shape: Vec<usize>,
    x: Vec<f32>,
    residual: Vec<f32>,
    dy: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    running_mean: Vec<f32>,
    running_var: Vec<f32>,
    after: After,
}

/// The results of the kernels, in f32, or the expected ones, in f64.
#[derive(Clone, Debug, PartialEq)]
struct Results<T> {
    y: Vec<T>,
    mean: Vec<T>,
    inverse_std: Vec<T>,
    running_mean: Vec<T>,
    running_var: Vec<T>,
    dx: Vec<T>,
    dgamma: Vec<T>,
    dbeta: Vec<T>,
    dresidual: Option<Vec<T>>,
}

impl Case {
    fn new(shape: &[usize], after: After) -> Self {
        let values = shape.iter().product::<usize>();
        let channels = shape[1];
        Self {
            shape: shape.to_vec(),
            x: noises(1, values, 0.7, 3.0),
            residual: noises(2, values, 0.1, 1.0),
            dy: noises(3, values, 0.2, 1.0),
            gamma: noises(4, channels, 0.9, 0.5),
            beta: noises(5, channels, 0.0, 0.5),
            running_mean: noises(6, channels, 0.0, 1.0),
            running_var: noises(7, channels, 1.0, 0.5),
            after,
        }
    }

    fn epilogue(&self, order: Order, device: &CubeDevice) -> Epilogue<CubeBackend> {
        match self.after {
            After::Identity => Epilogue::Identity,
            After::Relu => Epilogue::Relu,
            After::AddRelu => Epilogue::AddRelu(tensor(&self.residual, &self.shape, order, device)),
        }
    }

    /// Runs the kernels. The residual has the layout `residual_order`, all others have `order`.
    fn run(
        &self,
        order: Order,
        residual_order: Order,
        abilities: Abilities,
        device: &CubeDevice,
    ) -> Results<f32> {
        let full = |values: &[f32]| tensor(values, &self.shape, order, device);
        let channel = |values: &[f32]| per_channel(values, device);
        let epilogue = || self.epilogue(residual_order, device);
        let forward = Pass::with_abilities(full(&self.x), None, epilogue(), abilities).normalize(
            channel(&self.gamma),
            channel(&self.beta),
            [channel(&self.running_mean), channel(&self.running_var)],
            OPTIONS,
        );
        let backward =
            Pass::with_abilities(full(&self.x), Some(full(&self.dy)), epilogue(), abilities)
                .backward(
                    [
                        channel(&self.gamma),
                        channel(&self.beta),
                        forward.mean.clone(),
                        forward.inverse_std.clone(),
                    ],
                    ALL,
                );
        Results {
            y: values(forward.output),
            mean: values(forward.mean),
            inverse_std: values(forward.inverse_std),
            running_mean: values(forward.running_mean),
            running_var: values(forward.running_var),
            dx: wanted(backward.input),
            dgamma: wanted(backward.gamma),
            dbeta: wanted(backward.beta),
            dresidual: match backward.residual {
                Gradient::Wanted(tensor) => Some(values(tensor)),
                Gradient::Unwanted => None,
            },
        }
    }

    /// Computes the equations.
    fn expected(&self) -> Results<f64> {
        let (n, c) = (self.shape[0], self.shape[1]);
        let s = self.shape[2..].iter().product::<usize>();
        let count = (n * s) as f64;
        let mut results = Results {
            y: vec![0.0; self.x.len()],
            mean: vec![],
            inverse_std: vec![],
            running_mean: vec![],
            running_var: vec![],
            dx: vec![0.0; self.x.len()],
            dgamma: vec![],
            dbeta: vec![],
            dresidual: (self.after == After::AddRelu).then(|| vec![0.0; self.x.len()]),
        };
        for channel in 0..c {
            let members = (0..n)
                .flat_map(|sample| (0..s).map(move |i| (sample * c + channel) * s + i))
                .collect::<Vec<_>>();
            let x = |i: usize| f64::from(self.x[i]);
            let mean = members.iter().map(|&i| x(i)).sum::<f64>() / count;
            let var = members.iter().map(|&i| (x(i) - mean).powi(2)).sum::<f64>() / count;
            let inverse_std = 1.0 / (var + OPTIONS.epsilon).sqrt();
            let gamma = f64::from(self.gamma[channel]);
            let beta = f64::from(self.beta[channel]);
            let x_hat = |i: usize| (x(i) - mean) * inverse_std;
            let before = |i: usize| match self.after {
                After::AddRelu => gamma * x_hat(i) + beta + f64::from(self.residual[i]),
                _ => gamma * x_hat(i) + beta,
            };
            let passes = |i: usize| self.after == After::Identity || before(i) > 0.0;
            let g = |i: usize| if passes(i) { f64::from(self.dy[i]) } else { 0.0 };
            let sum_g = members.iter().map(|&i| g(i)).sum::<f64>();
            let sum_gx = members.iter().map(|&i| g(i) * x_hat(i)).sum::<f64>();
            for &i in &members {
                results.y[i] = if passes(i) { before(i) } else { 0.0 };
                results.dx[i] =
                    gamma * inverse_std * (g(i) - sum_g / count - x_hat(i) * sum_gx / count);
                if let Some(dresidual) = &mut results.dresidual {
                    dresidual[i] = g(i);
                }
            }
            let blend = |old: f32, new: f64| {
                f64::from(old) * (1.0 - OPTIONS.momentum) + new * OPTIONS.momentum
            };
            let unbiased = var * count / (count - 1.0);
            results.mean.push(mean);
            results.inverse_std.push(inverse_std);
            results.running_mean.push(blend(self.running_mean[channel], mean));
            results.running_var.push(blend(self.running_var[channel], unbiased));
            results.dgamma.push(sum_gx);
            results.dbeta.push(sum_g);
        }
        results
    }

    /// Runs the kernels and compares all that they return.
    #[track_caller]
    fn check(
        &self,
        order: Order,
        residual_order: Order,
        abilities: Abilities,
        device: &CubeDevice,
    ) {
        let what = format!("{:?} {order:?} {:?}", self.shape, self.after);
        let actual = self.run(order, residual_order, abilities, device);
        let expected = self.expected();
        let sums = 2e-5 * (self.x.len() as f64 / self.shape[1] as f64).sqrt();
        for (actual, expected, tolerance, name) in [
            (&actual.mean, &expected.mean, 1e-5, "mean"),
            (&actual.inverse_std, &expected.inverse_std, 1e-5, "inverse_std"),
            (&actual.running_mean, &expected.running_mean, 1e-5, "running_mean"),
            (&actual.running_var, &expected.running_var, 1e-5, "running_var"),
            (&actual.y, &expected.y, 2e-5, "y"),
            (&actual.dgamma, &expected.dgamma, sums, "gamma's gradient"),
            (&actual.dbeta, &expected.dbeta, sums, "beta's gradient"),
            (&actual.dx, &expected.dx, 5e-5, "x's gradient"),
        ] {
            assert_close(actual, expected, tolerance, &format!("{what}: {name}"));
        }
        match (&actual.dresidual, &expected.dresidual) {
            (Some(actual), Some(expected)) => {
                assert_close(actual, expected, 1e-6, &format!("{what}: residual's gradient"));
            }
            (None, None) => {}
            _ => panic!("{what}: a residual's gradient is missing, or there is no residual"),
        }
    }
}

/// Every layout and vector width, channels that fit into shared memory.
#[test]
fn at_once() {
    let Some(device) = device() else { return };
    let abilities = abilities(&device);
    for (shape, order, after) in [
        (&[4, 3, 8, 8][..], Order::ChannelsFirst, After::AddRelu), // four lanes
        (&[3, 5, 7, 7], Order::ChannelsFirst, After::Relu),        // one lane
        (&[5, 1, 3, 2], Order::ChannelsFirst, After::Identity),    // one channel
        (&[2, 8, 3, 3], Order::ChannelsLast, After::AddRelu),
        (&[4, 6, 5, 5], Order::ChannelsLast, After::Identity), // two lanes
        (&[3, 7, 3, 3], Order::Padded, After::Relu),
        (&[31, 10], Order::ChannelsFirst, After::Relu),
        (&[2, 1], Order::ChannelsFirst, After::Identity),
        (&[2, 3, 2, 5], Order::Transposed, After::AddRelu),
        (&[3, 4, 8, 8], Order::Offset, After::AddRelu),
        (&[2, 3, 2, 2, 3], Order::ChannelsFirst, After::Relu),
    ] {
        Case::new(shape, after).check(order, order, abilities, &device);
    }
}

/// The same without shared memory to keep a channel in, and with small cubes, so that each channel
/// has several.
#[test]
fn split() {
    let Some(device) = device() else { return };
    let abilities = Abilities { shared_memory: 0, units: 16, ..abilities(&device) };
    for (shape, order, after) in [
        (&[5, 3, 12, 12][..], Order::ChannelsFirst, After::AddRelu),
        (&[3, 2, 13, 13], Order::ChannelsFirst, After::Relu),
        (&[5, 1, 16, 16], Order::ChannelsFirst, After::Identity),
        (&[3, 8, 6, 7], Order::ChannelsLast, After::AddRelu),
        (&[5, 6, 5, 5], Order::ChannelsLast, After::Identity),
        (&[5, 7, 5, 5], Order::Padded, After::Relu),
        (&[301, 10], Order::ChannelsFirst, After::Relu),
        (&[2, 37], Order::ChannelsFirst, After::Identity),
    ] {
        Case::new(shape, after).check(order, order, abilities, &device);
    }
}

/// A residual and a gradient with other layouts than the input are converted to its layout.
#[test]
fn mixed_layouts() {
    let Some(device) = device() else { return };
    let abilities = abilities(&device);
    let case = Case::new(&[3, 4, 5, 5], After::AddRelu);
    for (order, residual_order) in [
        (Order::ChannelsFirst, Order::ChannelsLast),
        (Order::ChannelsLast, Order::ChannelsFirst),
        (Order::Padded, Order::ChannelsLast),
        (Order::Transposed, Order::ChannelsLast),
    ] {
        case.check(order, residual_order, abilities, &device);
    }
}

/// Sums within planes agree with the equations too. CubeCL reports no planes for software adapters;
/// if the size of their planes is known, they work nevertheless.
#[test]
fn planes() {
    let Some(device) = device() else { return };
    let hardware = device.client().properties().hardware.clone();
    let plane = hardware.plane_size_max;
    if hardware.plane_size_min != plane {
        return;
    }
    for plane in [0, plane] {
        let abilities = Abilities { plane, ..abilities(&device) };
        for order in [Order::ChannelsFirst, Order::ChannelsLast] {
            let case = Case::new(&[4, 4, 16, 16], After::Relu);
            case.check(order, order, abilities, &device);
            let split = Abilities { shared_memory: 0, units: 64, ..abilities };
            case.check(order, order, split, &device);
        }
    }
}

/// The bindings that WebGPU guarantees are enough: where a kernel needs more, other kernels run.
#[test]
fn few_bindings() {
    let Some(device) = device() else { return };
    let abilities = Abilities { bindings: 7, ..abilities(&device) };
    for after in [After::Relu, After::AddRelu] {
        let order = Order::ChannelsFirst;
        Case::new(&[4, 3, 8, 8], after).check(order, order, abilities, &device);
    }
}

/// Every sum has a fixed order.
#[test]
fn repeats_to_the_last_bit() {
    let Some(device) = device() else { return };
    for shared_memory in [0, 32 << 10] {
        let abilities = Abilities { shared_memory, units: 16, ..abilities(&device) };
        for order in [Order::ChannelsFirst, Order::ChannelsLast] {
            let case = Case::new(&[5, 4, 9, 9], After::AddRelu);
            let first = case.run(order, order, abilities, &device);
            for _ in 0..3 {
                assert_eq!(case.run(order, order, abilities, &device), first);
            }
        }
    }
}

/// Values far from zero and close together, which sums of squares in f32 cannot distinguish.
#[test]
fn variance_around_ten_thousand() {
    let Some(device) = device() else { return };
    for shared_memory in [0, 32 << 10] {
        for order in [Order::ChannelsFirst, Order::ChannelsLast] {
            let abilities = Abilities { shared_memory, ..abilities(&device) };
            let mut case = Case::new(&[8, 2, 16, 16], After::Identity);
            // Uniform on an interval of half width sqrt(3): variance 1. The first value is far
            // away.
            case.x = noises(8, case.x.len(), 1e4, 3f64.sqrt());
            case.x[0] = 0.0;
            case.x[256] = 1e4;
            let actual = case.run(order, order, abilities, &device);
            let expected = case.expected();
            for channel in 0..2 {
                let ratio = f64::from(actual.inverse_std[channel]) / expected.inverse_std[channel];
                assert!((ratio - 1.0).abs() < 5e-4, "{order:?} {channel}: {ratio}");
            }
            assert_close(&actual.mean, &expected.mean, 1e-6, "mean");
            assert_close(&actual.y, &expected.y, 2e-3, "y");
        }
    }
}

/// As many values per channel as a batch of 32 images of 256 x 256 has.
#[test]
fn two_million_values_per_channel() {
    let Some(device) = device() else { return };
    let x = noises(9, 1 << 21, -3.0, 0.5);
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / x.len() as f64;
    let var = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / x.len() as f64;
    let x = tensor(&x, &[32, 1, 256, 256], Order::ChannelsFirst, &device);
    let one = || per_channel(&[1.0], &device);
    let zero = || per_channel(&[0.0], &device);
    let options = Options { momentum: 1.0, ..OPTIONS };
    let result = Pass::with_abilities(x, None, Epilogue::Identity, abilities(&device)).normalize(
        one(),
        zero(),
        [zero(), one()],
        options,
    );
    assert_close(&values(result.running_mean), &[mean], 1e-6, "mean");
    assert_close(&values(result.running_var), &[var], 1e-6, "variance");
}

/// A channel with NaN or infinity does not change the others.
#[test]
fn not_a_number_stays_in_its_channel() {
    let Some(device) = device() else { return };
    for shared_memory in [0, 32 << 10] {
        for order in [Order::ChannelsFirst, Order::ChannelsLast] {
            let abilities = Abilities { shared_memory, ..abilities(&device) };
            let mut case = Case::new(&[4, 4, 4, 4], After::Relu);
            let whole = case.run(order, order, abilities, &device);
            case.x[5 * 16] = f32::INFINITY;
            case.x[6 * 16] = f32::NAN;
            let broken = case.run(order, order, abilities, &device);
            for (i, (whole, broken)) in whole.y.iter().zip(&broken.y).enumerate() {
                match i / 16 % 4 {
                    0 | 3 => assert_eq!(whole.to_bits(), broken.to_bits(), "{order:?} {i}"),
                    2 => assert!(broken.is_nan(), "{order:?} {i}: {broken}"),
                    _ => {}
                }
            }
            for channel in [0, 3] {
                assert_eq!(whole.mean[channel], broken.mean[channel]);
                assert_eq!(whole.running_var[channel], broken.running_var[channel]);
                assert_eq!(whole.dgamma[channel], broken.dgamma[channel]);
            }
            assert!(broken.running_var[2].is_nan(), "{order:?}");
        }
    }
}

/// Many channels with few values each; in the last shape more than fit in one dimension of a grid.
#[test]
fn many_channels() {
    let Some(device) = device() else { return };
    for shared_memory in [0, 32 << 10] {
        let abilities = Abilities { shared_memory, ..abilities(&device) };
        for shape in [&[2, 2048][..], &[2, 2048, 1, 1], &[3, 2048, 2, 2], &[2, 66_000, 2]] {
            let mut case = Case::new(shape, After::Relu);
            // Two values that are nearly equal would magnify all errors.
            for (i, x) in case.x.iter_mut().enumerate() {
                *x += [-4.0, 4.0, 0.0][i / (shape[1..].iter().product::<usize>())];
            }
            case.check(Order::ChannelsFirst, Order::ChannelsFirst, abilities, &device);
        }
    }
}

/// Only the wanted gradients, whichever kernels they need; with the batch's statistics or
/// constants.
#[test]
fn every_choice_of_gradients() {
    let Some(device) = device() else { return };
    let case = Case::new(&[4, 3, 4, 4], After::AddRelu);
    let all = case.expected();
    let dresidual = all.dresidual.as_ref().expect("there is a residual");
    let order = Order::ChannelsFirst;
    let full = |values: &[f32]| tensor(values, &case.shape, order, &device);
    let channel = |values: &[f32]| per_channel(values, &device);
    let f32s = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<_>>();
    for choice in 0..32 {
        let bit = |i: u32| choice >> i & 1 == 1;
        let shared_memory = if bit(4) { 32 << 10 } else { 0 };
        let abilities = Abilities { shared_memory, ..abilities(&device) };
        let options = BackwardOptions {
            batch_statistics: bit(0),
            input: bit(1),
            parameters: bit(2),
            residual: bit(3),
        };
        if !(options.input || options.parameters || options.residual) {
            continue;
        }
        let epilogue = case.epilogue(order, &device);
        let gradients =
            Pass::with_abilities(full(&case.x), Some(full(&case.dy)), epilogue, abilities)
                .backward(
                    [
                        channel(&case.gamma),
                        channel(&case.beta),
                        channel(&f32s(&all.mean)),
                        channel(&f32s(&all.inverse_std)),
                    ],
                    options,
                );
        let dx_of_constants = (0..case.x.len())
            .map(|i| f64::from(case.gamma[i / 16 % 3]) * all.inverse_std[i / 16 % 3] * dresidual[i])
            .collect::<Vec<_>>();
        let dx = if options.batch_statistics { &all.dx } else { &dx_of_constants };
        for (gradient, asked, expected, name) in [
            (gradients.input, options.input, dx, "x"),
            (gradients.gamma, options.parameters, &all.dgamma, "gamma"),
            (gradients.beta, options.parameters, &all.dbeta, "beta"),
            (gradients.residual, options.residual, dresidual, "the residual"),
        ] {
            match gradient {
                Gradient::Wanted(gradient) => {
                    assert!(asked, "{options:?}: {name}");
                    let what = format!("{options:?}: {name}");
                    assert_close(&values(gradient), expected, 5e-5, &what);
                }
                Gradient::Unwanted => assert!(!asked, "{options:?}: {name}"),
            }
        }
    }
}

/// Prediction, in every layout, in place where possible.
#[test]
fn prediction() {
    let Some(device) = device() else { return };
    for (shape, order) in [
        (&[3, 4, 4, 4][..], Order::ChannelsFirst),
        (&[3, 8, 3, 3], Order::ChannelsLast),
        (&[3, 7, 3, 3], Order::Padded),
        (&[1, 5], Order::ChannelsFirst),
        (&[2, 3, 5, 1], Order::ChannelsFirst),
    ] {
        for after in [After::Identity, After::Relu, After::AddRelu] {
            for alone in [true, false] {
                let case = Case::new(shape, after);
                let x = tensor(&case.x, shape, order, &device);
                let copy = (!alone).then(|| x.clone());
                let epilogue = case.epilogue(order, &device);
                let y = Pass::with_abilities(x, None, epilogue, abilities(&device))
                    .scale_and_shift(
                        per_channel(&case.gamma, &device),
                        per_channel(&case.beta, &device),
                    );
                let positions = shape[2..].iter().product::<usize>();
                let expected = (0..case.x.len())
                    .map(|i| {
                        let channel = i / positions % shape[1];
                        let y = f64::from(case.gamma[channel]) * f64::from(case.x[i])
                            + f64::from(case.beta[channel]);
                        match after {
                            After::Identity => y,
                            After::Relu => y.max(0.0),
                            After::AddRelu => (y + f64::from(case.residual[i])).max(0.0),
                        }
                    })
                    .collect::<Vec<_>>();
                assert_close(
                    &values(y),
                    &expected,
                    1e-6,
                    &format!("{shape:?} {order:?} {after:?}"),
                );
                if let Some(copy) = copy {
                    assert_eq!(values(copy), case.x, "an input with another owner is unchanged");
                }
            }
        }
    }
}

/// The output has the memory layout of the input.
#[test]
fn output_keeps_the_layout() {
    let Some(device) = device() else { return };
    let case = Case::new(&[2, 5, 3, 3], After::Relu);
    for order in [Order::ChannelsFirst, Order::ChannelsLast, Order::Padded] {
        let x = tensor(&case.x, &case.shape, order, &device);
        let strides = x.meta.strides().clone();
        let channel = |values: &[f32]| per_channel(values, &device);
        let result = Pass::with_abilities(x, None, Epilogue::Relu, abilities(&device)).normalize(
            channel(&case.gamma),
            channel(&case.beta),
            [channel(&case.running_mean), channel(&case.running_var)],
            OPTIONS,
        );
        assert_eq!(*result.output.meta.strides(), strides, "{order:?}");
    }
}

/// Half precision is for storage; the arithmetic is in f32.
#[test]
fn half_precision() {
    let Some(device) = device() else { return };
    if !device.client().properties().features.supports_type(element(DType::F16)) {
        return;
    }
    let case = Case::new(&[4, 6, 6, 6], After::AddRelu);
    let expected = case.expected();
    let half = |tensor: CubeTensor| cast(tensor, DType::F16);
    for shared_memory in [0, 32 << 10] {
        for order in [Order::ChannelsFirst, Order::ChannelsLast] {
            let abilities = Abilities { shared_memory, ..abilities(&device) };
            let full = |values: &[f32]| half(tensor(values, &case.shape, order, &device));
            let channel = |values: &[f32]| half(per_channel(values, &device));
            let epilogue = || Epilogue::AddRelu(full(&case.residual));
            let forward = Pass::with_abilities(full(&case.x), None, epilogue(), abilities)
                .normalize(
                    channel(&case.gamma),
                    channel(&case.beta),
                    [&case.running_mean, &case.running_var].map(|it| per_channel(it, &device)),
                    OPTIONS,
                );
            assert_eq!(forward.output.dtype, DType::F16);
            assert_eq!(forward.mean.dtype, DType::F32);
            assert_eq!(forward.running_var.dtype, DType::F32);
            let backward =
                Pass::with_abilities(full(&case.x), Some(full(&case.dy)), epilogue(), abilities)
                    .backward(
                        [
                            channel(&case.gamma),
                            channel(&case.beta),
                            forward.mean,
                            forward.inverse_std,
                        ],
                        ALL,
                    );
            let single = |tensor: CubeTensor| values(cast(tensor, DType::F32));
            assert_close(&single(forward.output), &expected.y, 5e-3, "y");
            assert_close(&values(forward.running_var), &expected.running_var, 2e-3, "variance");
            let Gradient::Wanted(dgamma) = backward.gamma else { panic!("missing") };
            assert_eq!(dgamma.dtype, DType::F16);
            assert_close(&single(dgamma), &expected.dgamma, 0.1, "dgamma");
        }
    }
}

/// The same adapter under two names is two devices, which do not share memory.
#[test]
fn tensors_of_two_devices_are_refused() {
    let Some(device) = device() else { return };
    let other = CubeDevice::Wgpu(Default::default());
    assert_ne!(device, other);
    let x = tensor(&[1.0; 6], &[2, 3], Order::ChannelsFirst, &device);
    let factor = |device| per_channel(&[1.0; 3], device);
    let (scale, shift) = (factor(&device), factor(&other));
    let predict = move || Pass::new(x, None, Epilogue::Identity).scale_and_shift(scale, shift);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(predict)).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("batch norm needs all tensors on one device"), "{message}");
}

/// As in a program: lazily, through the dispatch backend.
#[test]
fn through_dispatch() {
    let Some(device) = test_devices::wgpu() else { return };
    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_to_vec().unwrap()
    }
    let case = Case::new(&[4, 3, 5, 5], After::AddRelu);
    let full = |values: &[f32], device: &Device| {
        Tensor::<4>::from_data(TensorData::new(values.to_vec(), [4, 3, 5, 5]), device)
    };
    let channel = |values: &[f32]| {
        Tensor::<1>::from_data(TensorData::new(values.to_vec(), [3]), &device).into_dispatch()
    };
    // The lazy operations around the kernels determine the layout.
    let last = |values: &[f32]| {
        (full(values, &device).permute([0, 2, 3, 1]) * 2.0).permute([0, 3, 1, 2]) * 0.5
    };
    let expected = case.expected();
    for lay in [&|values: &[f32]| full(values, &device), &last as &dyn Fn(&[f32]) -> Tensor<4>] {
        let epilogue = || Epilogue::AddRelu(lay(&case.residual).into_dispatch());
        let forward = Dispatch::normalize(
            lay(&case.x).into_dispatch(),
            channel(&case.gamma),
            channel(&case.beta),
            channel(&case.running_mean),
            channel(&case.running_var),
            epilogue(),
            OPTIONS,
        );
        let backward = Dispatch::normalize_backward(
            lay(&case.x).into_dispatch(),
            channel(&case.gamma),
            channel(&case.beta),
            forward.mean,
            forward.inverse_std,
            epilogue(),
            lay(&case.dy).into_dispatch(),
            ALL,
        );
        let y = values(Tensor::<4>::from_dispatch(forward.output) + 1.0);
        let y_and_one = expected.y.iter().map(|y| y + 1.0).collect::<Vec<_>>();
        assert_close(&y, &y_and_one, 2e-5, "y + 1");
        let running = values(Tensor::<1>::from_dispatch(forward.running_var));
        assert_close(&running, &expected.running_var, 1e-5, "running variance");
        let Gradient::Wanted(dx) = backward.input else { panic!("missing") };
        assert_close(&values(Tensor::<4>::from_dispatch(dx)), &expected.dx, 5e-5, "dx");
        let Gradient::Wanted(dgamma) = backward.gamma else { panic!("missing") };
        let dgamma = values(Tensor::<1>::from_dispatch(dgamma));
        assert_close(&dgamma, &expected.dgamma, 1e-4, "dgamma");

        let predicted = Dispatch::scale_and_shift(
            lay(&case.x).into_dispatch(),
            channel(&case.gamma),
            channel(&case.beta),
            Epilogue::Identity,
        );
        let predicted = values(Tensor::<4>::from_dispatch(predicted));
        let expected = (0..case.x.len())
            .map(|i| f64::from(case.gamma[i / 25 % 3] * case.x[i] + case.beta[i / 25 % 3]))
            .collect::<Vec<_>>();
        assert_close(&predicted, &expected, 1e-5, "prediction");
    }
}

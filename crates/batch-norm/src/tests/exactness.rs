//! The kernels against plain sums in f64, finite differences and Burn's own operations: every
//! shape, memory order, epilogue and device.

use burn::{
    backend::{Dispatch, DispatchTensor},
    module::{Module, Param},
    tensor::{DType, Device, Tensor, TensorData, activation::relu},
};

use crate::{
    BatchNorm, BatchNormConfig, Implementation,
    ops::{BatchNormOps, Epilogue, Options},
};

const EPSILON: f64 = 1e-5;

/// Pseudo-random numbers with a mean of 0.5 and a standard deviation of about 2.
fn noise(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f64 / (1u64 << 24) as f64
    };
    (0..count).map(|_| 0.5 + 7.0 * (uniform() + uniform() + uniform() - 1.5) / 1.5).collect()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Identity,
    Relu,
    AddRelu,
}

/// One batch: the inputs of the layer, in the order of `[batch, channels, ...]`.
struct Case {
    shape: Vec<usize>,
    input: Vec<f64>,
    residual: Vec<f64>,
    gamma: Vec<f64>,
    beta: Vec<f64>,
    output_grad: Vec<f64>,
    kind: Kind,
}

impl Case {
    fn new(shape: &[usize], kind: Kind) -> Self {
        let (count, channels) = (shape.iter().product(), shape[1]);
        // Rounded to f32, so that the device and the sums in f64 have the same values.
        let single = |values: Vec<f64>| values.into_iter().map(|v| f64::from(v as f32)).collect();
        Self {
            shape: shape.to_vec(),
            input: single(noise(count, 1)),
            residual: single(noise(count, 2)),
            gamma: single(noise(channels, 3)),
            beta: single(noise(channels, 4)),
            output_grad: single(noise(count, 5)),
            kind,
        }
    }
}

/// The results of the layer in training.
struct Outcome {
    output: Vec<f64>,
    input_grad: Vec<f64>,
    gamma_grad: Vec<f64>,
    beta_grad: Vec<f64>,
    residual_grad: Vec<f64>,
    mean: Vec<f64>,
    variance: Vec<f64>,
}

/// The equations of the crate's documentation, value by value.
fn expected(case: &Case) -> Outcome {
    let (count, channels) = (case.input.len(), case.shape[1]);
    let positions: usize = case.shape[2..].iter().product();
    let n = (count / channels) as f64;
    let channel = |index: usize| index / positions % channels;
    let per_channel = |value: &dyn Fn(usize) -> f64| {
        let mut sums = vec![0.0; channels];
        (0..count).for_each(|index| sums[channel(index)] += value(index));
        sums
    };

    let mean: Vec<_> = per_channel(&|i| case.input[i]).iter().map(|sum| sum / n).collect();
    let squares = per_channel(&|i| (case.input[i] - mean[channel(i)]).powi(2));
    let variance: Vec<_> = squares.iter().map(|sum| sum / n).collect();
    let std = |i: usize| (variance[channel(i)] + EPSILON).sqrt();
    let normalized = |i: usize| (case.input[i] - mean[channel(i)]) / std(i);
    let before_relu = |i: usize| {
        let residual = if case.kind == Kind::AddRelu { case.residual[i] } else { 0.0 };
        case.gamma[channel(i)] * normalized(i) + case.beta[channel(i)] + residual
    };
    let passes = |i: usize| case.kind == Kind::Identity || before_relu(i) > 0.0;
    let grad = |i: usize| if passes(i) { case.output_grad[i] } else { 0.0 };

    let beta_grad = per_channel(&grad);
    let gamma_grad = per_channel(&|i| grad(i) * normalized(i));
    let input_grad = |i: usize| {
        let centred = grad(i) - beta_grad[channel(i)] / n;
        let projected = normalized(i) * gamma_grad[channel(i)] / n;
        case.gamma[channel(i)] / std(i) * (centred - projected)
    };
    let output = |i: usize| if passes(i) { before_relu(i) } else { 0.0 };
    Outcome {
        output: (0..count).map(output).collect(),
        input_grad: (0..count).map(input_grad).collect(),
        residual_grad: (0..count).map(grad).collect(),
        gamma_grad,
        beta_grad,
        mean,
        variance,
    }
}

/// The memory layout of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Memory {
    RowMajor,
    ChannelsLast,
    /// Every other row of a larger tensor, with a border around.
    Sliced,
    /// The last two axes swapped.
    Transposed,
}

/// A tensor with these values and this memory layout.
fn tensor<const D: usize>(
    values: &[f64],
    shape: &[usize],
    memory: Memory,
    device: &Device,
) -> Tensor<D> {
    let dense = |values: Vec<f64>, shape: Vec<usize>| -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, shape).convert::<f32>(), device)
    };
    let row_major = || dense(values.to_vec(), shape.to_vec());
    // The same tensor with its axes in another memory order.
    let relaid = |axes: [usize; D]| {
        let host = Tensor::<D>::from_data(
            TensorData::new(values.to_vec(), shape.to_vec()).convert::<f32>(),
            &Device::flex(),
        );
        let data = host.permute(axes.map(|axis| axis as isize)).into_data();
        let mut back = [0; D];
        axes.iter().enumerate().for_each(|(place, &axis)| back[axis] = place as isize);
        Tensor::<D>::from_data(data, device).permute(back)
    };
    match memory {
        Memory::RowMajor => row_major(),
        Memory::ChannelsLast => {
            let mut axes = [0; D];
            (1..D - 1).for_each(|place| axes[place] = place + 1);
            axes[D - 1] = 1;
            relaid(axes)
        }
        Memory::Transposed => {
            let mut axes = std::array::from_fn(|axis| axis);
            axes.swap(D - 2, D - 1);
            relaid(axes)
        }
        Memory::Sliced => {
            let inner = row_major();
            let border: Tensor<D> = Tensor::full(shape.to_vec(), 1e9, device);
            let around = Tensor::cat(vec![border.clone(), inner, border.clone()], 0);
            let outer = Tensor::cat(vec![around.clone(), around], D - 1);
            let ranges: [_; D] = std::array::from_fn(|axis| match axis {
                0 => shape[0]..2 * shape[0],
                _ => 0..shape[axis],
            });
            outer.slice(ranges)
        }
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().convert::<f64>().try_into_vec().unwrap()
}

fn layer(case: &Case, implementation: Implementation, device: &Device) -> BatchNorm {
    let channels = case.shape[1];
    let parameter = |values: &[f64]| {
        let tensor: Tensor<1> = tensor(values, &[channels], Memory::RowMajor, device);
        Param::from_tensor(tensor.require_grad())
    };
    let mut layer = BatchNormConfig::new(channels)
        .with_epsilon(EPSILON)
        .with_momentum(1.0)
        .with_implementation(implementation)
        .init(device);
    layer.gamma = parameter(&case.gamma);
    layer.beta = parameter(&case.beta);
    layer
}

fn apply<const D: usize>(
    layer: &BatchNorm,
    kind: Kind,
    input: Tensor<D>,
    residual: Tensor<D>,
) -> Tensor<D> {
    match kind {
        Kind::Identity => layer.forward(input),
        Kind::Relu => layer.forward_relu(input),
        Kind::AddRelu => layer.forward_add_relu(input, residual),
    }
}

/// The results of the layer on a device with gradients. Burn's `backward` starts with a gradient of
/// ones for every value of the product, so no sum has to be compiled for each shape.
fn outcome<const D: usize>(
    case: &Case,
    memory: Memory,
    implementation: Implementation,
    device: &Device,
) -> Outcome {
    let layer = layer(case, implementation, device);
    let shape = &case.shape;
    let input = tensor::<D>(&case.input, shape, memory, device).require_grad();
    let residual = tensor::<D>(&case.residual, shape, memory, device).require_grad();
    let output = apply(&layer, case.kind, input.clone(), residual.clone());
    let weights = tensor::<D>(&case.output_grad, shape, Memory::RowMajor, device);
    let gradients = (output.clone() * weights).backward();
    Outcome {
        output: values(output),
        input_grad: values(input.grad(&gradients).unwrap()),
        gamma_grad: values(layer.gamma.val().grad(&gradients).unwrap()),
        beta_grad: values(layer.beta.val().grad(&gradients).unwrap()),
        residual_grad: residual.grad(&gradients).map(values).unwrap_or_default(),
        mean: values(layer.running_mean.value_sync()),
        variance: values(layer.running_var.value_sync()),
    }
}

/// Checks every error relative to the largest expected value, or to 0.1 if all expected values are
/// smaller, as in the gradient of two values.
fn assert_near(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.1, |largest: f64, value| largest.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs() / largest;
        assert!(error < tolerance, "{what}, number {index}: {found}, not {expected}");
    }
}

fn assert_same(what: &str, found: &Outcome, expected: &Outcome, kind: Kind, tolerance: f64) {
    for (name, found, expected) in [
        ("output", &found.output, &expected.output),
        ("dx", &found.input_grad, &expected.input_grad),
        ("dgamma", &found.gamma_grad, &expected.gamma_grad),
        ("dbeta", &found.beta_grad, &expected.beta_grad),
        ("mean", &found.mean, &expected.mean),
        ("variance", &found.variance, &expected.variance),
    ] {
        assert_near(&format!("{what}: {name}"), found, expected, tolerance);
    }
    if kind == Kind::AddRelu {
        let found = &found.residual_grad;
        assert_near(&format!("{what}: dresidual"), found, &expected.residual_grad, tolerance);
    }
}

fn check<const D: usize>(
    shape: [usize; D],
    memory: Memory,
    kind: Kind,
    name: &str,
    device: &Device,
) {
    let case = Case::new(&shape, kind);
    let found = outcome::<D>(&case, memory, Implementation::Kernel, &device.clone().autodiff());
    let what = format!("{name}, {shape:?}, {memory:?}, {kind:?}");
    // Two values may be so close to each other that the rounding of their mean matters.
    let values = case.input.len() / shape[1];
    let tolerance = if values == 2 { 1e-3 } else { 1e-5 };
    assert_same(&what, &found, &expected(&case), kind, tolerance);
}

const KINDS: [Kind; 3] = [Kind::Identity, Kind::Relu, Kind::AddRelu];

/// Odd and prime sizes, one channel, many channels, a batch of two.
#[test]
fn every_rank_is_normalized_as_in_f64() {
    for (name, device) in test_devices::all() {
        let device = &device;
        for kind in KINDS {
            check([7, 3], Memory::RowMajor, kind, name, device);
            check([5, 3, 4], Memory::RowMajor, kind, name, device);
            check([2, 3, 5, 7], Memory::RowMajor, kind, name, device);
            check([2, 3, 2, 3, 4], Memory::RowMajor, kind, name, device);
        }
        check([2, 1], Memory::RowMajor, Kind::Identity, name, device);
        check([2, 2048], Memory::RowMajor, Kind::Relu, name, device);
        check([2, 1, 3, 1], Memory::RowMajor, Kind::Identity, name, device);
        check([13, 17, 11], Memory::RowMajor, Kind::AddRelu, name, device);
    }
}

#[test]
fn every_order_in_memory_is_normalized_as_in_f64() {
    let orders = [Memory::ChannelsLast, Memory::Sliced, Memory::Transposed];
    for (name, device) in test_devices::all() {
        for memory in orders {
            for kind in KINDS {
                check([3, 5, 7, 6], memory, kind, name, &device);
            }
            check([4, 8, 6, 2], memory, Kind::AddRelu, name, &device);
        }
        check([6, 5], Memory::Sliced, Kind::Relu, name, &device);
        check([6, 5], Memory::Transposed, Kind::Relu, name, &device);
    }
}

/// Shapes that the CPU kernels traverse in different ways: long strips in one task per block of
/// channels, in parts, and with all threads on few channels; tables of several samples a row, plain,
/// and of several tiles.
#[test]
fn every_walk_on_the_cpu_is_as_in_f64() {
    for (name, device) in cpus() {
        for kind in KINDS {
            check([17, 9, 13, 11], Memory::RowMajor, kind, name, &device);
            check([65, 40, 7, 7], Memory::RowMajor, kind, name, &device);
            check([2, 3, 67, 97], Memory::RowMajor, kind, name, &device);
            check([300, 2, 6, 6], Memory::RowMajor, kind, name, &device);
            check([64, 129, 3, 3], Memory::RowMajor, kind, name, &device);
            check([270, 2200], Memory::RowMajor, kind, name, &device);
            check([40, 6, 24, 8], Memory::ChannelsLast, kind, name, &device);
            check([7, 200, 5, 5], Memory::ChannelsLast, kind, name, &device);
        }
    }
}

fn cpus() -> Vec<(&'static str, Device)> {
    test_devices::all().into_iter().filter(|(name, _)| *name != "wgpu").collect()
}

#[test]
fn one_channel_of_two_million_values_is_right() {
    for (name, device) in test_devices::all() {
        check([1, 1, 1 << 21], Memory::RowMajor, Kind::Identity, name, &device);
    }
}

/// A sum of squares would lose the variance completely: f32 does not distinguish 1e8 from 1e8 + 1.
#[test]
fn a_large_mean_leaves_the_variance() {
    for (name, device) in test_devices::all() {
        for (shape, memory) in [
            (vec![256, 3, 1, 1], Memory::RowMajor),
            (vec![64, 3, 8, 8], Memory::RowMajor),
            (vec![64, 3, 8, 8], Memory::ChannelsLast),
            (vec![2, 3, 90, 90], Memory::RowMajor),
        ] {
            let mut case = Case::new(&shape, Kind::Identity);
            case.gamma = vec![1.0; 3];
            case.beta = vec![0.0; 3];
            for value in &mut case.input {
                *value = f64::from((1e4 + (*value - 0.5) / 2.33) as f32); // of variance 1
            }
            let device = device.clone().autodiff();
            let found = outcome::<4>(&case, memory, Implementation::Kernel, &device);
            let expected = expected(&case);
            let what = format!("{name}, {shape:?}, {memory:?}");
            assert_near(&format!("{what}: mean"), &found.mean, &expected.mean, 1e-7);
            assert_near(&format!("{what}: variance"), &found.variance, &expected.variance, 1e-4);
            assert!((expected.variance[0] - 1.0).abs() < 0.5, "the variance is about 1");
            for (found, expected) in found.output.iter().zip(&expected.output) {
                // Half a unit in the last place of 1e4 is 5e-4.
                assert!((found - expected).abs() < 2e-3, "{what}: {found}, not {expected}");
            }
        }
    }
}

#[test]
fn equal_values_have_no_gradient_to_blow_up() {
    for (name, device) in test_devices::all() {
        let mut case = Case::new(&[4, 2, 3, 3], Kind::Identity);
        case.input.fill(7.5);
        let found =
            outcome::<4>(&case, Memory::RowMajor, Implementation::Kernel, &device.autodiff());
        assert_same(name, &found, &expected(&case), Kind::Identity, 1e-5);
        assert!(found.variance.iter().all(|&variance| variance == 0.0), "{name}");
    }
}

/// One channel's NaN and infinity stay in that channel: the others have the same bits as without
/// them.
#[test]
fn a_broken_channel_leaves_the_others_as_they_are() {
    for (name, device) in test_devices::all() {
        for (shape, memory) in [
            ([4, 3, 2, 5], Memory::RowMajor),
            ([4, 3, 2, 5], Memory::ChannelsLast),
            ([3, 3, 9, 9], Memory::RowMajor),
        ] {
            for broken in [f64::NAN, f64::INFINITY] {
                let device = device.clone().autodiff();
                let mut case = Case::new(&shape, Kind::Relu);
                let whole = outcome::<4>(&case, memory, Implementation::Kernel, &device);
                let positions = shape[2] * shape[3];
                case.input[positions] = broken; // the first of channel 1
                let found = outcome::<4>(&case, memory, Implementation::Kernel, &device);
                let what = format!("{name}, {shape:?}, {memory:?}, {broken}");
                assert!(!found.mean[1].is_finite(), "{what}");
                assert!(found.variance[1].is_nan(), "{what}: {}", found.variance[1]);
                for channel in [0, 2] {
                    assert_eq!(found.mean[channel], whole.mean[channel], "{what}");
                    assert_eq!(found.variance[channel], whole.variance[channel], "{what}");
                    assert_eq!(found.gamma_grad[channel], whole.gamma_grad[channel], "{what}");
                }
                for index in 0..case.input.len() {
                    if index / positions % 3 != 1 {
                        assert_eq!(found.output[index], whole.output[index], "{what}");
                        assert_eq!(found.input_grad[index], whole.input_grad[index], "{what}");
                    }
                }
            }
        }
    }
}

/// Two runs give the same bits.
#[test]
fn the_same_bits_every_time() {
    for (name, device) in test_devices::all() {
        let device = device.autodiff();
        for (shape, memory) in [
            ([33, 5, 9, 9], Memory::RowMajor),
            ([33, 5, 9, 9], Memory::ChannelsLast),
            ([9, 20, 3, 3], Memory::RowMajor),
        ] {
            let case = Case::new(&shape, Kind::AddRelu);
            let run = || outcome::<4>(&case, memory, Implementation::Kernel, &device);
            let (first, second) = (run(), run());
            assert_same(&format!("{name}, {shape:?}"), &second, &first, Kind::AddRelu, 1e-300);
        }
    }
}

/// So do runs on the CPU with another number of threads, which traverse the tensor in other ways.
#[test]
fn the_same_bits_on_any_number_of_threads() {
    for (name, device) in cpus() {
        let device = device.autodiff();
        for shape in [[40, 6, 24, 24], [16, 16, 40, 40], [64, 96, 3, 3], [9, 4, 60, 60]] {
            let case = Case::new(&shape, Kind::AddRelu);
            let on = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    outcome::<4>(&case, Memory::RowMajor, Implementation::Kernel, &device)
                })
            };
            let one = on(1);
            for threads in [2, 5, 16] {
                let what = format!("{name}, {shape:?}, {threads} threads");
                assert_same(&what, &on(threads), &one, Kind::AddRelu, 1e-300);
            }
        }
    }
}

/// The kernels against Burn's own operations in sequence, gradients included.
#[test]
fn every_epilogue_is_burns_composition() {
    for (name, device) in test_devices::all() {
        let device = device.autodiff();
        for kind in KINDS {
            let case = Case::new(&[4, 3, 6, 5], kind);
            let run =
                |implementation| outcome::<4>(&case, Memory::RowMajor, implementation, &device);
            let (found, expected) = (run(Implementation::Kernel), run(Implementation::Reference));
            assert_same(&format!("{name}, {kind:?}"), &found, &expected, kind, 1e-5);
        }
    }
}

/// Prediction, and the gradients of a frozen layer: input and residual have one, gamma and beta do
/// not.
#[test]
fn a_frozen_layer_passes_gradients_on() {
    for (name, device) in test_devices::all() {
        let device = device.autodiff();
        for (kind, memory) in KINDS
            .into_iter()
            .flat_map(|kind| [Memory::RowMajor, Memory::ChannelsLast].map(|memory| (kind, memory)))
        {
            let case = Case::new(&[4, 3, 6, 5], kind);
            let run = |implementation| {
                let trained = layer(&case, implementation, &device);
                let warm = tensor::<4>(&case.output_grad, &case.shape, memory, &device);
                trained.forward(warm * 3.0 + 1.0); // running mean and variance other than 0, 1
                trained.running_mean.value_sync();
                trained.running_var.value_sync();
                let frozen = trained.freeze();
                let input = tensor::<4>(&case.input, &case.shape, memory, &device).require_grad();
                let residual =
                    tensor::<4>(&case.residual, &case.shape, memory, &device).require_grad();
                let output = apply(&frozen, kind, input.clone(), residual.clone());
                let weights =
                    tensor::<4>(&case.output_grad, &case.shape, Memory::RowMajor, &device);
                let gradients = (output.clone() * weights).backward();
                assert!(frozen.gamma.val().grad(&gradients).is_none());
                let residual_grad = residual.grad(&gradients).map(values).unwrap_or_default();
                [values(output), values(input.grad(&gradients).unwrap()), residual_grad]
            };
            let found = run(Implementation::Kernel);
            let expected = run(Implementation::Reference);
            for (found, expected) in found.iter().zip(&expected) {
                assert_near(&format!("{name}, {kind:?}, {memory:?}"), found, expected, 1e-5);
            }
        }
    }
}

/// Constant statistics and learned parameters: only the running mean and variance are frozen.
#[test]
fn factors_have_gradients_too() {
    for (name, device) in test_devices::all() {
        let device = device.autodiff();
        let case = Case::new(&[4, 3, 6, 5], Kind::Relu);
        let leaf =
            |values: &[f64]| tensor::<1>(values, &[3], Memory::RowMajor, &device).require_grad();
        let input = tensor::<4>(&case.input, &case.shape, Memory::RowMajor, &device);
        let weights = tensor::<4>(&case.output_grad, &case.shape, Memory::RowMajor, &device);
        let run = |kernel: bool| {
            let (scale, shift) = (leaf(&case.gamma), leaf(&case.beta));
            let output: Tensor<4> = if kernel {
                Tensor::from_dispatch(Dispatch::scale_and_shift(
                    input.clone().into_dispatch(),
                    scale.clone().into_dispatch(),
                    shift.clone().into_dispatch(),
                    Epilogue::Relu,
                ))
            } else {
                let factor = |factor: &Tensor<1>| factor.clone().reshape([1, 3, 1, 1]);
                relu(input.clone() * factor(&scale) + factor(&shift))
            };
            let gradients = (output * weights.clone()).backward();
            [values(scale.grad(&gradients).unwrap()), values(shift.grad(&gradients).unwrap())]
        };
        for (found, expected) in run(true).iter().zip(&run(false)) {
            assert_near(name, found, expected, 1e-5);
        }
    }
}

#[test]
fn recomputed_activations_change_nothing() {
    for (name, device) in test_devices::all() {
        let case = Case::new(&[4, 3, 6, 5], Kind::AddRelu);
        let run = |device: &Device| {
            let layer = layer(&case, Implementation::Kernel, device);
            let leaf = |values: &[f64]| {
                tensor::<4>(values, &case.shape, Memory::RowMajor, device).require_grad()
            };
            let (input, residual) = (leaf(&case.input), leaf(&case.residual));
            // Burn recomputes products instead of keeping them.
            let output = layer.forward_add_relu(input.clone() * 2.0, residual.clone() * 3.0);
            let gradients = output.powi_scalar(2).backward();
            let gamma = layer.gamma.val().grad(&gradients).unwrap();
            let [input, residual] = [input, residual].map(|leaf| leaf.grad(&gradients).unwrap());
            [values(gamma), values(input), values(residual)]
        };
        let plain = device.autodiff();
        let found = run(&plain.clone().gradient_checkpointing());
        for (found, expected) in found.iter().zip(&run(&plain)) {
            assert_near(name, found, expected, 1e-6);
        }
    }
}

/// The kernels write into the gradient that they are given, unless it has another owner.
#[test]
fn a_shared_gradient_is_left_alone() {
    for (name, device) in test_devices::all() {
        let device = device.autodiff();
        let case = Case::new(&[4, 3, 6, 5], Kind::Identity);
        let leaf = |values: &[f64]| {
            tensor::<4>(values, &case.shape, Memory::RowMajor, &device).require_grad()
        };
        let weights = leaf(&case.output_grad).detach();
        let (input, other) = (leaf(&case.input), leaf(&case.residual));
        let layer = layer(&case, Implementation::Kernel, &device);
        let sum = layer.forward(input.clone()) + other.clone();
        let gradients = (sum * weights).backward();
        let expected = expected(&case);
        let found = values(input.grad(&gradients).unwrap());
        assert_near(&format!("{name}: dx"), &found, &expected.input_grad, 1e-5);
        let found = values(other.grad(&gradients).unwrap());
        assert_near(&format!("{name}: the other's"), &found, &case.output_grad, 1e-6);
    }
}

/// The gradient of a sum is one number in memory, expanded to the shape.
#[test]
fn a_gradient_without_memory_of_its_own_is_taken() {
    for (name, device) in test_devices::all() {
        let device = device.autodiff();
        let mut case = Case::new(&[4, 3, 6, 5], Kind::Relu);
        case.output_grad.fill(1.0);
        let input = tensor::<4>(&case.input, &case.shape, Memory::RowMajor, &device).require_grad();
        let layer = layer(&case, Implementation::Kernel, &device);
        let gradients = layer.forward_relu(input.clone()).sum().backward();
        let found = values(input.grad(&gradients).unwrap());
        assert_near(name, &found, &expected(&case).input_grad, 1e-5);
    }
}

#[test]
fn no_images_are_predicted_as_none() {
    for (name, device) in test_devices::all() {
        let layer = BatchNormConfig::new(3).init(&device);
        let output = layer.forward_relu(Tensor::<4>::zeros([0, 3, 4, 4], &device));
        assert_eq!(output.dims(), [0, 3, 4, 4], "{name}");
    }
}

/// Parameters in reverse order in memory.
#[test]
fn flipped_parameters_are_read_in_their_order() {
    for (name, device) in test_devices::all() {
        let case = Case::new(&[4, 3, 6, 5], Kind::Identity);
        let device = device.autodiff();
        let mut layer = layer(&case, Implementation::Kernel, &device);
        let backwards: Vec<_> = case.gamma.iter().rev().copied().collect();
        let gamma = tensor::<1>(&backwards, &[3], Memory::RowMajor, &device).flip([0]);
        layer.gamma = Param::from_tensor(gamma);
        let input = tensor::<4>(&case.input, &case.shape, Memory::RowMajor, &device);
        assert_near(name, &values(layer.forward(input)), &expected(&case).output, 1e-5);
    }
}

/// The gradient of every input against finite differences of a sum of the output, in f64, which
/// resolves such small steps.
#[test]
fn gradients_are_finite_differences() {
    const SHAPE: [usize; 3] = [3, 2, 5];
    const STEP: f64 = 1e-6;
    for (name, device) in cpus() {
        let device = device.autodiff();
        for kind in KINDS {
            let weights = noise(30, 5);
            let leaf = |values: &[f64], shape: Vec<usize>| -> DispatchTensor {
                let data = TensorData::new(values.to_vec(), shape.clone());
                match shape.len() {
                    1 => Tensor::<1>::from_data(data, (&device, DType::F64))
                        .require_grad()
                        .into_dispatch(),
                    _ => Tensor::<3>::from_data(data, (&device, DType::F64))
                        .require_grad()
                        .into_dispatch(),
                }
            };
            let leaves = |inputs: &[Vec<f64>; 4]| {
                let [input, residual, gamma, beta] = inputs;
                [
                    leaf(input, SHAPE.to_vec()),
                    leaf(residual, SHAPE.to_vec()),
                    leaf(gamma, vec![2]),
                    leaf(beta, vec![2]),
                ]
            };
            let output = |[input, residual, gamma, beta]: &[DispatchTensor; 4]| {
                let epilogue = match kind {
                    Kind::Identity => Epilogue::Identity,
                    Kind::Relu => Epilogue::Relu,
                    Kind::AddRelu => Epilogue::AddRelu(residual.clone()),
                };
                let average = leaf(&[0.0, 0.0], vec![2]);
                let options = Options {
                    epsilon: EPSILON,
                    momentum: 0.1,
                    running_variance: crate::RunningVariance::Biased,
                };
                let (gamma, beta) = (gamma.clone(), beta.clone());
                let average = (average.clone(), average);
                let result = Dispatch::normalize(
                    input.clone(),
                    gamma,
                    beta,
                    average.0,
                    average.1,
                    epilogue,
                    options,
                );
                Tensor::<3>::from_dispatch(result.output)
            };
            let loss = |inputs: &[Vec<f64>; 4]| -> f64 {
                values(output(&leaves(inputs))).iter().zip(&weights).map(|(y, w)| y * w).sum()
            };

            let inputs = [noise(30, 1), noise(30, 2), noise(2, 3), noise(2, 4)];
            let leaves = leaves(&inputs);
            let data = TensorData::new(weights.clone(), SHAPE);
            let weighted = output(&leaves) * Tensor::from_data(data, (&device, DType::F64));
            let gradients = weighted.backward();
            for (which, leaf) in leaves.into_iter().enumerate() {
                if which == 1 && kind != Kind::AddRelu {
                    continue;
                }
                let found = match which {
                    0 | 1 => values(Tensor::<3>::from_dispatch(leaf).grad(&gradients).unwrap()),
                    _ => values(Tensor::<1>::from_dispatch(leaf).grad(&gradients).unwrap()),
                };
                for (index, found) in found.into_iter().enumerate() {
                    let moved = |step: f64| {
                        let mut moved = inputs.clone();
                        moved[which][index] += step;
                        loss(&moved)
                    };
                    let expected = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
                    assert!(
                        (found - expected).abs() < 1e-6 * (1.0 + expected.abs()),
                        "{name}, {kind:?}, input {which}, number {index}: {found}, not {expected}"
                    );
                }
            }
        }
    }
}

/// Tensors of half precision, with sums in f32.
#[test]
fn half_precision_is_only_rounded() {
    for (name, device) in test_devices::all() {
        for (dtype, tolerance) in [(DType::F16, 2e-3), (DType::BF16, 2e-2)] {
            if !device.supports_dtype(dtype) || name == "ndarray" {
                continue;
            }
            let shape = [50, 3, 6, 6];
            let mut case = Case::new(&shape, Kind::Relu);
            let round = |value: &mut f64| {
                *value = match dtype {
                    DType::F16 => burn::tensor::f16::from_f64(*value).to_f64(),
                    _ => burn::tensor::bf16::from_f64(*value).to_f64(),
                };
            };
            // The sum of 1,800 squares of up to 150 is more than f16 holds.
            case.input.iter_mut().for_each(|value| *value *= 20.0);
            for values in [&mut case.input, &mut case.gamma, &mut case.beta] {
                values.iter_mut().for_each(round);
            }
            let tensor = |values: &[f64], shape: Vec<usize>| {
                let data = TensorData::new(values.to_vec(), shape.clone()).convert_dtype(dtype);
                match shape.len() {
                    1 => Tensor::<1>::from_data(data, (&device, dtype)).into_dispatch(),
                    _ => Tensor::<4>::from_data(data, (&device, dtype)).into_dispatch(),
                }
            };
            let options = Options {
                epsilon: EPSILON,
                momentum: 1.0,
                running_variance: crate::RunningVariance::Biased,
            };
            let result = Dispatch::normalize(
                tensor(&case.input, shape.to_vec()),
                tensor(&case.gamma, vec![3]),
                tensor(&case.beta, vec![3]),
                Tensor::<1>::zeros([3], (&device, DType::F32)).into_dispatch(),
                Tensor::<1>::zeros([3], (&device, DType::F32)).into_dispatch(),
                Epilogue::Relu,
                options,
            );
            let expected = expected(&case);
            let what = format!("{name}, {dtype:?}");
            let output: Tensor<4> = Tensor::from_dispatch(result.output);
            assert_eq!(output.dtype(), dtype, "{what}");
            assert_near(&what, &values(output), &expected.output, tolerance);
            let mean: Tensor<1> = Tensor::from_dispatch(result.mean);
            assert_near(&what, &values(mean), &expected.mean, 1e-5);
            let variance: Tensor<1> = Tensor::from_dispatch(result.running_var);
            assert_near(&what, &values(variance), &expected.variance, 1e-5);
        }
    }
}

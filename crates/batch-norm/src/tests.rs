use burn::{
    backend::Dispatch,
    module::{Module, ModuleMapper, Param},
    tensor::{DType, Device, Distribution, Tensor, TensorData, Tolerance},
};
use serde::Deserialize;

use crate::{
    BatchNorm, BatchNormConfig, Implementation, RunningVariance,
    ops::{BatchNormOps, Epilogue, Options},
};

mod exactness;

/// A case that `tests/reference.py` computed with PyTorch: two training steps and a prediction.
#[derive(Deserialize)]
struct Reference {
    shape: Vec<usize>,
    output: Vec<f64>,
    input_grad: Vec<f64>,
    gamma_grad: Vec<f64>,
    beta_grad: Vec<f64>,
    running_mean: Vec<f64>,
    running_var_unbiased: Vec<f64>,
    prediction: Vec<f64>,
}

/// The pseudo-random numbers of the script.
fn formula(count: usize, phase: f64) -> Vec<f64> {
    let index = (0..count).map(|index| index as f64);
    index.map(|index| (index * 1.7 + phase).sin() + 0.3 * (index * 0.31).cos()).collect()
}

fn tensor<const D: usize>(values: Vec<f64>, shape: &[usize], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape).convert::<f32>(), device)
}

fn assert_near<const D: usize>(what: &str, found: Tensor<D>, expected: &[f64]) {
    let found: Vec<f32> = found.into_data().convert::<f32>().try_into_vec().unwrap();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.into_iter().zip(expected) {
        let error = (f64::from(found) - expected).abs();
        assert!(error < 2e-5 * (1.0 + expected.abs()), "{what}: {found}, not {expected}");
    }
}

fn agrees_with_pytorch<const D: usize>(name: &str, reference: &Reference, device: &Device) {
    let device = device.clone().autodiff();
    let shape = &reference.shape;
    let count = shape.iter().product();
    let parameter = |values: Vec<f64>| {
        let parameter: Tensor<1> = tensor(values, &[3], &device);
        Param::from_tensor(parameter.require_grad())
    };
    let mut layer =
        BatchNormConfig::new(3).with_running_variance(RunningVariance::Unbiased).init(&device);
    layer.gamma = parameter(formula(3, 4.0).iter().map(|value| 1.0 + 0.5 * value).collect());
    layer.beta = parameter(formula(3, 5.0));

    for step in 0..2 {
        let values = formula(count, step as f64).iter().map(|value| value * 2.0 + 3.0).collect();
        let input = tensor::<D>(values, shape, &device).require_grad();
        let output = layer.forward(input.clone());
        let weights = tensor::<D>(formula(count, 6.0), shape, &device);
        let gradients = (output.clone() * weights).backward();
        if step == 1 {
            assert_near(&format!("{name}: output"), output, &reference.output);
            let gradient = input.grad(&gradients).unwrap();
            assert_near(&format!("{name}: dx"), gradient, &reference.input_grad);
            let gradient = layer.gamma.val().grad(&gradients).unwrap();
            assert_near(&format!("{name}: dgamma"), gradient, &reference.gamma_grad);
            let gradient = layer.beta.val().grad(&gradients).unwrap();
            assert_near(&format!("{name}: dbeta"), gradient, &reference.beta_grad);
        }
    }
    let mean = layer.running_mean.value_sync();
    assert_near(&format!("{name}: running mean"), mean, &reference.running_mean);
    let variance = layer.running_var.value_sync();
    assert_near(&format!("{name}: running variance"), variance, &reference.running_var_unbiased);

    let input = tensor::<D>(formula(count, 9.0), shape, &device.inner());
    let prediction = layer.valid().forward(input);
    assert_near(&format!("{name}: prediction"), prediction, &reference.prediction);
}

#[test]
fn training_gradients_and_prediction_are_pytorchs() {
    let references: Vec<Reference> =
        serde_json::from_str(include_str!("../tests/reference.json")).unwrap();
    assert_eq!(references.len(), 4);
    for (name, device) in test_devices::all() {
        for reference in &references {
            match reference.shape.len() {
                2 => agrees_with_pytorch::<2>(name, reference, &device),
                3 => agrees_with_pytorch::<3>(name, reference, &device),
                4 => agrees_with_pytorch::<4>(name, reference, &device),
                _ => agrees_with_pytorch::<5>(name, reference, &device),
            }
        }
    }
}

/// Two values of mean 2: the sum of squares is 2, the biased variance 1, the unbiased one 2.
#[test]
fn the_moving_averages_take_their_share_of_either_variance() {
    for (name, device) in test_devices::all() {
        let device = device.autodiff();
        for (kind, variance) in [(RunningVariance::Biased, 1.0), (RunningVariance::Unbiased, 2.0)] {
            let layer = BatchNormConfig::new(1)
                .with_momentum(0.25)
                .with_running_variance(kind)
                .init(&device);
            layer.forward(Tensor::<2>::from_data([[1.0], [3.0]], &device));
            // From 0 and 1, a quarter of the way to 2 and to the variance.
            assert_near(name, layer.running_mean.value_sync(), &[0.5]);
            assert_near(name, layer.running_var.value_sync(), &[0.75 + 0.25 * variance]);
        }
    }
}

#[test]
fn a_channel_of_equal_values_becomes_beta() {
    for (name, device) in test_devices::all() {
        let device = device.autodiff();
        let layer = BatchNormConfig::new(2).init(&device);
        let output = layer.forward(Tensor::<3>::full([4, 2, 3], 7.5, &device));
        assert_near(name, output, &[0.0; 24]);
    }
}

#[test]
fn a_frozen_layer_keeps_its_averages_and_predicts_with_them() {
    let device = Device::flex().autodiff();
    let layer = BatchNormConfig::new(1).init(&device).freeze();
    let output = layer.forward(Tensor::<2>::from_data([[1.0], [3.0]], &device));
    assert_near("output", output, &[1.0, 3.0]); // mean 0, variance 1
    assert_near("running mean", layer.running_mean.value_sync(), &[0.0]);
}

#[test]
fn records_are_burns_both_ways() {
    let device = Device::flex().autodiff();
    let input = || {
        device.seed(1);
        Tensor::<4>::random([4, 3, 5, 5], Distribution::Normal(1.0, 2.0), &device)
    };
    let ours = BatchNormConfig::new(3).init(&device);
    let burns = burn::nn::BatchNormConfig::new(3).init(&device);
    ours.forward(input());
    let expected = ours.valid().forward(input().inner());

    let burns = burns.load_record(ours.clone().into_record());
    let burns_output = burns.valid().forward(input().inner());
    burns_output.into_data().assert_approx_eq::<f32>(&expected.to_data(), Tolerance::default());

    let fresh: BatchNorm = BatchNormConfig::new(3).init(&device);
    let again = fresh.load_record(burns.into_record());
    let again_output = again.valid().forward(input().inner());
    again_output.into_data().assert_approx_eq::<f32>(&expected.to_data(), Tolerance::default());
}

/// The half-precision types that the device supports.
fn halves(device: &Device) -> impl Iterator<Item = DType> {
    [DType::F16, DType::BF16].into_iter().filter(|&dtype| device.supports_dtype(dtype))
}

struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| value.cast(self.0))
    }
}

/// Three hundred steps on the same batch, of mean 100 and variance 400. In half precision the
/// running mean would stop below 100 where a tenth of the distance is less than half a unit in its
/// last place: at 99.7 in f16, at 97.5 in bf16.
#[test]
fn the_running_statistics_of_half_precision_arrive() {
    for (name, device) in test_devices::all() {
        for dtype in halves(&device) {
            for implementation in [Implementation::Kernel, Implementation::Reference] {
                let what = format!("{name}, {dtype:?}, {implementation:?}");
                let device = device.clone().autodiff();
                let config = BatchNormConfig::new(1).with_implementation(implementation);
                // As after loading a record in half precision.
                let layer = config.init(&device).map(&mut Cast(dtype));
                let batch = TensorData::from([[80.0], [120.0]]).convert_dtype(dtype);
                let batch = Tensor::<2>::from_data(batch, (&device, dtype));
                for _ in 0..300 {
                    assert_eq!(layer.forward(batch.clone()).dtype(), dtype, "{what}");
                }
                let layer = layer.valid();
                assert_near(&what, layer.running_mean.value(), &[100.0]);
                assert_near(&what, layer.running_var.value(), &[400.0]);

                let prediction = layer.forward(batch.inner());
                assert_eq!(prediction.dtype(), dtype, "{what}");
                assert_near(&what, prediction, &[-1.0, 1.0]);
            }
        }
    }
}

/// Prediction loses no precision either: the variance, 2^20, is too large for f16.
#[test]
fn half_precision_is_predicted_with_statistics_beyond_it() {
    for (name, device) in test_devices::all() {
        for dtype in halves(&device) {
            let layer = BatchNormConfig::new(1).with_momentum(1.0).init(&device.clone().autodiff());
            layer
                .forward(Tensor::<2>::from_data([[-1024.0], [1024.0]], &device.clone().autodiff()));
            let layer = layer.valid();
            let data = TensorData::from([[512.0], [-1024.0]]).convert_dtype(dtype);
            let input = Tensor::<2>::from_data(data, (&device, dtype));
            let output = layer.forward_add_relu(input.clone(), input.ones_like());
            assert_near(&format!("{name}, {dtype:?}"), output, &[1.5, 0.0]);
        }
    }
}

/// Inputs of an operation with a wrong type, a wrong shape, or too many values.
mod refused {
    use super::*;

    fn run(
        input: Tensor<2>,
        parameter: impl Fn() -> Tensor<1>,
        statistic: impl Fn() -> Tensor<1>,
        epsilon: f64,
    ) -> String {
        let options = Options { epsilon, momentum: 0.1, running_variance: RunningVariance::Biased };
        let normalize = || {
            Dispatch::normalize(
                input.into_dispatch(),
                parameter().into_dispatch(),
                parameter().into_dispatch(),
                statistic().into_dispatch(),
                statistic().into_dispatch(),
                Epilogue::Relu,
                options,
            )
        };
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(normalize)).unwrap_err();
        match panic.downcast::<String>() {
            Ok(message) => *message,
            Err(panic) => (*panic.downcast::<&str>().unwrap()).to_owned(),
        }
    }

    #[test]
    fn tensors_of_other_types() {
        for (name, device) in test_devices::all() {
            let ones = |dtype| {
                let device = device.clone();
                move || Tensor::<1>::ones([3], (&device, dtype))
            };
            let input = || Tensor::<2>::ones([4, 3], &device);
            let (other, named) = match name {
                "ndarray" => (DType::F64, "F64"),
                _ => (DType::F16, "F16"),
            };
            if device.supports_dtype(other) {
                let message = run(input(), ones(other), ones(DType::F32), 1e-5);
                assert!(message.contains("batch norm of F32 needs a tensor of F32"), "{message}");
                assert!(message.contains(named), "{name}: {message}");
                let message = run(input(), ones(DType::F32), ones(other), 1e-5);
                assert!(message.contains("batch norm of F32 needs a tensor of F32"), "{message}");
            }
            let message = run(input(), ones(DType::F32), ones(DType::F32), 1e-60);
            assert!(message.contains("an epsilon above zero"), "{name}: {message}");
        }
    }

    #[test]
    fn tensors_of_other_shapes() {
        for (name, device) in test_devices::all() {
            let ones = |length| {
                let device = device.clone();
                move || Tensor::<1>::ones([length], &device)
            };
            let message = run(Tensor::ones([4, 3], &device), ones(2), ones(3), 1e-5);
            assert!(message.contains("one value per channel"), "{name}: {message}");
            let message = run(Tensor::ones([0, 3], &device), ones(3), ones(3), 1e-5);
            assert!(message.contains("batch norm needs a non-empty input"), "{name}: {message}");
        }
    }

    /// One value in memory, expanded to 33 x 256 x 513 x 513.
    #[test]
    #[cfg(feature = "wgpu")]
    fn tensors_of_more_values_than_a_gpu_counts() {
        let Some(device) = test_devices::wgpu() else { return };
        let shape = [33 * 513 * 513, 256];
        let input = || Tensor::<2>::ones([1, 1], &device).expand(shape);
        let covered = crate::ops::is_covered(&input().into_dispatch());
        assert!(!covered, "the layer uses the reference");
        let ones = || Tensor::<1>::ones([256], &device);
        let message = run(input(), ones, ones, 1e-5);
        assert!(message.contains("at most 2147483648 values, not 2223251712"), "{message}");
    }
}

fn train_on<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let device = Device::flex().autodiff();
    BatchNormConfig::new(3).init(&device).forward(Tensor::zeros(shape, &device))
}

#[test]
#[should_panic = "batch norm needs more than one value per channel in training, got input [1, 3]"]
fn a_batch_of_one_value_per_channel_is_refused_in_training() {
    train_on([1, 3]);
}

#[test]
#[should_panic = "batch norm needs more than one value per channel in training"]
fn an_empty_batch_is_refused_in_training() {
    train_on([0, 3, 4, 4]);
}

#[test]
fn a_single_image_of_several_positions_can_be_trained_on() {
    assert_eq!(train_on([1, 3, 2, 1]).dims(), [1, 3, 2, 1]);
}

#[test]
#[should_panic = "batch norm takes tensors of rank 2 to 5, not 1"]
fn a_vector_is_refused() {
    train_on([3]);
}

#[test]
#[should_panic = "expected 3, got 4"]
fn another_number_of_channels_is_refused() {
    train_on([2, 4]);
}

#[test]
#[should_panic = "an epsilon above zero"]
fn an_epsilon_that_is_no_number_is_refused() {
    BatchNormConfig::new(1).with_epsilon(f64::NAN).init(&Device::flex());
}

#[test]
#[should_panic = "batch norm of F32 needs an epsilon above zero, from 1.2e-38 to 3.4e38, not 1e-60"]
fn an_epsilon_that_is_zero_in_f32_is_refused() {
    BatchNormConfig::new(1).with_epsilon(1e-60).init(&Device::flex());
}

#[test]
#[should_panic = "not 1e-60"]
fn an_epsilon_that_became_zero_in_f32_is_refused() {
    let mut layer = BatchNormConfig::new(1).init(&Device::flex());
    layer.epsilon = 1e-60;
    layer.forward(Tensor::<2>::ones([2, 1], &Device::flex()));
}

#[test]
#[should_panic = "a momentum from 0 to 1"]
fn a_momentum_above_one_is_refused() {
    BatchNormConfig::new(1).with_momentum(1.1).init(&Device::flex());
}

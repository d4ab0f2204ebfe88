use burn::{
    module::{Module, Param},
    nn::{
        LinearConfig, LinearLayout, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{Device, Distribution, Tensor},
};

use super::{fold_into_convolution, fold_into_linear};
use crate::{BatchNorm, BatchNormConfig};

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.5, 2.0), device)
}

/// A layer after two batches, the second of which is not yet in its running mean and variance.
fn trained_norm(channels: usize, device: &Device) -> BatchNorm {
    let mut norm = BatchNormConfig::new(channels).with_momentum(0.5).init(device);
    norm.gamma = Param::from_tensor(random([channels], device));
    norm.beta = Param::from_tensor(random([channels], device));
    for _ in 0..2 {
        norm.forward(random([4, channels], device));
    }
    norm
}

fn assert_near<const D: usize>(case: &str, found: Tensor<D>, expected: Tensor<D>) {
    let difference = (found - expected.clone()).abs().max().into_scalar::<f32>();
    let size = expected.abs().max().into_scalar::<f32>();
    assert!(size > 0.1, "{case}: a case of zeros");
    assert!(difference < 1e-5 * size, "{case}: {difference} off, of {size}");
}

/// The layers are folded on every device. Their predictions are computed on the CPU, because a
/// GPU's autotune needs minutes to choose among kernels that are not under test here.
#[test]
fn a_folded_convolution_predicts_what_the_two_layers_do() {
    let cpu = Device::flex();
    for (name, device) in test_devices::all() {
        let device = device.autodiff();
        device.seed(1);
        for (bias, stride, groups) in [(true, [2, 1], 2), (false, [1, 1], 1)] {
            let case = format!("{name}, bias {bias}");
            let config = Conv2dConfig::new([4, 6], [3, 2])
                .with_bias(bias)
                .with_stride(stride)
                .with_groups(groups)
                .with_padding(PaddingConfig2d::Explicit(1, 0, 1, 2));
            let (convolution, norm) = (config.init(&device), trained_norm(6, &device));
            let input = random([2, 4, 5, 4], &cpu);

            let trained = fold_into_convolution(convolution.clone(), &norm).valid();
            let (convolution, norm) = (convolution.valid(), norm.valid());
            let predicting = fold_into_convolution(convolution.clone(), &norm);
            let (convolution, norm) = (convolution.to_device(&cpu), norm.to_device(&cpu));
            let expected = norm.forward(convolution.forward(input.clone()));
            for folded in [trained, predicting] {
                let found = folded.to_device(&cpu).forward(input.clone());
                assert_near(&case, found, expected.clone());
            }
        }
    }
}

/// As for the convolution.
#[test]
fn a_folded_linear_layer_predicts_what_the_two_layers_do() {
    let cpu = Device::flex();
    for (name, device) in test_devices::all() {
        let device = device.autodiff();
        device.seed(2);
        for (bias, layout) in [(true, LinearLayout::Row), (false, LinearLayout::Col)] {
            let case = format!("{name}, bias {bias}");
            let config = LinearConfig::new(5, 3).with_bias(bias).with_layout(layout);
            let (linear, norm) = (config.init(&device), trained_norm(3, &device));
            let input = random([4, 5], &cpu);

            let trained = fold_into_linear(linear.clone(), &norm).valid();
            let (linear, norm) = (linear.valid(), norm.valid());
            let predicting = fold_into_linear(linear.clone(), &norm);
            let (linear, norm) = (linear.to_device(&cpu), norm.to_device(&cpu));
            let expected = norm.forward(linear.forward(input.clone()));
            for folded in [trained, predicting] {
                let found = folded.to_device(&cpu).forward(input.clone());
                assert_near(&case, found, expected.clone());
            }
        }
    }
}

#[test]
fn a_record_of_a_folded_layer_loads_in_either_layout() {
    let device = Device::flex();
    for layout in [LinearLayout::Row, LinearLayout::Col] {
        let config = LinearConfig::new(5, 3).with_layout(layout);
        let norm = trained_norm(3, &device.clone().autodiff()).valid();
        let folded = fold_into_linear(config.init(&device), &norm);
        let loaded = config.init(&device).load_record(folded.clone().into_record());
        let input = random([4, 5], &device);
        assert_near("loaded", loaded.forward(input.clone()), folded.forward(input));
    }
}

#[test]
fn the_convolutions_other_settings_stay() {
    let device = Device::flex();
    let convolution = Conv2dConfig::new([4, 6], [3, 2])
        .with_bias(false)
        .with_stride([2, 1])
        .with_dilation([1, 3])
        .with_groups(2)
        .with_padding(PaddingConfig2d::Explicit(1, 0, 1, 2))
        .init(&device);
    let folded = fold_into_convolution(convolution.clone(), &BatchNormConfig::new(6).init(&device));

    let Conv2d { weight, bias, stride, kernel_size, dilation, groups, padding } = folded;
    assert_eq!(weight.dims(), convolution.weight.dims());
    assert_eq!(bias.unwrap().dims(), [6]);
    assert_eq!(stride, convolution.stride);
    assert_eq!(kernel_size, convolution.kernel_size);
    assert_eq!(dilation, convolution.dilation);
    assert_eq!(groups, convolution.groups);
    assert_eq!(padding, convolution.padding);
}

#[test]
fn a_folded_layer_trains_apart_from_what_it_was_made_of() {
    let device = Device::flex().autodiff();
    let norm = trained_norm(3, &device);
    let linear = LinearConfig::new(5, 3).with_bias(false).init(&device);

    let folded = fold_into_linear(linear.clone(), &norm);
    let gradients = folded.forward(random([4, 5], &device)).sum().backward();
    assert!(folded.weight.grad(&gradients).is_some());
    assert!(folded.bias.unwrap().grad(&gradients).is_some());
    assert!(linear.weight.grad(&gradients).is_none());
    assert!(norm.gamma.grad(&gradients).is_none());
    assert!(norm.beta.grad(&gradients).is_none());
}

/// The new parameters do not require gradients, also not after `valid` and `train`.
#[test]
fn frozen_layers_fold_into_a_frozen_one() {
    let device = Device::flex().autodiff();
    let norm = trained_norm(3, &device).freeze();
    let linear = LinearConfig::new(5, 3).with_bias(false).init(&device).freeze();

    let folded = fold_into_linear(linear.clone(), &norm);
    let input = random([4, 5], &device);
    let expected = norm.forward(linear.forward(input.clone()));
    assert_near("on a device with gradients", folded.forward(input), expected);

    for folded in [folded.clone(), folded.valid().train()] {
        assert!(!folded.weight.is_require_grad());
        assert!(!folded.bias.unwrap().is_require_grad());
    }
}

#[test]
#[should_panic = "batch norm of 4 channels can not be folded into a layer of 6 outputs"]
fn a_convolution_of_another_number_of_channels_is_refused() {
    let device = Device::flex();
    let convolution = Conv2dConfig::new([4, 6], [1, 1]).init(&device);
    fold_into_convolution(convolution, &BatchNormConfig::new(4).init(&device));
}

#[test]
#[should_panic = "batch norm of 5 channels can not be folded into a layer of 3 outputs"]
fn a_linear_layer_of_another_number_of_channels_is_refused() {
    let device = Device::flex();
    let linear = LinearConfig::new(5, 3).init(&device);
    fold_into_linear(linear, &BatchNormConfig::new(5).init(&device));
}

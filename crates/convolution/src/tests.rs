use burn::{
    module::{Module, Param},
    nn::{
        PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        pool::{AdaptiveAvgPool2dConfig, AvgPool2dConfig, MaxPool2dConfig},
    },
    tensor::{DType, Device, Gradients, Tensor, TensorData, activation::relu},
};
use serde::Deserialize;

use crate::{Kernels, sum_of_squares, weighted_sum};

/// What `tests/reference.py` computed with PyTorch.
#[derive(Deserialize)]
struct Reference {
    convolutions: Vec<Convolution>,
    pooling: Vec<Pooling>,
    sigmoid: Vec<[f64; 2]>,
}

#[derive(Debug, Deserialize)]
struct Convolution {
    shape: [usize; 4],
    out_channels: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    output_shape: [usize; 4],
    output: Vec<Option<f64>>,
    input_grad: Vec<Option<f64>>,
    weight_grad: Vec<Option<f64>>,
    bias_grad: Option<Vec<Option<f64>>>,
}

#[derive(Debug, Deserialize)]
struct Pooling {
    kind: String,
    shape: [usize; 4],
    input: String,
    kernel: Option<[usize; 2]>,
    stride: Option<[usize; 2]>,
    padding: Option<[usize; 2]>,
    ceil: Option<bool>,
    include_padding: Option<bool>,
    size: Option<[usize; 2]>,
    output_shape: [usize; 4],
    output: Vec<Option<f64>>,
    input_grad: Vec<Option<f64>>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../tests/reference.json")).unwrap()
}

const INPUT: [i64; 3] = [37, 11, 101];
const WEIGHT: [i64; 3] = [29, 7, 61];
const BIAS: [i64; 3] = [13, 3, 41];
const OUTPUT_GRAD: [i64; 3] = [53, 17, 97];

/// The pseudo-random numbers of the script.
fn formula(count: usize, [a, b, m]: [i64; 3]) -> Vec<f32> {
    (0..count as i64).map(|i| ((i * a + b) % m - m / 2) as f32 / 64.0).collect()
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn made<const D: usize>(shape: [usize; D], of: [i64; 3], device: &Device) -> Tensor<D> {
    tensor(formula(shape.iter().product(), of), shape, device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().convert::<f64>().try_into_vec().unwrap()
}

/// Checks that the errors are at most `tolerance` of the largest value.
fn assert_near<const D: usize>(what: &str, found: Tensor<D>, expected: &[f64], tolerance: f64) {
    let found = values(found);
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let near = (found - expected).abs() <= tolerance * largest;
        let nan = found.is_nan() && expected.is_nan();
        assert!(near || nan, "{what}: {found} at {index}, not {expected}, of at most {largest}");
    }
}

fn nulls(values: &[Option<f64>]) -> Vec<f64> {
    values.iter().map(|value| value.unwrap_or(f64::NAN)).collect()
}

/// The kernels of this crate, and their tolerances.
const OURS: [(Kernels, f64); 2] = [(Kernels::Winograd, 1e-4), (Kernels::Direct, 1e-5)];

/// Runs a test on every device that has kernels, with each of them.
fn everywhere(test: impl Fn(&str, &Device, Kernels, f64)) {
    for (name, device) in test_devices::cpu() {
        for (kernels, tolerance) in OURS {
            test(&format!("{name}, {kernels:?}"), &device, kernels, tolerance);
        }
    }
}

/// A layer with weights of the formula.
fn layer(config: Conv2dConfig, device: &Device) -> Conv2d {
    let mut layer = config.init(device);
    layer.weight = Param::from_tensor(made(layer.weight.dims(), WEIGHT, device).require_grad());
    layer.bias =
        layer.bias.map(|bias| Param::from_tensor(made(bias.dims(), BIAS, device).require_grad()));
    layer
}

fn grad<const D: usize>(tensor: &Tensor<D>, gradients: &Gradients) -> Tensor<D> {
    tensor.grad(gradients).expect("it has a gradient")
}

#[test]
fn convolutions_and_their_gradients_are_pytorchs() {
    let cases = reference().convolutions;
    assert_eq!(cases.len(), 14);
    everywhere(|name, device, kernels, tolerance| {
        for case in &cases {
            let device = device.clone().autodiff();
            let [height, width] = case.padding;
            let config = Conv2dConfig::new([case.shape[1], case.out_channels], case.kernel)
                .with_stride(case.stride)
                .with_padding(PaddingConfig2d::Explicit(height, width, height, width))
                .with_bias(case.bias_grad.is_some());
            let layer = layer(config, &device);
            let images = made(case.shape, INPUT, &device).require_grad();
            let output = kernels.conv2d(&layer, images.clone());
            assert_eq!(output.dims(), case.output_shape, "{name}");
            let gradient = made(case.output_shape, OUTPUT_GRAD, &device);
            let gradients = (output.clone() * gradient).backward();

            let what = |of: &str| format!("{of}, {name}, {:?}", (case.shape, case.kernel));
            let near = |of: &str, found: Tensor<1>, expected: &[Option<f64>]| {
                assert_near(&what(of), found, &nulls(expected), tolerance);
            };
            near("output", output.flatten(0, 3), &case.output);
            near("images", grad(&images, &gradients).flatten(0, 3), &case.input_grad);
            let weight = grad(&layer.weight.val(), &gradients).flatten(0, 3);
            near("weights", weight, &case.weight_grad);
            if let (Some(bias), Some(expected)) = (&layer.bias, &case.bias_grad) {
                near("bias", grad(&bias.val(), &gradients), expected);
            }
        }
    });
}

#[test]
fn poolings_and_their_gradients_are_pytorchs() {
    let cases = reference().pooling;
    assert_eq!(cases.len(), 13);
    everywhere(|name, device, kernels, _| {
        for case in &cases {
            let device = device.clone().autodiff();
            let of = if case.input == "ties" { [37, 11, 3] } else { INPUT };
            let mut images = formula(case.shape.iter().product(), of);
            if case.input == "nan" {
                images.iter_mut().skip(3).step_by(7).for_each(|value| *value = f32::NAN);
            }
            // In both memory orders.
            let [n, c, h, w] = case.shape;
            let first = tensor(images, case.shape, &device);
            let last = first.clone().permute([0, 2, 3, 1]).reshape([n * h * w * c]);
            let last = last.reshape([n, h, w, c]).permute([0, 3, 1, 2]);
            for images in [first, last] {
                let images = images.require_grad();
                let output = pool(kernels, case, images.clone());
                assert_eq!(output.dims(), case.output_shape, "{name}");
                let gradient = made(case.output_shape, OUTPUT_GRAD, &device);
                let gradients = (output.clone() * gradient).backward();
                let what = format!("{name}, {} of {:?}", case.kind, case.shape);
                assert_near(&what, output, &nulls(&case.output), 1e-6);
                let found = grad(&images, &gradients);
                assert_near(&format!("{what}: gradient"), found, &nulls(&case.input_grad), 1e-6);
            }
        }
    });
}

fn pool(kernels: Kernels, case: &Pooling, images: Tensor<4>) -> Tensor<4> {
    let padding = case.padding.unwrap_or_default();
    let padding = PaddingConfig2d::Explicit(padding[0], padding[1], padding[0], padding[1]);
    let (kernel, stride) = (case.kernel.unwrap_or_default(), case.stride.unwrap_or_default());
    let ceil = case.ceil.unwrap_or_default();
    match (case.kind.as_str(), case.size) {
        ("max", _) => {
            let config = MaxPool2dConfig::new(kernel).with_strides(stride).with_padding(padding);
            kernels.max_pool2d(&config.with_ceil_mode(ceil).init(), images)
        }
        ("average", _) => {
            let config = AvgPool2dConfig::new(kernel).with_strides(stride).with_padding(padding);
            let config = config.with_count_include_pad(case.include_padding.unwrap());
            kernels.avg_pool2d(&config.with_ceil_mode(ceil).init(), images)
        }
        (_, size) => {
            let layer = AdaptiveAvgPool2dConfig::new(size.unwrap()).init();
            kernels.adaptive_avg_pool2d(&layer, images)
        }
    }
}

#[test]
fn sigmoid_is_pytorchs_and_its_gradient_that_of_the_formula() {
    let points = reference().sigmoid;
    assert!(points.len() > 30);
    everywhere(|name, device, kernels, _| {
        let device = device.clone().autodiff();
        let x: Vec<f32> = points.iter().map(|[x, _]| *x as f32).collect();
        let x = tensor(x, [points.len()], &device).require_grad();
        let y = kernels.sigmoid(x.clone());
        let gradients = y.clone().sum().backward();
        let gradient = values(grad(&x, &gradients));
        for ((y, gradient), [x, expected]) in values(y).into_iter().zip(gradient).zip(&points) {
            assert!((y / expected - 1.0).abs() < 2e-7, "{name}: sigmoid({x}) = {y}");
            let expected = expected * (1.0 - expected);
            assert!((gradient - expected).abs() < 1e-7, "{name}: of {x}: {gradient}");
        }
    });
}

/// Images with different memory layouts: each a function of a larger tensor.
type Way = (&'static str, fn(Tensor<4>) -> Tensor<4>);

const WAYS: [Way; 6] = [
    ("row by row", |images| images),
    ("channels last", |images| images.permute([0, 3, 1, 2])),
    ("height and width swapped", |images| images.swap_dims(2, 3)),
    ("sliced", |images| images.slice([1..3, 2..8, 1..9, 3..10])),
    ("one image for all", |images| {
        let [_, channels, height, width] = images.dims();
        images.narrow(0, 1, 1).expand([5, channels, height, width])
    }),
    ("one channel for all", |images| {
        let [batch, _, height, width] = images.dims();
        images.slice([0..batch, 2..3]).expand([batch, 7, height, width])
    }),
];

/// The output of a layer, and the gradients of images, weights and bias.
fn outcome(
    kernels: Kernels,
    layer: &Conv2d,
    images: Tensor<4>,
    way: fn(Tensor<4>) -> Tensor<4>,
) -> [Tensor<1>; 4] {
    let images = images.require_grad();
    let output = kernels.conv2d(layer, way(images.clone()));
    let gradient = made(output.dims(), OUTPUT_GRAD, &images.device()).cast(output.dtype());
    let gradients = (output.clone() * gradient).backward();
    let weight = grad(&layer.weight.val(), &gradients).flatten(0, 3);
    let bias = grad(&layer.bias.as_ref().unwrap().val(), &gradients);
    [output.flatten(0, 3), grad(&images, &gradients).flatten(0, 3), weight, bias]
}

fn assert_as_burn(
    what: &str,
    (kernels, tolerance): (Kernels, f64),
    layer: &Conv2d,
    images: Tensor<4>,
    way: fn(Tensor<4>) -> Tensor<4>,
) {
    let found = outcome(kernels, layer, images.clone(), way);
    let expected = outcome(Kernels::Burn, layer, images, way);
    let parts = ["output", "images", "weights", "bias"];
    for ((part, found), expected) in parts.into_iter().zip(found).zip(expected) {
        assert_near(&format!("{what}: {part}"), found, &values(expected), tolerance);
    }
}

#[test]
fn images_that_lie_anywhere_in_memory_give_what_burn_gives() {
    everywhere(|name, device, kernels, tolerance| {
        let device = device.clone().autodiff();
        for (way, of) in WAYS {
            for (outputs, kernel, stride) in
                [(20, [3, 3], [1, 1]), (5, [3, 2], [2, 1]), (9, [1, 1], [1, 1])]
            {
                let images = made([4, 9, 10, 11], INPUT, &device);
                let [_, channels, ..] = of(images.clone()).dims();
                let config = Conv2dConfig::new([channels, outputs], kernel)
                    .with_stride(stride)
                    .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1));
                let layer = layer(config, &device);
                let what = format!("{name}, {way}, {kernel:?}");
                assert_as_burn(&what, (kernels, tolerance), &layer, images, of);
            }
        }
    });
}

/// Large enough that Winograd's algorithm is chosen, for all three passes.
#[test]
fn large_layers_give_what_burn_gives() {
    everywhere(|name, device, kernels, tolerance| {
        let device = device.clone().autodiff();
        let config = Conv2dConfig::new([64, 64], [3, 3]).with_padding(PaddingConfig2d::Same);
        let images = made([3, 64, 20, 20], INPUT, &device);
        assert_as_burn(name, (kernels, tolerance), &layer(config, &device), images, |it| it);
    });
}

#[test]
fn padding_on_unequal_sides_and_padding_to_the_same_size_are_burns() {
    everywhere(|name, device, kernels, tolerance| {
        let device = device.clone().autodiff();
        for padding in [
            PaddingConfig2d::Valid,
            PaddingConfig2d::Same,
            PaddingConfig2d::Explicit(0, 2, 1, 0),
            PaddingConfig2d::Explicit(2, 0, 0, 1),
        ] {
            for kernel in [[3, 3], [2, 4], [5, 1]] {
                let config = Conv2dConfig::new([5, 18], kernel).with_padding(padding.clone());
                let layer = layer(config, &device);
                let images = made([2, 5, 7, 8], INPUT, &device);
                let what = format!("{name}, {padding:?}, {kernel:?}");
                assert_as_burn(&what, (kernels, tolerance), &layer, images, |it| it);
            }
        }
    });
}

#[test]
fn padding_to_the_same_size_with_a_stride_keeps_a_window_per_stride() {
    everywhere(|name, device, kernels, _| {
        let config = Conv2dConfig::new([3, 4], [3, 3])
            .with_stride([2, 3])
            .with_padding(PaddingConfig2d::Same);
        let output = kernels.conv2d(&config.init(device), Tensor::ones([1, 3, 7, 8], device));
        assert_eq!(output.dims(), [1, 4, 4, 3], "{name}");
    });
}

#[test]
fn groups_dilation_and_f64_are_left_to_burn() {
    everywhere(|name, device, kernels, _| {
        let device = device.clone().autodiff();
        for config in [
            Conv2dConfig::new([6, 8], [3, 3]).with_groups(2),
            Conv2dConfig::new([6, 8], [3, 3]).with_dilation([2, 1]),
        ] {
            let layer = layer(config, &device);
            let images = made([2, 6, 7, 8], INPUT, &device);
            assert_as_burn(name, (kernels, 0.0), &layer, images, |it| it);
        }
        let mut layer = layer(Conv2dConfig::new([3, 4], [3, 3]), &device);
        layer.weight = layer.weight.map(|weight| weight.cast(DType::F64));
        layer.bias = layer.bias.map(|bias| bias.map(|bias| bias.cast(DType::F64)));
        let images = made([2, 3, 7, 8], INPUT, &device).cast(DType::F64);
        let output = kernels.conv2d(&layer, images.clone());
        assert_eq!(output.dtype(), DType::F64, "{name}");
        assert_near(name, output, &values(layer.forward(images)), 0.0);
    });
}

/// `relu(conv2d(images) + residual)`, and the gradients of all inputs.
#[test]
fn gradients_of_a_convolution_with_residual_and_relu_are_finite_differences() {
    everywhere(|name, device, kernels, _| {
        let device = device.clone().autodiff();
        let layer = layer(
            Conv2dConfig::new([3, 4], [3, 3]).with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)),
            &device,
        );
        // Images, weights, bias, residual.
        let shapes = [vec![2, 3, 5, 4], vec![4, 3, 3, 3], vec![4], vec![2, 4, 5, 4]];
        let images = made([2, 3, 5, 4], INPUT, &device).require_grad();
        let residual = made([2, 4, 5, 4], [31, 5, 89], &device).require_grad();
        let output = kernels.conv2d_add_relu(&layer, images.clone(), residual.clone());
        let factors = made([2, 4, 5, 4], OUTPUT_GRAD, &device);
        let gradients = (output * factors.clone()).backward();
        let bias = layer.bias.as_ref().unwrap().val();
        let found = [
            values(grad(&images, &gradients)),
            values(grad(&layer.weight.val(), &gradients)),
            values(grad(&bias, &gradients)),
            values(grad(&residual, &gradients)),
        ];
        let inputs = [values(images), values(layer.weight.val()), values(bias), values(residual)];
        let factors = values(factors);

        // The same in f64, by its definition.
        let loss = |inputs: &[Vec<f64>; 4]| -> f64 {
            let [images, weight, bias, residual] = inputs;
            let mut loss = 0.0;
            for (index, factor) in factors.iter().enumerate() {
                let (x, y) = (index % 4, index / 4 % 5);
                let (o, n) = (index / 20 % 4, index / 80);
                let mut sum = bias[o] + residual[index];
                for (c, ky, kx) in (0..27).map(|tap| (tap / 9, tap / 3 % 3, tap % 3)) {
                    if (1..6).contains(&(y + ky)) && (1..5).contains(&(x + kx)) {
                        let at = ((n * 3 + c) * 5 + y + ky - 1) * 4 + x + kx - 1;
                        sum += images[at] * weight[(o * 3 + c) * 9 + ky * 3 + kx];
                    }
                }
                loss += sum.max(0.0) * factor;
            }
            loss
        };
        const STEP: f64 = 1e-6;
        for (part, shape) in shapes.iter().enumerate() {
            assert_eq!(found[part].len(), shape.iter().product::<usize>());
            for index in 0..found[part].len() {
                let [above, below] = [STEP, -STEP].map(|step| {
                    let mut inputs = inputs.clone();
                    inputs[part][index] += step;
                    loss(&inputs)
                });
                let expected = (above - below) / (2.0 * STEP);
                let error = (found[part][index] - expected).abs();
                assert!(error < 1e-4, "{name}, {part}: {}, not {expected}", found[part][index]);
            }
        }
    });
}

#[test]
fn relu_and_residual_are_what_burn_makes_of_them() {
    everywhere(|name, device, kernels, tolerance| {
        let device = device.clone().autodiff();
        for bias in [false, true] {
            let config = Conv2dConfig::new([6, 18], [3, 3]).with_bias(bias);
            let layer = layer(config, &device);
            let run = |kernels: Kernels, residual: bool| {
                let images = made([3, 6, 9, 8], INPUT, &device).require_grad();
                let other = made([3, 18, 7, 6], [31, 5, 89], &device).require_grad();
                let output = if residual {
                    kernels.conv2d_add_relu(&layer, images.clone(), other.clone())
                } else {
                    kernels.conv2d_relu(&layer, images.clone())
                };
                let gradient = made(output.dims(), OUTPUT_GRAD, &device);
                let gradients = (output.clone() * gradient).backward();
                let other = residual.then(|| values(grad(&other, &gradients)));
                let weight = values(grad(&layer.weight.val(), &gradients));
                let images = values(grad(&images, &gradients));
                (values(output), images, weight, other.unwrap_or_default())
            };
            for residual in [false, true] {
                let what = format!("{name}, bias {bias}, residual {residual}");
                let (found, expected) = (run(kernels, residual), run(Kernels::Burn, residual));
                assert!(expected.0.contains(&0.0) && expected.0.iter().any(|value| *value > 0.0));
                let near = |part: &str, found: Vec<f64>, expected: Vec<f64>| {
                    let length = found.len();
                    let found = found.into_iter().map(|value| value as f32).collect();
                    let found = tensor(found, [length], &device);
                    assert_near(&format!("{what}: {part}"), found, &expected, tolerance);
                };
                near("output", found.0, expected.0);
                near("images", found.1, expected.1);
                near("weights", found.2, expected.2);
                near("residual", found.3, expected.3);
            }
        }
    });
}

#[test]
fn images_without_gradients_and_frozen_weights_have_none() {
    everywhere(|name, device, kernels, tolerance| {
        let device = device.clone().autodiff();
        let config = Conv2dConfig::new([5, 18], [3, 3]);
        let trained = layer(config, &device);
        let frozen = trained.clone().freeze();
        let images = || made([2, 5, 8, 8], INPUT, &device);
        let all = outcome(Kernels::Burn, &trained, images(), |it| it).map(values);
        let gradients = |output: Tensor<4>| {
            let gradient = made(output.dims(), OUTPUT_GRAD, &device);
            (output * gradient).backward()
        };

        let without = images();
        let found = gradients(kernels.conv2d(&trained, without.clone()));
        assert!(without.grad(&found).is_none(), "{name}");
        assert_near(name, grad(&trained.weight.val(), &found), &all[2], tolerance);
        assert_near(name, grad(&trained.bias.as_ref().unwrap().val(), &found), &all[3], tolerance);

        let with = images().require_grad();
        let found = gradients(kernels.conv2d(&frozen, with.clone()));
        assert!(frozen.weight.val().grad(&found).is_none(), "{name}");
        assert!(frozen.bias.as_ref().unwrap().val().grad(&found).is_none(), "{name}");
        assert_near(name, grad(&with, &found), &all[1], tolerance);

        // Only the residual has a gradient.
        let residual = made([2, 18, 6, 6], [31, 5, 89], &device).require_grad();
        let output = kernels.conv2d_add_relu(&frozen, images(), residual.clone());
        let found = gradients(output.clone());
        let passes = values(output).into_iter().map(|value| if value > 0.0 { 1.0 } else { 0.0 });
        let factors = values(made([2, 18, 6, 6], OUTPUT_GRAD, &device));
        let expected: Vec<f64> =
            passes.zip(factors).map(|(passes, factor)| passes * factor).collect();
        assert_near(name, grad(&residual, &found), &expected, 1e-6);
    });
}

#[test]
fn gradients_of_weights_and_images_that_are_used_twice_add_up() {
    everywhere(|name, device, kernels, tolerance| {
        let device = device.clone().autodiff();
        let config =
            Conv2dConfig::new([6, 6], [3, 3]).with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1));
        let layer = layer(config, &device);
        let run = |kernels: Kernels| {
            let images = made([2, 6, 7, 7], INPUT, &device).require_grad();
            let once = kernels.conv2d_relu(&layer, images.clone());
            let twice = kernels.conv2d_add_relu(&layer, once.clone(), images.clone());
            let gradient = made([2, 6, 7, 7], OUTPUT_GRAD, &device);
            let gradients = ((twice + once) * gradient).backward();
            let bias = layer.bias.as_ref().unwrap().val();
            let parts = [grad(&images, &gradients), grad(&layer.weight.val(), &gradients)];
            let [images, weight] = parts.map(|gradient| gradient.flatten(0, 3));
            [images, weight, grad(&bias, &gradients)]
        };
        for (found, expected) in run(kernels).into_iter().zip(run(Kernels::Burn)) {
            assert_near::<1>(name, found, &values(expected), tolerance);
        }
    });
}

#[test]
fn branches_are_the_tensor_itself_and_their_gradients_add_up() {
    everywhere(|name, device, kernels, _| {
        let device = device.clone().autodiff();
        for count in 1..4 {
            let x = made([2, 3, 4, 5], INPUT, &device).require_grad();
            let branches: [Tensor<4>; 3] = kernels.fork(x.clone() * 1.0);
            let mut loss = Tensor::<1>::zeros([1], &device);
            // Unused branches have no gradient.
            for (branch, of) in branches.into_iter().zip([WEIGHT, BIAS, OUTPUT_GRAD]).take(count) {
                assert_near(name, branch.clone(), &values(x.clone()), 0.0);
                loss = loss + (branch * made([2, 3, 4, 5], of, &device)).sum();
            }
            let found = grad(&x, &loss.backward());
            let mut expected = vec![0.0; 120];
            for of in [WEIGHT, BIAS, OUTPUT_GRAD].into_iter().take(count) {
                let factors = formula(120, of);
                expected
                    .iter_mut()
                    .zip(factors)
                    .for_each(|(sum, factor)| *sum += f64::from(factor));
            }
            assert_near(&format!("{name}, {count}"), found, &expected, 1e-6);
        }
    });
}

#[test]
fn a_tensor_of_which_no_gradient_is_asked_branches_too() {
    everywhere(|name, device, kernels, _| {
        for device in [device.clone(), device.clone().autodiff()] {
            let x = made([2, 3, 4, 5], INPUT, &device);
            let [a, b] = kernels.fork(x.clone());
            assert_near(name, a + b, &values(x * 2.0), 0.0);
        }
    });
}

#[test]
fn channels_are_concatenated_as_burn_does_with_gradients() {
    everywhere(|name, device, kernels, _| {
        let device = device.clone().autodiff();
        for count in 1..7 {
            // Each has another number of channels and another memory layout.
            let images: Vec<_> = (0..count)
                .map(|index| match index % 3 {
                    0 => made([3, 2 + index, 5, 4], [37, index as i64, 101], &device),
                    1 => made([3, 5, 4, 3 + index], [29, 5, 61], &device).permute([0, 3, 1, 2]),
                    _ => made([3, 1, 4, 5], BIAS, &device).swap_dims(2, 3),
                })
                .map(|images| images.require_grad())
                .collect();
            let run = |kernels: Kernels| {
                let output = kernels.concatenate(images.clone());
                let gradient = made(output.dims(), OUTPUT_GRAD, &device);
                let gradients = (output.clone() * gradient).backward();
                let parts = images.iter().map(|images| values(grad(images, &gradients)));
                (output.dims(), values(output), parts.collect::<Vec<_>>())
            };
            assert_eq!(run(kernels), run(Kernels::Burn), "{name}, {count}");
        }
    });
}

#[test]
fn only_what_is_asked_for_has_a_gradient_after_a_concatenation() {
    everywhere(|name, device, kernels, _| {
        let device = device.clone().autodiff();
        let (a, b) = (made([2, 3, 4, 4], INPUT, &device), made([2, 5, 4, 4], WEIGHT, &device));
        let b = b.require_grad();
        let output = kernels.concatenate(vec![a.clone(), b.clone()]);
        let gradients = (output * made([2, 8, 4, 4], OUTPUT_GRAD, &device)).backward();
        assert!(a.grad(&gradients).is_none(), "{name}");
        let expected = made([2, 8, 4, 4], OUTPUT_GRAD, &device).slice([0..2, 3..8]);
        assert_near(name, grad(&b, &gradients), &values(expected), 0.0);
    });
}

#[test]
fn a_batch_of_no_images_is_burns() {
    everywhere(|name, device, kernels, _| {
        let layer = Conv2dConfig::new([3, 4], [3, 3]).init(device);
        let images = || Tensor::<4>::zeros([0, 3, 6, 6], device);
        assert_eq!(kernels.conv2d(&layer, images()).dims(), [0, 4, 4, 4], "{name}");
        assert_eq!(kernels.sigmoid(images()).dims(), [0, 3, 6, 6], "{name}");
    });
}

/// The messages of the kernels for inputs that they refuse.
#[cfg(feature = "flex")]
mod refused {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn message(task: impl FnOnce() -> Tensor<4>) -> String {
        let panic = catch_unwind(AssertUnwindSafe(task)).expect_err("it is refused");
        match panic.downcast::<String>() {
            Ok(message) => *message,
            Err(panic) => (*panic.downcast::<&str>().unwrap()).to_owned(),
        }
    }

    #[test]
    fn images_smaller_than_the_window() {
        everywhere(|name, device, kernels, _| {
            let padding = PaddingConfig2d::Explicit(1, 0, 1, 0);
            let config = Conv2dConfig::new([3, 4], [7, 2]).with_padding(padding.clone());
            let layer = config.init(device);
            let message = message(|| kernels.conv2d(&layer, Tensor::ones([1, 3, 4, 9], device)));
            for part in ["[7, 2]", "[4, 9]", "[[1, 1], [0, 0]]", "does not fit"] {
                assert!(message.contains(part), "{name}: {message}");
            }
            // An image that is as high as the window after padding is accepted.
            let output = kernels.conv2d(&layer, Tensor::ones([1, 3, 5, 9], device));
            assert_eq!(output.dims(), [1, 4, 1, 8], "{name}");
        });
    }

    #[test]
    fn windows_of_a_pooling_larger_than_the_images() {
        everywhere(|name, device, kernels, _| {
            let images = || Tensor::<4>::ones([1, 3, 4, 9], device);
            let max = MaxPool2dConfig::new([5, 2]).with_strides([1, 1]).init();
            let average = AvgPool2dConfig::new([5, 2]).with_strides([1, 1]).init();
            for message in [
                message(|| kernels.max_pool2d(&max, images())),
                message(|| kernels.avg_pool2d(&average, images())),
            ] {
                for part in ["[5, 2]", "[4, 9]"] {
                    assert!(message.contains(part), "{name}: {message}");
                }
            }
        });
    }

    #[test]
    fn images_of_other_channels() {
        everywhere(|name, device, kernels, _| {
            let layer = Conv2dConfig::new([3, 4], [3, 3]).init(device);
            let message = message(|| kernels.conv2d(&layer, Tensor::ones([1, 5, 9, 9], device)));
            let expected = "a convolution of 3 channels was given images of 5";
            assert!(message.contains(expected), "{name}: {message}");
        });
    }

    #[test]
    fn a_residual_of_another_shape() {
        everywhere(|name, device, kernels, _| {
            let layer = Conv2dConfig::new([3, 4], [3, 3]).init(device);
            let images = Tensor::ones([1, 3, 9, 9], device);
            // Burn would broadcast its one channel.
            let residual = Tensor::ones([1, 1, 7, 7], device);
            let message = message(|| kernels.conv2d_add_relu(&layer, images, residual));
            assert!(
                message.contains("the residual must have the shape of the output"),
                "{name}: {message}"
            );
        });
    }
}

/// The fallback on a processor or a device without kernels.
#[test]
fn burns_own_operations_are_its_layers() {
    for (name, device) in test_devices::cpu() {
        let device = device.autodiff();
        let layer = layer(Conv2dConfig::new([3, 4], [3, 3]), &device);
        let images = made([2, 3, 6, 6], INPUT, &device);
        let residual = made([2, 4, 4, 4], BIAS, &device);
        let expected = relu(layer.forward(images.clone()) + residual.clone());
        let found = Kernels::Burn.conv2d_add_relu(&layer, images, residual);
        assert_near(name, found, &values(expected), 0.0);
    }
}

#[test]
fn weighted_sums_are_burns_to_the_bit() {
    for (name, device) in test_devices::all() {
        // More values than a task has, and not a multiple; the second tensor has another layout.
        let x = made([3, 129, 17, 13], INPUT, &device);
        let y = made([3, 17, 13, 129], WEIGHT, &device).permute([0, 3, 1, 2]);
        for [a, b] in [[1.0, 1.0], [1.0, -0.05], [0.9, 1.0], [0.999, 0.001]] {
            let expected = x.clone() * a + y.clone() * b;
            let found = weighted_sum([a, b], x.clone(), y.clone());
            assert_eq!(values(found), values(expected), "{name}, {a}, {b}");
        }
        // Other owners of the tensor do not see that it is overwritten.
        assert_eq!(values(x), values(made([3, 129, 17, 13], INPUT, &device)), "{name}");
    }
}

#[test]
fn sums_of_squares_are_those_of_f64() {
    for (name, device) in test_devices::all() {
        for shape in [[3, 129, 17, 13], [1, 1, 1, 1], [1, 5, 3, 1]] {
            let x = made(shape, INPUT, &device);
            let expected: f64 = values(x.clone()).into_iter().map(|x| x.powi(2)).sum();
            for x in [x.clone(), x.permute([0, 2, 3, 1])] {
                let found = f64::from(sum_of_squares(x).into_scalar::<f32>());
                assert!((found - expected).abs() < 1e-6 * expected, "{name}, {found}, {expected}");
            }
        }
    }
}

#[test]
fn gradients_pass_through_sums() {
    for (name, device) in test_devices::all() {
        let device = device.autodiff();
        let x = made([2, 3, 4, 5], INPUT, &device).require_grad();
        let sum = weighted_sum([3.0, 1.0], x.clone(), x.clone().detach());
        let total = sum_of_squares(x.clone()) + sum.sum();
        let gradient = values(x.grad(&total.backward()).unwrap());
        for (gradient, x) in gradient.into_iter().zip(values(x)) {
            assert!((gradient - (2.0 * x + 3.0)).abs() < 1e-5, "{name}");
        }
    }
}

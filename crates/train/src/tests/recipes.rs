//! Compares loss, gradients, optimizers and EMA of weights with PyTorch's, from `tests/reference.py`.

use burn::{
    module::{Module, ModuleMapper, Param},
    optim::{
        GradientsParams, ModuleOptimizer, SgdConfig, decay::WeightDecayConfig,
        momentum::MomentumConfig,
    },
    tensor::{Device, Tensor, TensorData, Tolerance},
};
use fashion_mnist::{Batch, Mix};
use serde_json::Value;

use super::{quickstart, set};
use crate::{
    Config,
    training::{
        Classifier, Ema,
        classifier::cross_entropy,
        optimizer::{clip, optimizer},
        squared_gradients,
    },
};

fn reference() -> Value {
    serde_json::from_str(include_str!("../../tests/reference.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

/// A network of two weights.
#[derive(Module, Debug)]
struct Pair {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Pair {
    fn start(reference: &Value, device: &Device) -> Self {
        let tensors = Self::tensors(&reference["start"], device);
        Self { weight: Param::from_tensor(tensors.0), bias: Param::from_tensor(tensors.1) }
    }

    fn tensors(values: &Value, device: &Device) -> (Tensor<2>, Tensor<1>) {
        let weight = TensorData::new(numbers(&values["weight"]), [3, 2]);
        let bias = TensorData::new(numbers(&values["bias"]), [3]);
        (Tensor::from_data(weight, device), Tensor::from_data(bias, device))
    }

    fn gradients(&self, values: &Value, device: &Device) -> GradientsParams {
        let (weight, bias) = Self::tensors(values, device);
        let mut gradients = GradientsParams::new();
        gradients.register(self.weight.id, weight);
        gradients.register(self.bias.id, bias);
        gradients
    }

    fn assert_is(&self, values: &Value, what: &str) {
        eprintln!("{what}");
        let near = Tolerance::absolute(2e-6);
        let (weight, bias) = Self::tensors(values, &Device::flex());
        self.weight.val().into_data().assert_approx_eq::<f32>(&weight.into_data(), near);
        self.bias.val().into_data().assert_approx_eq::<f32>(&bias.into_data(), near);
    }
}

#[test]
fn optimizers_step_as_pytorchs() {
    let reference = &reference()["optimizers"];
    let device = Device::flex().autodiff();
    let decay = "optimizer.weight_decay=0.01";
    for (case, keys) in [
        ("sgd", &["optimizer.momentum=0"][..]),
        ("sgd_momentum", &["optimizer.momentum=0.9"]),
        ("sgd_nesterov", &["optimizer.momentum=0.9", "optimizer.nesterov=true"]),
        ("sgd_decay_of_weights", &["optimizer.momentum=0.9", decay]),
        ("sgd_decay_of_all", &["optimizer.momentum=0.9", decay, "optimizer.decay=all"]),
        ("adam", &["optimizer={ name = \"adam\", learning_rate = 0.01 }"]),
        (
            "adam_decay_of_weights",
            &["optimizer={ name = \"adam\", learning_rate = 0.01, weight_decay = 0.01 }"],
        ),
        (
            "adamw_decay_of_weights",
            &["optimizer={ name = \"adamw\", learning_rate = 0.01, weight_decay = 0.01 }"],
        ),
        ("rmsprop", &["optimizer={ name = \"rmsprop\", learning_rate = 0.01 }"]),
        (
            "rmsprop_momentum",
            &["optimizer={ name = \"rmsprop\", learning_rate = 0.01, momentum = 0.9 }"],
        ),
    ] {
        let case_reference = &reference["cases"][case];
        let config = Config::load(None, &set(keys)).unwrap().optimizer;
        let learning_rate = case_reference["options"]["lr"].as_f64().unwrap();
        assert_eq!(config.learning_rate, learning_rate, "{case}");
        let mut pair = Pair::start(reference, &device);
        let mut optimizer = optimizer(&config, &pair);
        let gradients = reference["gradients"].as_array().unwrap();
        let steps = case_reference["steps"].as_array().unwrap();
        for (number, (gradient, expected)) in gradients.iter().zip(steps).enumerate() {
            let gradients = pair.gradients(gradient, &device.clone().inner());
            pair = optimizer.step(learning_rate, pair, gradients);
            pair.assert_is(expected, &format!("{case}, step {number}"));
        }
    }
}

#[test]
fn sgd_is_burns_to_the_bit() {
    let reference = &reference()["optimizers"];
    let device = Device::flex().autodiff();
    for nesterov in [false, true] {
        let nesterov_key = format!("optimizer.nesterov={nesterov}");
        let decay = ["optimizer.weight_decay=0.01", "optimizer.decay=all"];
        let keys = ["optimizer.momentum=0.9", &nesterov_key, decay[0], decay[1]];
        let config = Config::load(None, &set(&keys)).unwrap().optimizer;
        let momentum = MomentumConfig::new().with_dampening(0.0).with_nesterov(nesterov);
        let burn = SgdConfig::new()
            .with_momentum(Some(momentum))
            .with_weight_decay(Some(WeightDecayConfig::new(0.01)));
        let start = Pair::start(reference, &device);
        let train = |mut optimizer: ModuleOptimizer| {
            let mut pair = start.clone();
            for gradient in reference["gradients"].as_array().unwrap() {
                let gradients = pair.gradients(gradient, &device.clone().inner());
                pair = optimizer.step(0.1, pair, gradients);
            }
            (pair.weight.val().into_data(), pair.bias.val().into_data())
        };
        assert_eq!(train(optimizer(&config, &start)), train(burn.init()), "{nesterov}");
    }
}

#[test]
fn gradients_are_clipped_as_pytorchs() {
    let reference = reference();
    let device = Device::flex();
    let pair = Pair::start(&reference["optimizers"], &device.clone().autodiff());
    let first = &reference["optimizers"]["gradients"][0];
    for case in reference["clipping"].as_array().unwrap() {
        let gradients = pair.gradients(first, &device);
        let squares = squared_gradients(&pair, &gradients);
        let norm = squares.clone().sum().sqrt().into_scalar::<f32>();
        assert!((norm - case["norm"].as_f64().unwrap() as f32).abs() < 1e-5);
        let longest = case["max_norm"].as_f64().unwrap();
        let clipped = clip(&pair, gradients, squares, longest);
        let (weight, bias) = Pair::tensors(&case["gradients"], &device);
        let near = Tolerance::absolute(1e-6);
        let found = clipped.get::<2>(pair.weight.id).unwrap().into_data();
        found.assert_approx_eq::<f32>(&weight.into_data(), near);
        let found = clipped.get::<1>(pair.bias.id).unwrap().into_data();
        found.assert_approx_eq::<f32>(&bias.into_data(), near);
    }
}

#[test]
fn losses_of_mixed_and_smoothed_labels_are_pytorchs() {
    let reference = &reference()["loss"];
    for (name, device) in test_devices::all() {
        let device = device.autodiff();
        let labels = |key: &str| {
            let labels: Vec<i32> = numbers(&reference[key]).iter().map(|&it| it as i32).collect();
            Tensor::from_data(TensorData::new(labels, [4]), &device)
        };
        for case in reference["cases"].as_array().unwrap() {
            let logits = TensorData::new(numbers(&reference["logits"]), [4, 3]);
            let logits = Tensor::<2>::from_data(logits, &device).require_grad();
            let share = case["share"].as_f64().unwrap();
            let mix = (share < 1.0).then(|| Mix { labels: labels("other_labels"), share });
            let images = Tensor::zeros([4, 1, 1, 1], &device);
            let batch = Batch { images, labels: labels("labels"), mix };
            let smoothing = case["smoothing"].as_f64().unwrap();
            let loss = cross_entropy(logits.clone(), &batch, smoothing);
            let gradients = loss.backward();
            let expected = case["loss"].as_f64().unwrap() as f32;
            let loss = loss.into_scalar::<f32>();
            assert!((loss - expected).abs() < 1e-5, "{name}, {case}: {loss}");
            let expected = TensorData::new(numbers(&case["gradient"]), [4, 3]);
            let found = logits.grad(&gradients).unwrap().into_data();
            found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-6));
        }
    }
}

/// In a late step, where the average uses the configured decay.
#[test]
fn averages_of_weights_are_pytorchs() {
    struct Fill(f32);
    impl ModuleMapper for Fill {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|weight| weight.full_like(self.0))
        }
    }
    let reference = &reference()["average"];
    let classifier = Classifier::new(&quickstart(), &Device::flex().autodiff());
    let values = numbers(&reference["values"]);
    let of = |value: f32| classifier.clone().fork(&Device::flex().autodiff()).map(&mut Fill(value));
    let mut ema = Ema::new(&of(values[0]), reference["decay"].as_f64().unwrap());
    for (&value, expected) in values.iter().zip(numbers(&reference["averages"])).skip(1) {
        ema.update(&of(value), 1000);
        let models::Network::LeNet(lenet) = &ema.classifier.network else { unreachable!() };
        let weight = lenet.fc3.weight.val().max().into_scalar::<f32>();
        assert!((weight - expected).abs() < 1e-6, "{weight}, not {expected}");
    }
    // At the start it follows quickly: after the first step it is close to the new weights.
    let mut ema = Ema::new(&of(0.0), 0.999);
    ema.update(&of(1.0), 1);
    let models::Network::LeNet(lenet) = &ema.classifier.network else { unreachable!() };
    let weight = lenet.fc3.weight.val().max().into_scalar::<f32>();
    assert!((weight - 9.0 / 11.0).abs() < 1e-6, "{weight}");
}

#[test]
fn keys_that_an_optimizer_or_a_schedule_has_not_are_refused() {
    let refusal = |keys: &[&str]| Config::load(None, &set(keys)).unwrap_err().to_string();
    let adam = ["optimizer.name=adam", "optimizer.momentum=0.9"];
    assert!(refusal(&adam).contains("the optimizer adam has no momentum"));
    assert!(refusal(&["optimizer.beta1=0.9"]).contains("the optimizer sgd has no beta1"));
    assert!(
        refusal(&["optimizer.momentum=0", "optimizer.nesterov=true"]).contains("needs a momentum")
    );
    assert!(refusal(&["schedule.milestones=[0.5]"]).contains("constant has no milestones"));
    assert!(refusal(&["schedule.name=step"]).contains("needs milestones"));
    assert!(refusal(&["schedule.milestones=[0.7, 0.5]"]).contains("expected rising shares"));
    assert!(refusal(&["schedule.warmup=1.0"]).contains("from 0 to below 1"));
    assert!(refusal(&["schedule.nmae=step"]).contains("did you mean `name`?"));
    assert!(refusal(&["augment.crop=28"]).contains("below the image's 28"));
    assert!(refusal(&["augment.mixpu=1"]).contains("did you mean `mixup`?"));
    assert!(refusal(&["augment.flip=1"]).contains("expected a boolean"));
    assert!(refusal(&["ema.decai=0.9"]).contains("did you mean `decay`?"));
    assert!(refusal(&["early_stopping.patience=0"]).contains("above 0"));
    assert!(refusal(&["early_stopping.patients=3"]).contains("did you mean `patience`?"));
    assert!(refusal(&["label_smoothing=1"]).contains("from 0 to below 1"));
    assert!(
        refusal(&["device=flex", "devices=[\"flex\"]", "device=flex", "minutes=0"])
            .contains("above 0, not 0")
    );
    assert!(refusal(&["devices=[\"flex\", \"vulcan\"]"]).contains("did you mean `vulkan`?"));
    assert!(
        refusal(&["devices=[\"flex\", \"flex\"]", "batch_size=1"]).contains("devices no image")
    );
    // If two keys exclude each other, the last one counts.
    let config = Config::load(None, &set(&["minutes=5"])).unwrap();
    assert_eq!((config.minutes, config.epochs), (Some(5.0), None));
}

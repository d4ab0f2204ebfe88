//! The running means and variances after some training steps match PyTorch's.

use std::collections::BTreeMap;

use burn::tensor::{Gradients, Int, activation::log_softmax};

use super::*;

const BATCH: usize = 4;
const STEPS: usize = 3;
const LEARNING_RATE: f64 = 0.01;

/// Collects the running statistics as `tests/running_statistics.py` does.
struct Gather<'a> {
    network: &'a Network,
    walk: Walk,
    found: BTreeMap<String, [f64; 2]>,
}

impl ModuleVisitor for Gather<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.walk.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.walk.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = pytorch_name(self.network, &self.walk.path());
        if !name.contains("running") {
            return;
        }
        let values: Vec<f64> = param.val().into_data().convert::<f64>().try_into_vec().unwrap();
        let summary = length_and_product(&name, &values);
        self.found.insert(name, summary);
    }
}

/// Plain gradient descent.
struct Descend(Gradients);

impl ModuleMapper for Descend {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match param.val().grad(&self.0) {
            Some(gradient) => param.map(|weight| {
                let weight = weight.inner() - gradient * LEARNING_RATE;
                Tensor::from_inner(weight).require_grad()
            }),
            None => param,
        }
    }
}

/// In f64, as PyTorch computed them.
#[test]
fn running_statistics_are_pytorchs_after_three_steps() {
    let references: BTreeMap<String, BTreeMap<String, [f64; 2]>> =
        serde_json::from_str(include_str!("../../tests/running_statistics.json")).unwrap();
    assert_eq!(references.len(), 5);
    let device = Device::flex().autodiff();
    for (what, expected) in references {
        let (preset, architecture) = what.split_once('/').unwrap();
        let (architecture, preset): (Architecture, Preset) =
            (architecture.parse().unwrap(), preset.parse().unwrap());
        let config = without_dropout(architecture.config(preset).unwrap().with_classes(10));
        let (mut network, _) = fill_as(DType::F64, &config, &device);
        let [channels, height, width] = reference::of(architecture, preset).input;
        let shape = [BATCH, channels, height, width];
        let labels = (0..BATCH as i32).map(|index| 3 * index % 10).collect::<Vec<_>>();
        let labels = Tensor::<1, Int>::from_data(TensorData::from(labels.as_slice()), &device);
        for step in 0..STEPS {
            let images = uniform(&format!("images {step}"), shape.iter().product());
            let images = TensorData::new(images, shape).convert::<f32>();
            let logits = network.forward(Tensor::from_data(images, (&device, DType::F64)));
            let picked = log_softmax(logits, 1).gather(1, labels.clone().unsqueeze_dim(1));
            let gradients = picked.mean().neg().backward();
            network = network.map(&mut Descend(gradients));
        }

        let network = network.valid(); // applies the update of the last batch
        let mut gather =
            Gather { network: &network, walk: Walk::default(), found: BTreeMap::new() };
        network.visit(&mut gather);
        let found = gather.found;
        let names: Vec<_> = found.keys().collect();
        assert_eq!(names, expected.keys().collect::<Vec<_>>(), "{what}");
        for (name, expected) in &expected {
            for (found, expected) in found[name].iter().zip(expected) {
                let error = (found - expected).abs();
                assert!(
                    error < 1e-5 * expected.abs().max(1.0),
                    "{what}, {name}: {found}, not {expected}"
                );
            }
        }
    }
}

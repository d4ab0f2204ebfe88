//! Without kernels the layer gives the results of Burn's layer, in training and in prediction,
//! epilogues included.

use batch_norm::{BatchNormConfig, Implementation};
use burn::{
    module::Module,
    tensor::{Device, Distribution, Tensor, activation::relu},
};

fn main() {
    let device = Device::flex().autodiff();
    let layer = BatchNormConfig::new(3).init(&device);
    assert_eq!(layer.implementation, Implementation::Kernel, "the default is kernels");
    let burns = burn::nn::BatchNormConfig::new(3).init(&device);

    let random = || {
        Tensor::<4>::random([8, 3, 5, 5], Distribution::Normal(1.0, 2.0), &device).require_grad()
    };
    let (input, residual) = (random(), random());
    let same = |what: &str, found: &Tensor<4>, expected: &Tensor<4>| {
        assert_eq!(found.to_data(), expected.to_data(), "{what}");
        println!("{what}: as Burn's");
    };

    let output = layer.forward(input.clone());
    let expected = burns.forward(input.clone());
    same("training", &output, &expected);
    let gradient = |output: Tensor<4>| input.grad(&output.powi_scalar(3).sum().backward()).unwrap();
    same("its gradient", &gradient(output), &gradient(expected.clone()));
    same("relu", &layer.forward_relu(input.clone()), &relu(expected.clone()));
    let output = layer.forward_add_relu(input.clone(), residual.clone());
    same("add, relu", &output, &relu(expected + residual));

    let (layer, input) = (layer.valid(), input.inner());
    burns.forward(Tensor::from_inner(input.clone()));
    burns.forward(Tensor::from_inner(input.clone()));
    same("prediction", &layer.forward(input.clone()), &burns.valid().forward(input));
}

//! The textbook's initialization, shared by its networks.

use burn::{
    nn::{
        Initializer, Linear, LinearConfig,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::Device,
};

/// Glorot and Bengio, [Understanding the difficulty of training deep feedforward neural
/// networks](https://proceedings.mlr.press/v9/glorot10a.html) (2010), equation 16.
const XAVIER: Initializer = Initializer::XavierUniform { gain: 1.0 };

/// A convolution with Xavier weights. The bias keeps the layer's own initialization, uniform
/// within 1 / sqrt(fan in), which is PyTorch's too.
pub(crate) fn xavier_conv2d(config: Conv2dConfig, device: &Device) -> Conv2d {
    let weight = config.clone().with_bias(false).with_initializer(XAVIER).init(device).weight;
    Conv2d { weight, ..config.init(device) }
}

/// A fully connected layer with Xavier weights; the bias as in [`xavier_conv2d`].
pub(crate) fn xavier_linear(config: LinearConfig, device: &Device) -> Linear {
    let weight = config.clone().with_bias(false).with_initializer(XAVIER).init(device).weight;
    Linear { weight, ..config.init(device) }
}

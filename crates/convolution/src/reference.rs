//! The layers out of Burn's own operations: what the kernels are measured against, and what a layer
//! is where there are none.

use burn::{
    nn::conv::Conv2d,
    tensor::{Tensor, activation::relu},
};

/// A convolution, a residual added to it, and ReLU, on any backend.
pub fn conv2d(
    layer: &Conv2d,
    images: Tensor<4>,
    residual: Option<Tensor<4>>,
    rectified: bool,
) -> Tensor<4> {
    let output = layer.forward(images);
    let output = match residual {
        Some(residual) => output + residual,
        None => output,
    };
    if rectified { relu(output) } else { output }
}

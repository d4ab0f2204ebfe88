//! The layers built from Burn's own operations: the baseline for the kernels, and the fallback
//! where there are none.

use burn::{
    nn::conv::Conv2d,
    tensor::{Tensor, activation::relu},
};

/// A convolution, plus a residual, and ReLU, on any backend.
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

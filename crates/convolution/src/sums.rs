//! Sums over all weights of a network, which an optimizer computes at every step. They run on all
//! threads; Burn's own operations on the CPU use one.

use burn::{backend::Dispatch, tensor::Tensor};

use crate::{kernels::is_covered, ops::ConvolutionOps};

/// `a * x + b * y` of two tensors of equal shape. The CPU's kernels do not propagate gradients, so
/// tensors with gradients use Burn's operations. `x` is overwritten if it has no other owner.
///
/// # Panics
///
/// If the shapes differ.
pub fn weighted_sum<const D: usize>([a, b]: [f64; 2], x: Tensor<D>, y: Tensor<D>) -> Tensor<D> {
    if has_kernel(&x) && has_kernel(&y) && x.device() == y.device() {
        let (x, y) = (x.into_dispatch(), y.into_dispatch());
        return Tensor::from_dispatch(Dispatch::weighted_sum(x, y, [a as f32, b as f32]));
    }
    let times = |factor: f64, x: Tensor<D>| if factor == 1.0 { x } else { x * factor };
    times(a, x) + times(b, y)
}

/// The sum of the squares of all values, `[1]`. Tensors with gradients use Burn's operations.
pub fn sum_of_squares<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    if has_kernel(&x) {
        Tensor::from_dispatch(Dispatch::sum_of_squares(x.into_dispatch()))
    } else {
        x.square().sum()
    }
}

fn has_kernel<const D: usize>(tensor: &Tensor<D>) -> bool {
    is_covered(tensor) && !tensor.device().is_autodiff()
}

//! Winograd's convolution F(4 x 4, 3 x 3): fewer multiplications for 3 x 3 windows with stride 1.
//!
//! A tile of 4 x 4 outputs depends on 6 x 6 inputs. The window and the inputs are treated as
//! polynomials: their product is computed from its values at enough points. Two axes need 6 x 6 =
//! 36 points and so 36 multiplications, whereas the window itself takes 4 x 4 x 9 = 144. The points
//! are 0, 1, -1, 2, -2 and infinity, for which the transforms are sums with small factors:
//!
//! ```text
//! output = A' [ (G window G') . (B' input B) ] A        . multiplies element by element
//! ```
//!
//! Lavin and Gray, [Fast Algorithms for Convolutional Neural
//! Networks](https://arxiv.org/abs/1509.09308) (2016), section 4.3. For each of the 36 points the
//! products over all channels are one matrix product, `[tiles, inputs] x [inputs, outputs]`, with
//! the same register tiles as in the other kernels.
//!
//! The algorithm is less accurate: the factors are up to 8, and differences of large numbers lose
//! digits. The error is about ten times that of the direct sum, 1e-5 of the largest value. A NaN or
//! an infinity reaches all outputs of the tiles that read it.
//!
//! The gradient of the input is the same convolution with the flipped window. The gradient of the
//! weights goes backward through the three transforms.

//!
//! | file | contents |
//! |---|---|
//! | [`tiles`] | how an image is divided into tiles, and when the algorithm wins |
//! | [`transforms`] | the transforms of tiles and of weights |
//! | [`outputs`] | the output of a convolution, and the gradient of its input |
//! | [`weights`] | the gradient of the weights |

mod outputs;
mod tiles;
mod transforms;
mod weights;

pub use outputs::{Plan, transform_weights, weights_len};
pub use tiles::Problem;
pub use weights::WeightPlan;

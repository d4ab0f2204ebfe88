//! What the two ways to traverse a tensor have in common.

use std::{fmt, mem::MaybeUninit};

use cpu_tensors::Order;

/// `[samples, channels, positions]`, in memory in this order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planes {
    /// The outermost axis.
    pub samples: usize,
    /// The channels, each with its own statistics.
    pub channels: usize,
    /// The innermost axis: 1 where channels are last.
    pub positions: usize,
}

impl Planes {
    /// Of a tensor `[batch, channels, ...]`.
    pub fn of(shape: &[usize], order: Order) -> Self {
        let (samples, channels) = (shape[0], shape[1]);
        let positions = shape[2..].iter().product();
        match order {
            // One channel is one strip.
            _ if channels == 1 => Self { samples: 1, channels, positions: samples * positions },
            Order::ChannelsFirst => Self { samples, channels, positions },
            Order::ChannelsLast => Self { samples: samples * positions, channels, positions: 1 },
        }
    }

    /// How many values make up a channel.
    pub fn values(&self) -> usize {
        self.samples * self.positions
    }

    pub fn elements(&self) -> usize {
        self.values() * self.channels
    }
}

impl fmt::Display for Planes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { samples, channels, positions } = self;
        write!(f, "[{samples}, {channels}, {positions}] in memory")
    }
}

/// A channel's statistics.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    /// The mean.
    pub mean: f64,
    /// The biased variance.
    pub variance: f64,
}

/// A channel's two sums over the gradient of the normalized values.
#[derive(Clone, Copy, Debug, Default)]
pub struct GradientSums {
    /// Of the gradient.
    pub gradient: f64,
    /// Of the gradient times the distance from the mean.
    pub product: f64,
}

/// The tensors of the input's size that a backward pass reads and writes.
pub struct Tensors<'a, E> {
    pub input: &'a [E],
    pub residual: &'a [E],
    /// The output's gradient, then the input's.
    pub gradient: &'a mut [E],
    pub residual_grad: Option<&'a mut [MaybeUninit<E>]>,
}

/// Which of its two passes a backward pass needs.
#[derive(Clone, Copy)]
pub struct Wanted {
    pub sums: bool,
    pub gradients: bool,
}

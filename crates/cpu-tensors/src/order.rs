/// The memory order of a tensor `[batch, channels, ...]`: one of two, without gaps.
///
/// A tensor of fewer than two axes has one order, and both variants mean it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Row-major: a channel's positions are adjacent.
    ChannelsFirst,
    /// A position's channels are adjacent, as after many convolutions.
    ChannelsLast,
}

impl Order {
    /// The order of a tensor, if it is one of the two, without gaps.
    pub fn of(shape: &[usize], strides: &[isize]) -> Option<Self> {
        [Self::ChannelsFirst, Self::ChannelsLast].into_iter().find(|order| {
            let mut axes = shape.iter().zip(strides).zip(order.strides(shape));
            // The stride of an axis of one element is never used.
            axes.all(|((&size, &stride), expected)| size == 1 || stride == expected)
        })
    }

    /// The axes of a tensor of this rank, from the outermost to the innermost.
    pub fn axes(self, rank: usize) -> Vec<usize> {
        match self {
            Self::ChannelsLast if rank > 1 => {
                std::iter::once(0).chain(2..rank).chain([1]).collect()
            }
            _ => (0..rank).collect(),
        }
    }

    /// The strides of a tensor in this order.
    pub fn strides(self, shape: &[usize]) -> Vec<isize> {
        let mut strides = vec![0; shape.len()];
        let mut stride = 1;
        for axis in self.axes(shape.len()).into_iter().rev() {
            strides[axis] = stride;
            stride *= shape[axis] as isize;
        }
        strides
    }
}

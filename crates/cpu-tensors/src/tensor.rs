use crate::Order;

/// A CPU backend's tensor with elements of the type `E`.
///
/// # Panics
///
/// If the tensor's elements are of another type: on flex, in the methods that return values; on
/// ndarray, in all.
pub trait CpuTensor<E>: Sized {
    /// Creates a tensor from values in this memory order.
    ///
    /// # Panics
    ///
    /// If the number of values differs from the number of elements of the shape.
    fn from_values(values: Vec<E>, shape: Vec<usize>, order: Order) -> Self;

    /// The length of every axis.
    fn dims(&self) -> Vec<usize>;

    /// The distance in memory of neighbors along every axis, counted in elements.
    fn strides(&self) -> Vec<isize>;

    /// The tensor's memory order, if it is one of the two.
    fn order(&self) -> Option<Order> {
        Order::of(&self.dims(), &self.strides())
    }

    /// The tensor in this memory order, copied if it has another one.
    fn into_order(self, order: Order) -> Self;

    /// The tensor without negative strides, as [`view`](Self::view) needs it: copied if it has one.
    fn into_readable(self) -> Self {
        if has_negative(&self.dims(), &self.strides()) {
            self.into_order(Order::ChannelsFirst)
        } else {
            self
        }
    }

    /// The values as they are in memory, including gaps, without a copy.
    ///
    /// # Panics
    ///
    /// If a stride is negative: see [`into_readable`](Self::into_readable).
    fn view(&self) -> View<'_, E>;

    /// The values, as they are in memory, of a tensor that has an [`order`](Self::order).
    ///
    /// # Panics
    ///
    /// If there are gaps between them.
    fn values(&self) -> &[E] {
        let values = self.view().values;
        let elements: usize = self.dims().iter().product();
        assert_eq!(values.len(), elements, "the tensor's values are not contiguous");
        values
    }

    /// The same values for writing, copied before if they have another owner.
    fn values_mut(&mut self) -> &mut [E];
}

/// The memory from a tensor's first element to its last.
///
/// The element at `[i, j, ...]` is `values[i * strides[0] + j * strides[1] + ...]`. Sliced
/// tensors have gaps between their elements; expanded ones repeat elements, with strides of 0.
#[derive(Clone, Debug)]
pub struct View<'a, E> {
    /// From the tensor's first element to its last, both included; none if it has no elements.
    pub values: &'a [E],
    /// The distance of neighbors along every axis, 0 or more.
    pub strides: Vec<isize>,
}

/// Whether a stride that is used is negative.
fn has_negative(dims: &[usize], strides: &[isize]) -> bool {
    dims.iter().zip(strides).any(|(&size, &stride)| size > 1 && stride < 0)
}

/// The length of a view's values, and its strides.
#[cfg(any(feature = "flex", feature = "ndarray"))]
pub(crate) fn extent(dims: &[usize], strides: &[isize]) -> (usize, Vec<isize>) {
    assert!(!has_negative(dims, strides), "a tensor of strides {strides:?} has no view");
    // The stride of an axis of one element is never used, but may be negative.
    let strides: Vec<_> = strides.iter().map(|&stride| stride.max(0)).collect();
    let length = if dims.contains(&0) {
        0
    } else {
        let axes = dims.iter().zip(&strides);
        1 + axes.map(|(&size, &stride)| (size - 1) * stride as usize).sum::<usize>()
    };
    (length, strides)
}

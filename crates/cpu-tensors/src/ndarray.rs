//! ndarray: Burn's first CPU backend.

#![allow(deprecated)] // Burn's next release no longer has this backend.

use burn::backend::ndarray::{NdArrayTensor, SharedArray};

use crate::{CpuTensor, Order, View, tensor::extent};

macro_rules! cpu_tensor {
    ($element:ty, $variant:ident) => {
        impl CpuTensor<$element> for NdArrayTensor {
            fn from_values(values: Vec<$element>, shape: Vec<usize>, order: Order) -> Self {
                from_values(values, &shape, order).into()
            }

            fn dims(&self) -> Vec<usize> {
                let Self::$variant(storage) = self else { wrong_type(stringify!($element)) };
                storage.shape().to_vec()
            }

            fn strides(&self) -> Vec<isize> {
                let Self::$variant(storage) = self else { wrong_type(stringify!($element)) };
                storage.view().strides().to_vec()
            }

            fn into_order(self, order: Order) -> Self {
                if CpuTensor::<$element>::order(&self) == Some(order) {
                    return self;
                }
                let Self::$variant(storage) = self else { wrong_type(stringify!($element)) };
                let array = storage.view();
                let axes = order.axes(array.ndim());
                let values = array.permuted_axes(axes).iter().copied().collect();
                from_values(values, storage.shape(), order).into()
            }

            fn view(&self) -> View<'_, $element> {
                let Self::$variant(storage) = self else { wrong_type(stringify!($element)) };
                let array = storage.view();
                let (length, strides) = extent(array.shape(), array.strides());
                // SAFETY: `as_ptr` points to the first element (if there is none, it is still
                // aligned and not null). No stride is negative, so `length` ends with the last
                // element. Both elements are in one allocation, a vector or a file's bytes, in
                // which every value is initialized. Nothing writes to it as long as `self` is
                // borrowed: an array that shares its values with another copies them before it
                // writes.
                let values = unsafe { std::slice::from_raw_parts(array.as_ptr(), length) };
                View { values, strides }
            }

            fn values_mut(&mut self) -> &mut [$element] {
                let Self::$variant(storage) = self else { wrong_type(stringify!($element)) };
                let array = storage.ensure_owned();
                array.as_slice_memory_order_mut().expect("the array has no gaps")
            }
        }
    };
}

cpu_tensor!(f32, F32);
cpu_tensor!(f64, F64);

fn wrong_type(expected: &str) -> ! {
    panic!("the tensor's elements are not {expected}")
}

fn from_values<E: Clone>(values: Vec<E>, shape: &[usize], order: Order) -> SharedArray<E> {
    let axes = order.axes(shape.len());
    let lengths: Vec<_> = axes.iter().map(|&axis| shape[axis]).collect();
    let array = SharedArray::from_shape_vec(lengths, values).expect("the values fill the shape");
    // The position of each axis of the tensor in the memory order.
    let mut places = vec![0; axes.len()];
    axes.into_iter().enumerate().for_each(|(place, axis)| places[axis] = place);
    array.permuted_axes(places)
}

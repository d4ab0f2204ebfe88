//! ndarray: the CPU backend of Burn's beginnings.

#![allow(deprecated)] // Burn's name for a backend that its next release no longer has.

use burn::backend::{
    NdArray,
    ndarray::{NdArrayTensor, SharedArray},
    tensor::FloatTensor,
};

use super::cpu::{self, Memory};
use crate::{
    memory::Order,
    ops::{BackwardOptions, BatchNormOps, Epilogue, Gradients, Normalized, Options},
};

macro_rules! with_dtype {
    ($tensor:expr, $function:ident($($argument:expr),*)) => {
        match &$tensor {
            NdArrayTensor::F64(_) => cpu::$function::<Self, f64>($($argument),*),
            NdArrayTensor::F32(_) => cpu::$function::<Self, f32>($($argument),*),
            _ => panic!("batch norm has kernels for f32 and f64 on ndarray only"),
        }
    };
}

impl BatchNormOps for NdArray {
    fn normalize(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        running_mean: FloatTensor<Self>,
        running_var: FloatTensor<Self>,
        epilogue: Epilogue<Self>,
        options: Options,
    ) -> Normalized<Self> {
        let channels = [gamma, beta, running_mean, running_var].map(per_channel);
        let epilogue = epilogue.map(owned);
        let input = owned(input);
        with_dtype!(input, normalize(input, channels, epilogue, options))
    }

    fn normalize_backward(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        inverse_std: FloatTensor<Self>,
        epilogue: Epilogue<Self>,
        output_grad: FloatTensor<Self>,
        options: BackwardOptions,
    ) -> Gradients<Self> {
        let channels = [gamma, beta, mean, inverse_std].map(per_channel);
        let epilogue = epilogue.map(owned);
        let (input, output_grad) = (owned(input), owned(output_grad));
        with_dtype!(input, normalize_backward(input, channels, epilogue, output_grad, options))
    }

    fn scale_and_shift(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epilogue: Epilogue<Self>,
    ) -> FloatTensor<Self> {
        let (scale, shift) = (per_channel(scale), per_channel(shift));
        let (epilogue, input) = (epilogue.map(owned), owned(input));
        with_dtype!(input, scale_and_shift(input, scale, shift, epilogue))
    }
}

/// The tensor as an array of its own: one that still lies in a file is copied.
fn owned(tensor: NdArrayTensor) -> NdArrayTensor {
    match tensor {
        NdArrayTensor::F64(storage) => storage.into_shared().into(),
        NdArrayTensor::F32(storage) => storage.into_shared().into(),
        other => other,
    }
}

/// The same of a tensor `[channels]`, its values in memory one after the other.
fn per_channel(tensor: NdArrayTensor) -> NdArrayTensor {
    fn line<E: Clone>(array: SharedArray<E>) -> SharedArray<E> {
        match array.is_standard_layout() {
            true => array,
            false => array.as_standard_layout().into_owned().into_shared(),
        }
    }
    match tensor {
        NdArrayTensor::F64(storage) => line(storage.into_shared()).into(),
        NdArrayTensor::F32(storage) => line(storage.into_shared()).into(),
        other => other,
    }
}

macro_rules! memory {
    ($element:ty, $variant:ident) => {
        impl Memory<$element> for NdArrayTensor {
            fn new(values: Vec<$element>, shape: Vec<usize>, order: Order) -> Self {
                from_values(values, &shape, order).into()
            }

            fn dims(&self) -> Vec<usize> {
                let Self::$variant(storage) = self else { unreachable!("matched before") };
                storage.shape().to_vec()
            }

            fn order(&self) -> Option<Order> {
                let Self::$variant(storage) = self else { unreachable!("matched before") };
                let array = storage.view();
                Order::of(array.shape(), array.strides())
            }

            fn into_order(self, order: Order) -> Self {
                if Memory::<$element>::order(&self) == Some(order) {
                    return self;
                }
                let Self::$variant(storage) = self else { unreachable!("matched before") };
                let array = storage.into_shared();
                let axes = order.axes(array.ndim());
                let values = array.view().permuted_axes(axes).iter().copied().collect();
                from_values(values, array.shape(), order).into()
            }

            fn values(&self) -> &[$element] {
                let Self::$variant(storage) = self else { unreachable!("matched before") };
                let array = storage.view();
                array.to_slice_memory_order().expect("an array without gaps")
            }

            fn values_mut(&mut self) -> &mut [$element] {
                let Self::$variant(storage) = self else { unreachable!("matched before") };
                let array = storage.ensure_owned();
                array.as_slice_memory_order_mut().expect("an array without gaps")
            }
        }
    };
}

memory!(f32, F32);
memory!(f64, F64);

fn from_values<E: Clone>(values: Vec<E>, shape: &[usize], order: Order) -> SharedArray<E> {
    let axes = order.axes(shape.len());
    let lengths: Vec<_> = axes.iter().map(|&axis| shape[axis]).collect();
    let array = SharedArray::from_shape_vec(lengths, values).expect("as many values as places");
    // Where each axis of the tensor lies among those of memory.
    let mut places = vec![0; axes.len()];
    axes.into_iter().enumerate().for_each(|(place, axis)| places[axis] = place);
    array.permuted_axes(places)
}

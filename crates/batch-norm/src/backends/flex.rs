//! Flex: the CPU backend that Burn recommends.

use burn::{
    backend::{
        Flex,
        flex::{FlexTensor, Layout},
        tensor::FloatTensor,
    },
    tensor::{Bytes, DType, Element, Shape, bf16, f16},
};
use bytemuck::Pod;

use super::cpu::{self, Memory};
use crate::{
    cpu::Storage,
    memory::Order,
    ops::{BackwardOptions, BatchNormOps, Epilogue, Gradients, Normalized, Options},
};

macro_rules! with_dtype {
    ($tensor:expr, $function:ident($($argument:expr),*)) => {
        match $tensor.dtype() {
            DType::F64 => cpu::$function::<Self, f64>($($argument),*),
            DType::F32 => cpu::$function::<Self, f32>($($argument),*),
            DType::F16 => cpu::$function::<Self, f16>($($argument),*),
            DType::BF16 => cpu::$function::<Self, bf16>($($argument),*),
            dtype => panic!("batch norm has no kernel for {dtype:?} on flex"),
        }
    };
}

impl BatchNormOps for Flex {
    fn normalize(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        running_mean: FloatTensor<Self>,
        running_var: FloatTensor<Self>,
        epilogue: Epilogue<Self>,
        options: Options,
    ) -> Normalized<Self> {
        let channels = [gamma, beta, running_mean, running_var].map(contiguous);
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
        let channels = [gamma, beta, mean, inverse_std].map(contiguous);
        with_dtype!(input, normalize_backward(input, channels, epilogue, output_grad, options))
    }

    fn scale_and_shift(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epilogue: Epilogue<Self>,
    ) -> FloatTensor<Self> {
        let (scale, shift) = (contiguous(scale), contiguous(shift));
        with_dtype!(input, scale_and_shift(input, scale, shift, epilogue))
    }
}

fn contiguous(tensor: FlexTensor) -> FlexTensor {
    match tensor.is_contiguous() {
        true => tensor,
        false => tensor.to_contiguous(),
    }
}

/// Where in its storage a tensor without gaps lies.
fn range(tensor: &FlexTensor) -> std::ops::Range<usize> {
    let start = tensor.layout().start_offset();
    start..start + tensor.layout().num_elements()
}

impl<E: Storage + Element + Pod> Memory<E> for FlexTensor {
    fn new(values: Vec<E>, shape: Vec<usize>, order: Order) -> Self {
        let strides = order.strides(&shape);
        let layout = Layout::new(Shape::from(shape), strides, 0);
        FlexTensor::new(Bytes::from_elems(values), layout, E::dtype())
    }

    fn dims(&self) -> Vec<usize> {
        self.layout().shape().to_vec()
    }

    fn order(&self) -> Option<Order> {
        Order::of(self.layout().shape(), self.layout().strides())
    }

    fn into_order(self, order: Order) -> Self {
        let (shape, strides) =
            (self.layout().shape().clone(), order.strides(self.layout().shape()));
        if Memory::<E>::order(&self) == Some(order) {
            return self;
        }
        // Contiguous once its axes are permuted to lie as they do in memory.
        let dense = self.permute(&order.axes(shape.num_dims())).to_contiguous();
        dense.with_layout(Layout::new(shape, strides, 0))
    }

    fn values(&self) -> &[E] {
        &self.storage()[range(self)]
    }

    fn values_mut(&mut self) -> &mut [E] {
        let range = range(self);
        &mut self.storage_mut()[range]
    }
}

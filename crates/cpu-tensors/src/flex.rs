//! Flex: the CPU backend that Burn recommends.

use burn::{
    backend::flex::{FlexTensor, Layout},
    tensor::{Bytes, Element, Shape},
};
use bytemuck::Pod;

use crate::{CpuTensor, Order, View, tensor::extent};

impl<E: Element + Pod> CpuTensor<E> for FlexTensor {
    fn from_values(values: Vec<E>, shape: Vec<usize>, order: Order) -> Self {
        let places: usize = shape.iter().product();
        assert_eq!(values.len(), places, "the values must fill the shape {shape:?}");
        let strides = order.strides(&shape);
        let layout = Layout::new(Shape::from(shape), strides, 0);
        FlexTensor::new(Bytes::from_elems(values), layout, E::dtype())
    }

    fn dims(&self) -> Vec<usize> {
        self.layout().shape().to_vec()
    }

    fn strides(&self) -> Vec<isize> {
        self.layout().strides().to_vec()
    }

    fn into_order(self, order: Order) -> Self {
        let (shape, strides) =
            (self.layout().shape().clone(), order.strides(self.layout().shape()));
        if CpuTensor::<E>::order(&self) == Some(order) {
            return self;
        }
        // Contiguous with the axes permuted to the new memory order.
        let dense = self.permute(&order.axes(shape.num_dims())).to_contiguous();
        dense.with_layout(Layout::new(shape, strides, 0))
    }

    fn view(&self) -> View<'_, E> {
        let layout = self.layout();
        let (length, strides) = extent(layout.shape(), layout.strides());
        View { values: &self.storage()[layout.start_offset()..][..length], strides }
    }

    fn values_mut(&mut self) -> &mut [E] {
        let (start, elements) = (self.layout().start_offset(), self.layout().num_elements());
        &mut self.storage_mut()[start..][..elements]
    }
}

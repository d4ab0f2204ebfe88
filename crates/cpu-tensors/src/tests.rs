use burn::{
    backend::DispatchTensorKind as Kind,
    tensor::{Device, Int, Tensor, s},
};

use super::*;

fn devices() -> Vec<Device> {
    #[allow(deprecated)]
    [
        #[cfg(feature = "flex")]
        Device::flex(),
        #[cfg(feature = "ndarray")]
        Device::ndarray(),
    ]
    .into()
}

/// Evaluates an expression with the tensor of either backend.
macro_rules! with_backend {
    ($tensor:expr, |$backend:ident| $result:expr) => {
        match $tensor.into_dispatch().kind {
            #[cfg(feature = "flex")]
            Kind::Flex(tensor) => {
                let $backend = tensor.float();
                $result
            }
            #[cfg(feature = "ndarray")]
            Kind::NdArray(tensor) => {
                let $backend = tensor.float();
                $result
            }
            _ => unreachable!("neither flex nor ndarray"),
        }
    };
}

/// All values are different, so that none can be mistaken for its neighbor.
fn counting<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = 0..shape.iter().product::<usize>() as i64;
    Tensor::<1, Int>::arange(values, device).float().reshape(shape)
}

/// The indices of all elements of a shape, row by row.
fn places(dims: &[usize]) -> Vec<Vec<usize>> {
    dims.iter().fold(vec![vec![]], |places, &size| {
        let extended =
            |place: Vec<usize>| (0..size).map(move |index| [&place[..], &[index]].concat());
        places.into_iter().flat_map(extended).collect()
    })
}

/// All elements, read through the view.
fn read(tensor: impl CpuTensor<f32>) -> Vec<f32> {
    let View { values, strides } = tensor.view();
    let offset = |place: Vec<usize>| {
        place.iter().zip(&strides).map(|(&index, &stride)| index * stride as usize).sum::<usize>()
    };
    places(&tensor.dims()).into_iter().map(|place| values[offset(place)]).collect()
}

fn data<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn assert_reads<const D: usize>(what: &str, tensor: Tensor<D>) {
    let expected = data(tensor.clone());
    let found = with_backend!(tensor, |tensor| read(CpuTensor::<f32>::into_readable(tensor)));
    assert_eq!(found, expected, "{what}");
}

#[test]
fn a_view_reads_every_element_of_sliced_transposed_and_expanded_tensors() {
    for device in devices() {
        let x = || counting([3, 4, 5, 6], &device);
        assert_reads("as it is", x());
        assert_reads("sliced", x().slice(s![1..3, .., 2..4, 1..5]));
        assert_reads("sliced with a step", x().slice(s![.., ..;2, 1..;3, ..]));
        assert_reads("transposed", x().swap_dims(1, 3));
        assert_reads("channels last", x().permute([0, 2, 3, 1]));
        assert_reads("sliced and transposed", x().slice(s![.., 1..3, 2..3, 1..5]).swap_dims(0, 2));
        assert_reads("expanded", counting([3, 1, 5, 1], &device).expand([3, 4, 5, 6]));
        let expanded = counting([4, 1], &device).expand([2, 4, 3]);
        assert_reads(
            "expanded, sliced and transposed",
            expanded.slice(s![.., 1..3, ..]).swap_dims(1, 2),
        );
        assert_reads("of one element", counting([1], &device));
        assert_reads("backwards", x().flip([1, 3]));
        assert_reads("one element of a reversed tensor", x().flip([1]).slice(s![.., 2..3, .., ..]));
    }
}

#[test]
fn the_orders_are_those_of_the_values_in_memory() {
    for device in devices() {
        let x = || counting([2, 3, 4, 5], &device);
        for tensor in [x(), x().swap_dims(1, 3), x().slice(s![.., 1..3, ..;2, ..]), x().flip([2])] {
            let dims = tensor.dims().to_vec();
            let first = data(tensor.clone());
            let last = data(tensor.clone().permute([0, 2, 3, 1]));
            for (order, values) in [(Order::ChannelsFirst, &first), (Order::ChannelsLast, &last)] {
                let tensor = tensor.clone();
                with_backend!(tensor, |tensor| {
                    let mut made = CpuTensor::<f32>::into_order(tensor, order);
                    for _ in 0..2 {
                        assert_eq!(CpuTensor::<f32>::order(&made), Some(order));
                        assert_eq!(CpuTensor::<f32>::values(&made), values);
                        assert_eq!(CpuTensor::<f32>::values_mut(&mut made), values);
                        assert_eq!(read(made), first);
                        made = CpuTensor::from_values(values.clone(), dims.clone(), order);
                    }
                });
            }
        }
    }
}

#[test]
fn one_axis_or_none_has_the_order_of_its_values() {
    for device in devices() {
        let column = counting([4, 3], &device).slice(s![.., 1..2]).reshape([4]);
        let backwards = column.clone().flip([0]);
        for (vector, expected) in [(column, [1., 4., 7., 10.]), (backwards, [10., 7., 4., 1.])] {
            with_backend!(vector, |vector| {
                let vector = CpuTensor::<f32>::into_order(vector, Order::ChannelsFirst);
                assert_eq!(CpuTensor::<f32>::values(&vector), expected);
            });
        }
    }
    assert_eq!(Order::of(&[4], &[2]), None);
    assert_eq!(Order::of(&[], &[]), Some(Order::ChannelsFirst));
    assert_eq!(Order::ChannelsLast.axes(1), [0]);
}

#[test]
fn writing_leaves_the_other_owner_of_the_values_alone() {
    for device in devices() {
        let x = counting([2, 3], &device);
        with_backend!(x.clone(), |written| {
            let mut written = written;
            CpuTensor::<f32>::values_mut(&mut written).fill(9.0);
            assert_eq!(read(written), [9.0; 6]);
        });
        assert_eq!(data(x), [0., 1., 2., 3., 4., 5.]);
    }
}

#[cfg(feature = "flex")]
mod flex {
    use super::*;
    use burn::backend::flex::FlexTensor;

    fn tensor() -> FlexTensor {
        let values = (0..24).map(|value| value as f32).collect();
        CpuTensor::from_values(values, vec![2, 3, 4], Order::ChannelsFirst)
    }

    #[test]
    fn a_view_is_of_the_tensors_own_memory() {
        let whole = tensor();
        let sliced = whole.narrow(1, 1, 2).transpose(0, 2);
        let view = CpuTensor::<f32>::view(&sliced);
        assert!(std::ptr::eq(view.values, &CpuTensor::<f32>::values(&whole)[4..]));
        assert_eq!(view.strides, [1, 4, 12]);
    }

    #[test]
    #[should_panic = "no view"]
    fn a_tensor_that_is_backwards_has_no_view() {
        let tensor = tensor();
        let layout = tensor.layout().flip(&[2]);
        CpuTensor::<f32>::view(&tensor.with_layout(layout));
    }

    #[test]
    #[should_panic = "not contiguous"]
    fn a_tensor_with_gaps_has_no_values_in_a_row() {
        CpuTensor::<f32>::values(&tensor().narrow(1, 1, 2));
    }

    #[test]
    fn a_tensor_without_elements_has_an_empty_view() {
        let tensor: FlexTensor =
            CpuTensor::<f32>::from_values(vec![], vec![2, 0, 3], Order::ChannelsLast);
        assert!(CpuTensor::<f32>::view(&tensor).values.is_empty());
        assert!(CpuTensor::<f32>::values(&tensor).is_empty());
    }
}

/// Burn's own slices of ndarray's tensors are copies; only ndarray makes arrays with gaps.
#[cfg(feature = "ndarray")]
#[allow(deprecated)]
mod ndarray {
    use super::*;
    use burn::backend::ndarray::{NdArrayTensor, SharedArray};

    #[test]
    fn a_view_is_of_the_arrays_own_memory() {
        let values = (0..24).map(|value| value as f32).collect();
        let whole = SharedArray::from_shape_vec(vec![2, 3, 4], values).unwrap();
        let sliced = whole.clone().slice_move(&[(0..2).into(), (1..3).into(), (1..3).into()][..]);
        let sliced: NdArrayTensor = sliced.permuted_axes(vec![2, 1, 0]).into();
        let view = CpuTensor::<f32>::view(&sliced);
        assert!(std::ptr::eq(view.values, &whole.as_slice().unwrap()[5..23]));
        assert_eq!(view.strides, [1, 4, 12]);
        assert_eq!(read(sliced), [5., 17., 9., 21., 6., 18., 10., 22.]);
    }

    #[test]
    #[should_panic = "no view"]
    fn an_array_that_is_backwards_has_no_view() {
        let tensor = counting([2, 3], &Device::ndarray()).flip([1]);
        with_backend!(tensor, |tensor| CpuTensor::<f32>::view(&tensor).values.len());
    }

    #[test]
    fn an_array_without_elements_has_an_empty_view() {
        let tensor: NdArrayTensor =
            CpuTensor::<f32>::from_values(vec![], vec![2, 0, 3], Order::ChannelsLast);
        assert!(CpuTensor::<f32>::view(&tensor).values.is_empty());
    }
}

#[test]
fn results_are_in_the_order_of_the_items_on_one_thread_and_on_all() {
    let items: Vec<usize> = (100..1100).collect();
    let expected: Vec<_> = (0..1000).map(|index| (index, index + 100)).collect();
    for elements in [0, PARALLEL - 1, PARALLEL] {
        let found = map_tasks(items.clone(), elements, |index, item| (index, item));
        assert_eq!(found, expected);
    }
}

#[test]
fn a_vector_is_what_was_written_into_it() {
    let fill = |values: &mut [std::mem::MaybeUninit<usize>]| {
        values.iter_mut().enumerate().for_each(|(index, value)| _ = value.write(index * index));
        "returned"
    };
    // SAFETY: `fill` writes all elements.
    let (values, returned) = unsafe { collect(5, fill) };
    assert_eq!((values, returned), (vec![0, 1, 4, 9, 16], "returned"));
}

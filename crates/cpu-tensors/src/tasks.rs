use std::mem::MaybeUninit;

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

/// Below this many values in a tensor, waking the other threads takes longer than the work.
pub const PARALLEL: usize = 1 << 15;

/// `task` of every item and its index, on all threads if the tensor has [`PARALLEL`] elements or
/// more. The results are in the order of the items.
pub fn map_tasks<I: Send, R: Send>(
    items: Vec<I>,
    elements: usize,
    task: impl Fn(usize, I) -> R + Sync,
) -> Vec<R> {
    let task = |(index, item)| task(index, item);
    match elements < PARALLEL {
        true => items.into_iter().enumerate().map(task).collect(),
        false => items.into_par_iter().enumerate().map(task).collect(),
    }
}

/// A vector whose every element `fill` writes, and what `fill` returns.
///
/// # Safety
///
/// When `fill` returns, it has written every element of the slice.
pub unsafe fn collect<E, R>(
    length: usize,
    fill: impl FnOnce(&mut [MaybeUninit<E>]) -> R,
) -> (Vec<E>, R) {
    let mut values = Vec::with_capacity(length);
    let result = fill(&mut values.spare_capacity_mut()[..length]);
    // SAFETY: the capacity is at least the length, and `fill` has written every element.
    unsafe { values.set_len(length) };
    (values, result)
}

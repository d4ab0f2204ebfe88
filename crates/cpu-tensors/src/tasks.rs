use std::mem::MaybeUninit;

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

/// Below this many values in a tensor, waking the other threads takes longer than the work.
pub const PARALLEL: usize = 1 << 15;

/// Calls `task` with every item and its index, on all threads if the tensor has [`PARALLEL`]
/// elements or more. The results are in the order of the items.
pub fn map_tasks<I: Send, R: Send>(
    items: Vec<I>,
    elements: usize,
    task: impl Fn(usize, I) -> R + Sync,
) -> Vec<R> {
    let task = |(index, item)| task(index, item);
    if elements < PARALLEL {
        items.into_iter().enumerate().map(task).collect()
    } else {
        items.into_par_iter().enumerate().map(task).collect()
    }
}

/// Runs work with several consecutive parallel parts on a thread of the pool, if the tensor has
/// [`PARALLEL`] elements or more. A thread outside the pool would wait for each part, and the
/// threads of the pool would sleep in between.
pub fn on_pool<R: Send>(elements: usize, work: impl FnOnce() -> R + Send) -> R {
    if elements < PARALLEL { work() } else { rayon::scope(|_| work()) }
}

/// Creates a vector whose elements `fill` writes. Also returns the result of `fill`.
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

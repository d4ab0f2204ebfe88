use std::{mem::MaybeUninit, sync::Mutex};

use rayon::iter::{IntoParallelIterator, ParallelIterator};

/// Below this many values in a tensor, waking the other threads takes longer than the work.
pub const PARALLEL: usize = 1 << 15;

/// Calls `task` with every item and its index, on all threads if the tensor has [`PARALLEL`]
/// elements or more. The results are in the order of the items.
pub fn map_tasks<I: Send, R: Send>(
    items: Vec<I>,
    elements: usize,
    task: impl Fn(usize, I) -> R + Sync,
) -> Vec<R> {
    /// An item before its task, and the result after it.
    type Slot<I, R> = Mutex<(Option<I>, Option<R>)>;
    let slots: Vec<Slot<I, R>> =
        items.into_iter().map(|item| Mutex::new((Some(item), None))).collect();
    for_each_task(slots.len(), elements, &|index| {
        let mut slot = slots[index].lock().expect("each slot is locked once");
        let item = slot.0.take().expect("each task runs once");
        slot.1 = Some(task(index, item));
    });
    let results = slots.into_iter().map(|slot| slot.into_inner().expect("no task panicked").1);
    results.map(|result| result.expect("each task ran")).collect()
}

/// Calls `task` with every index below `count`, on all threads if the tensor has [`PARALLEL`]
/// elements or more.
///
/// Not generic, so that rayon's code for it is compiled once and not for every kernel, which took
/// minutes.
pub fn for_each_task(count: usize, elements: usize, task: &(dyn Fn(usize) + Sync)) {
    if elements < PARALLEL {
        (0..count).for_each(task);
    } else {
        (0..count).into_par_iter().for_each(task);
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

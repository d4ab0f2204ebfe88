//! Scratch buffers of tasks. A thread keeps its buffers for the next task.

use std::cell::RefCell;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read and written as a slice of values")] [f32; LINE]);

const LINE: usize = 16;

thread_local! {
    static FREE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `task` with a scratch buffer for `length` values, aligned to a cache line. It contains the
/// values of earlier uses.
pub fn with_scratch<R>(length: usize, task: impl FnOnce(&mut [f32]) -> R) -> R {
    #[cfg(all(test, unix))]
    if let Some(mut pages) = super::tests::pages::scratch(length) {
        return task(&mut pages);
    }
    // Taken out, not borrowed: a nested call takes another buffer.
    let mut lines = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    let needed = length.div_ceil(LINE);
    if lines.len() < needed {
        lines = vec![Line([0.0; LINE]); needed];
    }
    // SAFETY: a line is LINE values of f32, initialized, without gaps.
    let values = unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), length) };
    let result = task(values);
    FREE.with_borrow_mut(|free| free.push(lines));
    result
}

/// A pointer into a tensor that several tasks write, each at its own places.
#[derive(Clone, Copy)]
pub struct Shared(*mut f32);

// SAFETY: all users ensure that no two tasks access the same value.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// A pointer to the first value.
    pub fn new(values: &mut [f32]) -> Self {
        Self(values.as_mut_ptr())
    }

    /// A pointer to the first of values that are not written yet.
    pub fn uninit(values: &mut [std::mem::MaybeUninit<f32>]) -> Self {
        Self(values.as_mut_ptr().cast())
    }

    /// A pointer to a value.
    ///
    /// # Safety
    ///
    /// There are at least `index` values.
    pub unsafe fn at(self, index: usize) -> *mut f32 {
        unsafe { self.0.add(index) }
    }
}

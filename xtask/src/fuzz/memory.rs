//! An allocator that counts the allocated bytes.

use std::{
    alloc::{GlobalAlloc, Layout},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Bytes currently allocated.
static HELD: AtomicUsize = AtomicUsize::new(0);
/// The peak since [`start`].
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Returns the bytes currently allocated.
pub fn held() -> usize {
    HELD.load(Relaxed)
}

/// Resets the peak, and returns the bytes currently allocated.
pub fn start() -> usize {
    let held = held();
    PEAK.store(held, Relaxed);
    held
}

/// Returns the peak of allocated bytes since [`start`].
pub fn peak() -> usize {
    PEAK.load(Relaxed)
}

/// Counts the bytes that the inner allocator allocates.
pub struct Counting<A>(pub A);

fn add(size: usize) {
    let held = HELD.fetch_add(size, Relaxed) + size;
    PEAK.fetch_max(held, Relaxed);
}

fn subtract(size: usize) {
    HELD.fetch_sub(size, Relaxed);
}

// As sound as the inner allocator: each call is forwarded unchanged, and counting allocates
// nothing.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // The caller fulfills the contract of `alloc`.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // As in `alloc`.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        subtract(layout.size());
        // The pointer came from the inner allocator.
        unsafe { self.0.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match size.checked_sub(layout.size()) {
            Some(more) => add(more),
            None => subtract(layout.size() - size),
        }
        // The pointer came from the inner allocator.
        unsafe { self.0.realloc(pointer, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted() {
        let before = start();
        // More than other tests, which allocate at the same time: the weights of whole networks.
        let large = std::hint::black_box(Vec::<u8>::with_capacity(2 << 30));
        assert!(held() >= before + (1 << 30));
        drop(large);
        assert!(peak() >= before + (1 << 30) && held() < before + (1 << 30));
    }
}

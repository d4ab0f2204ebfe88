//! An allocator that counts.

use std::{
    alloc::{GlobalAlloc, Layout},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Bytes that the program holds.
static HELD: AtomicUsize = AtomicUsize::new(0);
/// The most that it held since [`start`].
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Bytes that the program holds now.
pub fn held() -> usize {
    HELD.load(Relaxed)
}

/// Forgets the peak, and tells what is held now.
pub fn start() -> usize {
    let held = held();
    PEAK.store(held, Relaxed);
    held
}

/// The most bytes that the program held at once since [`start`].
pub fn peak() -> usize {
    PEAK.load(Relaxed)
}

/// Counts what the allocator inside hands out.
pub struct Counting<A>(pub A);

fn add(size: usize) {
    let held = HELD.fetch_add(size, Relaxed) + size;
    PEAK.fetch_max(held, Relaxed);
}

fn subtract(size: usize) {
    HELD.fetch_sub(size, Relaxed);
}

// Sound as the allocator inside: each call is handed on as it came, and counting allocates nothing.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // The caller keeps alloc's promises.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // As in alloc.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        subtract(layout.size());
        // The pointer came from the allocator inside.
        unsafe { self.0.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match size.checked_sub(layout.size()) {
            Some(more) => add(more),
            None => subtract(layout.size() - size),
        }
        // The pointer came from the allocator inside.
        unsafe { self.0.realloc(pointer, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted() {
        let before = start();
        let large = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(held() >= before + (60 << 20));
        drop(large);
        // Other tests hold something too, but not as much.
        assert!(peak() >= before + (60 << 20) && held() < before + (30 << 20));
    }
}

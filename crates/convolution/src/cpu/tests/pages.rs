//! Memory that begins or ends at an inaccessible page: a read or a write beyond it ends the tests
//! with a segmentation fault.

use std::{
    cell::Cell,
    ffi::c_void,
    num::NonZeroUsize,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// A multiple of every page size.
const PAGE: usize = 1 << 16;

/// The side of the inaccessible page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Before,
    After,
}

/// Values next to such a page, all NaN at first.
pub struct Pages {
    start: NonNull<c_void>,
    bytes: usize,
    values: NonNull<f32>,
    length: usize,
}

impl Pages {
    pub fn new(length: usize, side: Side) -> Self {
        let used = (length * size_of::<f32>()).next_multiple_of(PAGE).max(PAGE);
        let bytes = used + 2 * PAGE;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_ANON;
        // SAFETY: the mapping is new; the part that is made accessible is inside it; `length`
        // values fit into that part, and any bits are valid f32s.
        unsafe {
            let size = NonZeroUsize::new(bytes).unwrap();
            let start = mmap_anonymous(None, size, ProtFlags::PROT_NONE, flags).unwrap();
            let open = start.byte_add(PAGE);
            mprotect(open, used, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE).unwrap();
            let values = match side {
                Side::Before => open.cast::<f32>(),
                Side::After => open.byte_add(used).cast::<f32>().sub(length),
            };
            let mut pages = Self { start, bytes, values, length };
            pages.fill(f32::NAN);
            pages
        }
    }

    pub fn of(values: &[f32], side: Side) -> Self {
        let mut pages = Self::new(values.len(), side);
        pages.copy_from_slice(values);
        pages
    }
}

impl Deref for Pages {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: the mapping has `length` values, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.values.as_ptr(), self.length) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.values.as_ptr(), self.length) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: this is the whole mapping, which is no longer borrowed.
        unsafe { munmap(self.start, self.bytes).unwrap() };
    }
}

thread_local! {
    static SCRATCH: Cell<Option<Side>> = const { Cell::new(None) };
}

/// Runs a task on threads whose scratch buffers are also next to such a page.
pub fn with_guarded_scratch<R: Send>(side: Side, task: impl FnOnce() -> R + Send) -> R {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .start_handler(move |_| SCRATCH.set(Some(side)))
        .build()
        .unwrap();
    pool.install(task)
}

/// The memory for a scratch buffer, if this is such a thread.
pub fn scratch(length: usize) -> Option<Pages> {
    SCRATCH.get().map(|side| Pages::new(length, side))
}

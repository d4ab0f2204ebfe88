//! The program's allocator, which keeps freed memory.
//!
//! Each training step frees hundreds of megabytes and allocates them again. Allocators usually
//! return large blocks to the system, which then fills new pages with zeros: this takes up to a
//! quarter of a step's time on a CPU.

pub use mimalloc::MiMalloc;

/// Makes [`MiMalloc`] keep freed memory forever. Call it once, when the program starts.
pub fn keep_freed_memory() {
    /// `mi_option_purge_delay` of mimalloc's header, which the crate does not name.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    const NEVER: std::ffi::c_long = -1;
    // SAFETY: sets a number in mimalloc's table of options.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, NEVER) };
}

#[cfg(test)]
mod tests {
    use std::{
        alloc::{GlobalAlloc, Layout},
        thread,
        time::Duration,
    };

    use super::*;

    const SIZE: usize = 512 << 20;

    fn resident() -> usize {
        memory_stats::memory_stats().expect("known on this system").physical_mem
    }

    fn write_and_free() {
        let layout = Layout::from_size_align(SIZE, 64).unwrap();
        // SAFETY: written where it was allocated, freed with its layout.
        unsafe {
            let values = MiMalloc.alloc(layout);
            values.write_bytes(1, SIZE);
            MiMalloc.dealloc(values, layout);
        }
    }

    #[test]
    fn what_is_freed_stays_with_the_program() {
        keep_freed_memory();
        let before = resident();
        write_and_free();
        // Longer than mimalloc's default delay, after which the next allocation returns freed
        // memory to the system.
        thread::sleep(Duration::from_secs(2));
        // SAFETY: freed with its layout.
        unsafe {
            let layout = Layout::from_size_align(1 << 20, 64).unwrap();
            MiMalloc.dealloc(MiMalloc.alloc(layout), layout);
        }
        assert!(resident() > before + SIZE / 2);
    }
}

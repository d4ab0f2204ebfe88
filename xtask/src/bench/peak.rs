//! How fast a processor multiplies and adds at the most: fused multiply-adds in registers alone, on all
//! threads.

use std::time::{Duration, Instant};

/// Multiply-adds that wait for nothing: each instruction has a register of its own to add to, and there
/// are more than the processor has under way at once.
const REGISTERS: usize = 12;

/// A few milliseconds.
#[cfg(target_arch = "x86_64")]
const ITERATIONS: usize = 1 << 20;
#[cfg(not(target_arch = "x86_64"))]
const ITERATIONS: usize = 0;

/// The vector instructions that are timed.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    /// Their name.
    pub instructions: &'static str,
    lanes: usize,
    run: fn(),
}

impl Peak {
    /// Of the widest vectors that this processor has; none for processors other than x86-64 with AVX2
    /// and FMA.
    pub fn of_processor() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            // As the kernels ask.
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                return Some(Self { instructions: "AVX-512", lanes: 16, run: avx512 });
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Some(Self { instructions: "AVX2", lanes: 8, run: avx2 });
            }
        }
        None
    }

    /// The time that all threads take for some multiply-adds each.
    pub fn time(self) -> Duration {
        let start = Instant::now();
        rayon::broadcast(|_| (self.run)());
        start.elapsed()
    }

    /// What that comes to: multiplications and additions per second.
    pub fn flops(self, time: Duration) -> f64 {
        let threads = rayon::current_num_threads();
        (2 * threads * ITERATIONS * REGISTERS * self.lanes) as f64 / time.as_secs_f64()
    }
}

#[cfg(target_arch = "x86_64")]
macro_rules! multiply_add {
    ($register:literal) => {
        // SAFETY: only registers are changed, and all of them are listed. The processor has the
        // instructions, as `of_processor` asked.
        unsafe {
            std::arch::asm!(
                ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13",
                "vxorps xmm\\n, xmm\\n, xmm\\n", // the whole of the wider register
                ".endr",
                "2:",
                ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
                concat!("vfmadd231ps ", $register, "\\n, ", $register, "12, ", $register, "13"),
                ".endr",
                "dec rcx",
                "jnz 2b",
                inout("rcx") ITERATIONS => _,
                clobber_abi("sysv64"),
                options(nomem, nostack),
            )
        }
    };
}

#[cfg(target_arch = "x86_64")]
fn avx512() {
    multiply_add!("zmm");
}

#[cfg(target_arch = "x86_64")]
fn avx2() {
    multiply_add!("ymm");
}

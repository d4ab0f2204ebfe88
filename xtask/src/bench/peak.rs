//! Measures the processor's peak FLOP/s: fused multiply-adds on registers only, on all threads.

use std::time::{Duration, Instant};

/// The number of independent accumulator registers: more than the number of multiply-adds that the
/// processor has in flight, so that none waits for another.
const REGISTERS: usize = 12;

/// Iterations of the loop, which takes a few milliseconds.
#[cfg(target_arch = "x86_64")]
const ITERATIONS: usize = 1 << 20;
#[cfg(not(target_arch = "x86_64"))]
const ITERATIONS: usize = 0;

/// The vector instructions to time.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    /// The name of the instruction set.
    pub instructions: &'static str,
    lanes: usize,
    run: fn(),
}

impl Peak {
    /// Returns the widest vector instructions of this processor; `None` for processors other than
    /// x86-64 with AVX2 and FMA.
    pub fn of_processor() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            // The kernels check for the same features.
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                return Some(Self { instructions: "AVX-512", lanes: 16, run: avx512 });
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Some(Self { instructions: "AVX2", lanes: 8, run: avx2 });
            }
        }
        None
    }

    /// Times the loop of multiply-adds on all threads.
    pub fn time(self) -> Duration {
        let start = Instant::now();
        rayon::broadcast(|_| (self.run)());
        start.elapsed()
    }

    /// Converts the time of the loop to FLOP/s.
    pub fn flops(self, time: Duration) -> f64 {
        let threads = rayon::current_num_threads();
        (2 * threads * ITERATIONS * REGISTERS * self.lanes) as f64 / time.as_secs_f64()
    }
}

#[cfg(target_arch = "x86_64")]
macro_rules! multiply_add {
    ($register:literal) => {
        // SAFETY: the code changes only registers, and all of them are declared as clobbered.
        // `of_processor` has checked that the processor has the instructions.
        unsafe {
            std::arch::asm!(
                ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13",
                "vxorps xmm\\n, xmm\\n, xmm\\n", // clears the whole wider register
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

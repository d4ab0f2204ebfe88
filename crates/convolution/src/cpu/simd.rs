//! The vector instructions that the kernels use, in several instruction sets.
//!
//! A kernel is written once, for any [`Simd`], and compiled for each. The instructions of a set may
//! run only on a processor that has it: [`Isa::best`] detects the processor, and only
//! [`Simd::enter`] calls a kernel with the instructions of the set enabled.

use std::{fmt, sync::OnceLock};

/// A set of vector instructions.
///
/// # Safety of all functions
///
/// The processor has the instructions; pointers are valid for what is read or written there: all
/// [`LANES`](Self::LANES) values, or the first `n` of them.
pub trait Simd: Copy + Send + Sync + 'static {
    /// `f32` values in a vector.
    const LANES: usize;
    /// Rows of a tile of two vectors: as many as leave registers for the operands.
    const ROWS: usize;
    /// Rows of a tile of one vector.
    const NARROW_ROWS: usize;
    /// A vector.
    type Vector: Copy;

    /// The same value in all lanes.
    unsafe fn splat(value: f32) -> Self::Vector;
    /// Loads from memory of any alignment.
    unsafe fn load(from: *const f32) -> Self::Vector;
    /// Loads the first `n` lanes; the others are 0.
    unsafe fn load_first(from: *const f32, n: usize) -> Self::Vector;
    /// Stores to memory of any alignment.
    unsafe fn store(to: *mut f32, value: Self::Vector);
    /// Stores the first `n` lanes.
    unsafe fn store_first(to: *mut f32, value: Self::Vector, n: usize);
    /// `a + b`.
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a - b`.
    unsafe fn sub(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b`.
    unsafe fn mul(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b + c`, rounded once if the processor can.
    unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `max(a, 0)`; NaN stays NaN.
    unsafe fn relu(a: Self::Vector) -> Self::Vector;
    /// Transposes eight rows of eight values: `to[i][j] = from[j][i]`.
    unsafe fn transpose(from: [*const f32; 8], to: [*mut f32; 8]);

    /// Runs a kernel with the instructions enabled.
    unsafe fn enter<K: Kernel>(kernel: K) -> K::Output;
}

/// Code that is compiled once for each instruction set. `run` is always inlined, and calls only
/// functions that are.
pub trait Kernel {
    /// The result.
    type Output;

    /// # Safety
    ///
    /// The processor has the instructions of `S`; each kernel documents its other requirements.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

/// An instruction set. Only [`Isa::best`] and, in the tests, `Isa::all` create a value, so an `Isa`
/// shows that the processor has its instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512: 32 registers of 16 values.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 with FMA: 16 registers of 8 values.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// WebAssembly's vectors of 4 values, in pairs.
    #[cfg(target_feature = "simd128")]
    Simd128,
    /// Plain Rust, with the instructions that the program is compiled for.
    Portable,
}

impl Isa {
    /// The best that this processor has and that the environment variable `CONVOLUTION_MAX_ISA`
    /// allows: `avx2` disables AVX-512, `portable` disables both.
    pub fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            let most = std::env::var("CONVOLUTION_MAX_ISA").unwrap_or_default();
            let skipped = match most.to_lowercase().as_str() {
                "avx2" => 1,
                "portable" => 2,
                _ => 0,
            };
            let allowed = Self::KNOWN.into_iter().skip(skipped).find(|isa| isa.is_available());
            allowed.unwrap_or(Self::Portable)
        })
    }

    /// The best first.
    const KNOWN: [Self; Self::COUNT] = [
        #[cfg(target_arch = "x86_64")]
        Self::Avx512,
        #[cfg(target_arch = "x86_64")]
        Self::Avx2,
        #[cfg(target_feature = "simd128")]
        Self::Simd128,
        Self::Portable,
    ];

    const COUNT: usize =
        1 + 2 * cfg!(target_arch = "x86_64") as usize + cfg!(target_feature = "simd128") as usize;

    /// All that this processor has, the best first.
    #[cfg(test)]
    pub fn all() -> impl Iterator<Item = Self> {
        Self::KNOWN.into_iter().filter(|isa| isa.is_available())
    }

    fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && Self::Avx2.is_available()
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            // The program is compiled with them, and could not start without.
            #[cfg(target_feature = "simd128")]
            Self::Simd128 => true,
            Self::Portable => true,
        }
    }

    /// Whether the kernels are known to be faster than Burn's operations with these instructions.
    pub fn is_fast(self) -> bool {
        self != Self::Portable
    }

    /// The most rows of a tile of one or two vectors.
    pub fn rows(self, vectors: usize) -> usize {
        with_isa!(self, S => rows::<S>(vectors))
    }

    /// Values in a vector.
    pub fn lanes(self) -> usize {
        with_isa!(self, S => S::LANES)
    }

    /// The set whose vectors fit a row of `n` values best: narrower ones if a wide one would be
    /// half empty.
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "one width"))]
    pub fn for_row(self, n: usize) -> Self {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 if n <= Avx2::LANES => Self::Avx2,
            isa => isa,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "AVX2",
            #[cfg(target_feature = "simd128")]
            Self::Simd128 => "SIMD128",
            Self::Portable => "portable",
        })
    }
}

/// The most rows of a tile of one or two vectors.
pub fn rows<S: Simd>(vectors: usize) -> usize {
    if vectors == 1 { S::NARROW_ROWS } else { S::ROWS }
}

/// The same for the gradient of the weights, where more rows than these have no benefit.
pub fn outer_rows<S: Simd>(vectors: usize) -> usize {
    rows::<S>(vectors).min(8)
}

/// Evaluates an expression with the [`Simd`] of an [`Isa`].
macro_rules! with_isa {
    ($isa:expr, $simd:ident => $value:expr) => {
        match $isa {
            #[cfg(target_arch = "x86_64")]
            $crate::cpu::simd::Isa::Avx512 => {
                type $simd = $crate::cpu::simd::Avx512;
                $value
            }
            #[cfg(target_arch = "x86_64")]
            $crate::cpu::simd::Isa::Avx2 => {
                type $simd = $crate::cpu::simd::Avx2;
                $value
            }
            #[cfg(target_feature = "simd128")]
            $crate::cpu::simd::Isa::Simd128 => {
                type $simd = $crate::cpu::simd::Simd128;
                $value
            }
            $crate::cpu::simd::Isa::Portable => {
                type $simd = $crate::cpu::simd::Portable;
                $value
            }
        }
    };
}
pub(crate) use with_isa;

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_feature = "simd128")]
pub use wasm::Simd128;

#[cfg(target_feature = "simd128")]
mod wasm;

/// Plain Rust on arrays, which the compiler vectorizes with the instructions that it may use.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl Portable {
    #[inline(always)]
    fn zip(a: [f32; 8], b: [f32; 8], of: impl Fn(f32, f32) -> f32) -> [f32; 8] {
        let mut result = a;
        for lane in 0..8 {
            result[lane] = of(a[lane], b[lane]);
        }
        result
    }
}

impl Simd for Portable {
    const LANES: usize = 8;
    const ROWS: usize = 2;
    const NARROW_ROWS: usize = 4;
    type Vector = [f32; 8];

    #[inline(always)]
    unsafe fn splat(value: f32) -> [f32; 8] {
        [value; 8]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 8] {
        unsafe { from.cast::<[f32; 8]>().read() }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> [f32; 8] {
        let mut value = [0.0; 8];
        for (lane, value) in value.iter_mut().enumerate().take(n) {
            *value = unsafe { *from.add(lane) };
        }
        value
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: [f32; 8]) {
        unsafe { to.cast::<[f32; 8]>().write(value) }
    }

    #[inline(always)]
    unsafe fn store_first(to: *mut f32, value: [f32; 8], n: usize) {
        for (lane, value) in value.into_iter().enumerate().take(n) {
            unsafe { *to.add(lane) = value };
        }
    }

    #[inline(always)]
    unsafe fn add(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        Self::zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        Self::zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        Self::zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn mul_add(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        let mut result = c;
        for lane in 0..8 {
            // Without the instruction, `f32::mul_add` calls a slow library function.
            result[lane] = if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
                a[lane].mul_add(b[lane], c[lane])
            } else {
                a[lane] * b[lane] + c[lane]
            };
        }
        result
    }

    #[inline(always)]
    unsafe fn relu(a: [f32; 8]) -> [f32; 8] {
        Self::zip(a, a, |a, _| if a < 0.0 { 0.0 } else { a })
    }

    #[inline(always)]
    unsafe fn transpose(from: [*const f32; 8], to: [*mut f32; 8]) {
        for (i, to) in to.into_iter().enumerate() {
            for (j, from) in from.into_iter().enumerate() {
                unsafe { *to.add(j) = *from.add(i) };
            }
        }
    }

    #[inline]
    unsafe fn enter<K: Kernel>(kernel: K) -> K::Output {
        unsafe { kernel.run::<Self>() }
    }
}

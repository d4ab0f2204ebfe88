//! The vector instructions of x86-64 processors.

use std::arch::x86_64::*;

use super::{Kernel, Simd};

/// AVX-512.
#[derive(Clone, Copy, Debug)]
pub struct Avx512;

impl Simd for Avx512 {
    const LANES: usize = 16;
    const ROWS: usize = 14;
    const NARROW_ROWS: usize = 14;
    type Vector = __m512;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(first(n), from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m512) {
        unsafe { _mm512_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn store_first(to: *mut f32, value: __m512, n: usize) {
        unsafe { _mm512_mask_storeu_ps(to, first(n), value) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn relu(a: __m512) -> __m512 {
        // For a NaN and a number, the instruction returns its second operand.
        unsafe { _mm512_max_ps(_mm512_setzero_ps(), a) }
    }

    #[inline(always)]
    unsafe fn transpose(from: [*const f32; 8], to: [*mut f32; 8]) {
        unsafe { Avx2::transpose(from, to) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
    unsafe fn enter<K: Kernel>(kernel: K) -> K::Output {
        unsafe { kernel.run::<Self>() }
    }
}

#[inline(always)]
fn first(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as __mmask16
}

/// AVX2 with FMA.
#[derive(Clone, Copy, Debug)]
pub struct Avx2;

impl Simd for Avx2 {
    const LANES: usize = 8;
    const ROWS: usize = 6;
    const NARROW_ROWS: usize = 12;
    type Vector = __m256;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> __m256 {
        unsafe { _mm256_maskload_ps(from, mask(n)) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m256) {
        unsafe { _mm256_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn store_first(to: *mut f32, value: __m256, n: usize) {
        // In pieces: on an AMD processor, a masked store takes longer than all of them.
        unsafe {
            let low = _mm256_castps256_ps128(value);
            let high = _mm256_extractf128_ps::<1>(value);
            if n >= 8 {
                return _mm256_storeu_ps(to, value);
            }
            let (mut to, mut rest) = (to, low);
            if n & 4 != 0 {
                _mm_storeu_ps(to, low);
                (to, rest) = (to.add(4), high);
            }
            if n & 2 != 0 {
                _mm_store_sd(to.cast(), _mm_castps_pd(rest));
                (to, rest) = (to.add(2), _mm_movehl_ps(rest, rest));
            }
            if n & 1 != 0 {
                _mm_store_ss(to, rest);
            }
        }
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn relu(a: __m256) -> __m256 {
        // For a NaN and a number, the instruction returns its second operand.
        unsafe { _mm256_max_ps(_mm256_setzero_ps(), a) }
    }

    #[inline(always)]
    unsafe fn transpose(from: [*const f32; 8], to: [*mut f32; 8]) {
        unsafe {
            // Pairs of rows, then pairs of pairs, then halves.
            let mut pairs = [_mm256_setzero_ps(); 8];
            for i in [0, 2, 4, 6] {
                let (a, b) = (_mm256_loadu_ps(from[i]), _mm256_loadu_ps(from[i + 1]));
                pairs[i] = _mm256_unpacklo_ps(a, b);
                pairs[i + 1] = _mm256_unpackhi_ps(a, b);
            }
            let mut quads = [_mm256_setzero_ps(); 8];
            for i in [0, 4] {
                let [low, high, next_low, next_high] =
                    [pairs[i], pairs[i + 1], pairs[i + 2], pairs[i + 3]];
                quads[i] = _mm256_shuffle_ps::<0x44>(low, next_low);
                quads[i + 1] = _mm256_shuffle_ps::<0xee>(low, next_low);
                quads[i + 2] = _mm256_shuffle_ps::<0x44>(high, next_high);
                quads[i + 3] = _mm256_shuffle_ps::<0xee>(high, next_high);
            }
            for i in 0..4 {
                let (top, bottom) = (quads[i], quads[i + 4]);
                _mm256_storeu_ps(to[i], _mm256_permute2f128_ps::<0x20>(top, bottom));
                _mm256_storeu_ps(to[i + 4], _mm256_permute2f128_ps::<0x31>(top, bottom));
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn enter<K: Kernel>(kernel: K) -> K::Output {
        unsafe { kernel.run::<Self>() }
    }
}

/// All bits set in the first `n` lanes.
#[inline(always)]
unsafe fn mask(n: usize) -> __m256i {
    const BITS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    // There are 8 values from 8 - n on, because n is at most 8.
    unsafe { _mm256_loadu_si256(BITS.as_ptr().add(8 - n.min(8)).cast()) }
}

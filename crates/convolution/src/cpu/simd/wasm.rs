//! The vector instructions of WebAssembly.

use std::arch::wasm32::*;

use super::{Kernel, Simd};

/// WebAssembly's vectors, in pairs: eight values, as many as the transposition needs.
#[derive(Clone, Copy, Debug)]
pub struct Simd128;

impl Simd for Simd128 {
    const LANES: usize = 8;
    // Twelve sums of four values, for the sixteen registers of most processors.
    const ROWS: usize = 3;
    const NARROW_ROWS: usize = 6;
    type Vector = [v128; 2];

    #[inline(always)]
    unsafe fn splat(value: f32) -> [v128; 2] {
        [f32x4_splat(value); 2]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [v128; 2] {
        unsafe { [v128_load(from.cast()), v128_load(from.add(4).cast())] }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> [v128; 2] {
        unsafe {
            if n >= 8 {
                return Self::load(from);
            }
            let mut values = [0.0; 8];
            std::ptr::copy_nonoverlapping(from, values.as_mut_ptr(), n);
            Self::load(values.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, [low, high]: [v128; 2]) {
        unsafe {
            v128_store(to.cast(), low);
            v128_store(to.add(4).cast(), high);
        }
    }

    #[inline(always)]
    unsafe fn store_first(to: *mut f32, value: [v128; 2], n: usize) {
        unsafe {
            if n >= 8 {
                return Self::store(to, value);
            }
            let mut values = [0.0; 8];
            Self::store(values.as_mut_ptr(), value);
            std::ptr::copy_nonoverlapping(values.as_ptr(), to, n);
        }
    }

    #[inline(always)]
    unsafe fn add(a: [v128; 2], b: [v128; 2]) -> [v128; 2] {
        [f32x4_add(a[0], b[0]), f32x4_add(a[1], b[1])]
    }

    #[inline(always)]
    unsafe fn sub(a: [v128; 2], b: [v128; 2]) -> [v128; 2] {
        [f32x4_sub(a[0], b[0]), f32x4_sub(a[1], b[1])]
    }

    #[inline(always)]
    unsafe fn mul(a: [v128; 2], b: [v128; 2]) -> [v128; 2] {
        [f32x4_mul(a[0], b[0]), f32x4_mul(a[1], b[1])]
    }

    #[inline(always)]
    unsafe fn mul_add(a: [v128; 2], b: [v128; 2], c: [v128; 2]) -> [v128; 2] {
        unsafe { Self::add(Self::mul(a, b), c) }
    }

    #[inline(always)]
    unsafe fn relu(a: [v128; 2]) -> [v128; 2] {
        // The maximum with a NaN is NaN.
        a.map(|a| f32x4_max(a, f32x4_splat(0.0)))
    }

    #[inline(always)]
    unsafe fn transpose(from: [*const f32; 8], to: [*mut f32; 8]) {
        // Four blocks of four rows and columns.
        for (rows, columns) in [(0, 0), (0, 4), (4, 0), (4, 4)] {
            let row = |index: usize| unsafe { v128_load(from[rows + index].add(columns).cast()) };
            let (a, b, c, d) = (row(0), row(1), row(2), row(3));
            let (ab, ab_high) =
                (i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<2, 6, 3, 7>(a, b));
            let (cd, cd_high) =
                (i32x4_shuffle::<0, 4, 1, 5>(c, d), i32x4_shuffle::<2, 6, 3, 7>(c, d));
            let columns_of = [
                i64x2_shuffle::<0, 2>(ab, cd),
                i64x2_shuffle::<1, 3>(ab, cd),
                i64x2_shuffle::<0, 2>(ab_high, cd_high),
                i64x2_shuffle::<1, 3>(ab_high, cd_high),
            ];
            for (index, column) in columns_of.into_iter().enumerate() {
                unsafe { v128_store(to[columns + index].add(rows).cast(), column) };
            }
        }
    }

    #[inline]
    unsafe fn enter<K: Kernel>(kernel: K) -> K::Output {
        unsafe { kernel.run::<Self>() }
    }
}

//! The number types of tensors and of sums.

use std::ops::{Add, AddAssign, Mul, Sub};

use burn::tensor::{bf16, f16};

/// A type that tensors are stored in.
pub trait Storage: Copy + Send + Sync + 'static {
    /// The type of the arithmetic.
    type Sum: Real;

    /// Converts to the type of the arithmetic.
    fn widen(self) -> Self::Sum;

    /// Converts back, with rounding.
    fn narrow(value: Self::Sum) -> Self;
}

/// A type of the arithmetic.
pub trait Real:
    Copy
    + Send
    + Sync
    + Default
    + PartialOrd
    + Into<f64>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + AddAssign
    + 'static
{
    /// Zero.
    const ZERO: Self;

    /// Converts, with rounding.
    fn from_f64(value: f64) -> Self;
}

impl Real for f32 {
    const ZERO: Self = 0.0;

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as f32
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }
}

impl Storage for f32 {
    type Sum = f32;

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        value
    }
}

impl Storage for f64 {
    type Sum = f64;

    #[inline(always)]
    fn widen(self) -> f64 {
        self
    }

    #[inline(always)]
    fn narrow(value: f64) -> Self {
        value
    }
}

// Not inlined: without an instruction for it, the conversion is long, and every loop would contain
// it many times.
impl Storage for f16 {
    type Sum = f32;

    #[inline(never)]
    fn widen(self) -> f32 {
        self.to_f32()
    }

    #[inline(never)]
    fn narrow(value: f32) -> Self {
        f16::from_f32(value)
    }
}

impl Storage for bf16 {
    type Sum = f32;

    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        bf16::from_f32(value)
    }
}

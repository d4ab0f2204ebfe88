//! The sigmoid, `1 / (1 + exp(-x))`, of f32, and its gradient.

use std::mem::MaybeUninit;

use cpu_tensors::{collect, map_tasks};
use multiversion::multiversion;

/// How many values a task writes.
const TASK: usize = 1 << 14;

/// The sigmoid of every value.
pub fn forward(input: &[f32]) -> Vec<f32> {
    write(input.len(), |output| {
        let tasks = output.chunks_mut(TASK).zip(input.chunks(TASK));
        map_tasks(tasks.collect(), input.len(), |_, (output, input)| forward_task(input, output));
    })
}

/// The gradient of the input, given the output and its gradient.
pub fn backward(output: &[f32], output_grad: &[f32]) -> Vec<f32> {
    assert_eq!(output.len(), output_grad.len(), "an output and its gradient");
    write(output.len(), |input_grad| {
        let tasks = output.chunks(TASK).zip(output_grad.chunks(TASK));
        let tasks = input_grad.chunks_mut(TASK).zip(tasks);
        map_tasks(tasks.collect(), output.len(), |_, (input_grad, (output, output_grad))| {
            backward_task(output, output_grad, input_grad);
        });
    })
}

/// Creates a vector that `fill` writes in chunks, in parallel with slices of the same length.
fn write(length: usize, fill: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    // SAFETY: the chunks are the whole vector, and the tasks write every value of theirs.
    unsafe { collect(length, fill) }.0
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn forward_task(input: &[f32], output: &mut [MaybeUninit<f32>]) {
    for (output, x) in output.iter_mut().zip(input) {
        output.write(sigmoid(*x));
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn backward_task(output: &[f32], output_grad: &[f32], input_grad: &mut [MaybeUninit<f32>]) {
    for (input_grad, (y, gradient)) in input_grad.iter_mut().zip(output.iter().zip(output_grad)) {
        input_grad.write(gradient * y * (1.0 - y));
    }
}

/// `1 / (1 + exp(-x))`, within a relative error of 2e-7.
///
/// It has no branches and no calls, so that the compiler can vectorize a loop around it.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    // With an exponent of at most 0 nothing overflows: for x < 0, the fraction is expanded by
    // exp(x).
    let exp = exp_of_negative(-x.abs());
    let numerator = if x < 0.0 { exp } else { 1.0 };
    numerator / (1.0 + exp)
}

/// `exp(x)` for an `x` of at most 0, or NaN.
///
/// `exp(x) = 2^n exp(r)` with the whole number `n` nearest to `x / ln 2`, and thus
/// `|r| <= ln 2 / 2`.
#[inline(always)]
fn exp_of_negative(x: f32) -> f32 {
    // exp(-104) is 0 in f32. The comparison keeps NaN.
    let x = if x < -104.0 { -104.0 } else { x };

    // Adding 1.5 * 2^23 leaves no bits for a fraction: it rounds, and the last bits of the sum are
    // n.
    const ROUND: f32 = 12_582_912.0;
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let whole = rounded - ROUND;
    let n = rounded.to_bits().wrapping_sub(ROUND.to_bits()) as i32;

    // ln 2 in two parts, the first of so few bits that its product with n is exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let r = x - whole * LN_2_HIGH - whole * LN_2_LOW;

    // The Taylor series of (exp(r) - 1 - r) / r^2, up to a remainder below 1e-9.
    let series = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5];
    let series = series.into_iter().fold(0.0, |sum, factor| sum * r + factor);
    let exp = 1.0 + (r + r * r * series);

    // Two steps, because f32 has no 2^-150. The result may be subnormal.
    let half = n >> 1;
    exp * power_of_2(half) * power_of_2(n.wrapping_sub(half))
}

/// `2^n` for `n` from -126 to 127.
#[inline(always)]
fn power_of_2(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(x: f32) -> f64 {
        1.0 / (1.0 + (-f64::from(x)).exp())
    }

    #[test]
    fn the_relative_error_is_below_2e_7() {
        // Every 997th number from -87 to -1e-30, and their negatives.
        let bits = (1e-30_f32.to_bits()..=87_f32.to_bits()).step_by(997);
        let x: Vec<f32> =
            bits.flat_map(|bits| [-f32::from_bits(bits), f32::from_bits(bits)]).collect();
        for (x, y) in x.iter().zip(forward(&x)) {
            let error = (f64::from(y) / exact(*x) - 1.0).abs();
            assert!(error < 2e-7, "sigmoid({x}) = {y}: {error:e}");
        }
    }

    #[test]
    fn far_from_0_it_is_0_or_1_or_nearly() {
        for x in [-87.5, -90.0, -100.0, -103.9, -104.0, -1000.0, f32::MIN, f32::NEG_INFINITY] {
            let y = sigmoid(x);
            assert!((f64::from(y) - exact(x)).abs() <= 1.5e-45, "sigmoid({x}) = {y:e}");
        }
        assert_eq!(sigmoid(f32::NEG_INFINITY), 0.0);
        for x in [17.5, 88.0, 1000.0, f32::MAX, f32::INFINITY] {
            assert_eq!(sigmoid(x), 1.0);
        }
        assert_eq!((sigmoid(0.0), sigmoid(-0.0)), (0.5, 0.5));
    }

    #[test]
    fn nan_stays_nan() {
        let nan = forward(&[f32::NAN, -f32::NAN, 1.0]);
        assert!(nan[0].is_nan() && nan[1].is_nan() && !nan[2].is_nan());
        assert!(backward(&[f32::NAN], &[1.0])[0].is_nan());
        assert!(forward(&[]).is_empty());
    }

    #[test]
    fn a_vectorised_loop_and_one_value_give_the_same_bits() {
        let x: Vec<f32> = (0..100_003).map(|i| (i as f32 - 50_000.0) / 450.0).collect();
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let y = pool.install(|| forward(&x));
            assert!(x.iter().zip(&y).all(|(x, y)| sigmoid(*x).to_bits() == y.to_bits()));
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_formula() {
        let x: Vec<f32> = (0..70_001).map(|i| (i as f32 - 35_000.0) / 3000.0).collect();
        let g: Vec<f32> = x.iter().map(|x| x.cos()).collect();
        let gradient = backward(&forward(&x), &g);
        for ((x, g), gradient) in x.iter().zip(&g).zip(gradient) {
            let expected = f64::from(*g) * exact(*x) * (1.0 - exact(*x));
            assert!((f64::from(gradient) - expected).abs() < 2e-7, "of {x}: {gradient}");
        }
    }
}

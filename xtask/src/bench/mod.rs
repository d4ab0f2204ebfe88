//! Benchmarks. Compared pieces of work take turns in one run; the reported times are medians.

use std::time::{Duration, Instant};

use burn::tensor::Device;

pub mod batch_norm;
pub mod convolution;
pub mod data;
mod peak;
pub mod prediction;
pub mod train;

/// Returns the median time of each piece of work over `rounds` rounds, after one warm-up round.
/// Every piece runs once per round and returns its own time.
fn medians<const N: usize>(
    rounds: usize,
    mut work: [&mut dyn FnMut() -> Duration; N],
) -> [Duration; N] {
    let mut times = [const { Vec::new() }; N];
    for round in 0..=rounds {
        for (index, piece) in work.iter_mut().enumerate() {
            let time = piece();
            if round > 0 {
                times[index].push(time);
            }
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    })
}

/// Returns the time of the work until the device has finished it.
fn timed<R>(device: &Device, work: impl FnOnce() -> R) -> Duration {
    let start = Instant::now();
    let result = work();
    finish(device);
    let time = start.elapsed();
    drop(result);
    time
}

/// Waits until the device has finished all its work.
pub fn finish(device: &Device) {
    device.sync().expect("a device that works");
}

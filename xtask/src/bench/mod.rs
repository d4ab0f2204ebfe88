//! Measurements. What is compared is measured in turns, in one run, and told by its median.

use std::time::{Duration, Instant};

use burn::tensor::Device;

pub mod batch_norm;
pub mod convolution;
pub mod data;
mod peak;
pub mod prediction;
pub mod train;

/// How long each of the pieces of work takes, as it tells itself: the median of `rounds`, in each
/// of which every piece has its turn, after one round that does not count.
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

/// How long the work takes until the device has done all of it.
fn timed<R>(device: &Device, work: impl FnOnce() -> R) -> Duration {
    let start = Instant::now();
    let result = work();
    finish(device);
    let time = start.elapsed();
    drop(result);
    time
}

/// Waits until the device has done all that it was told to.
fn finish(device: &Device) {
    device.sync().expect("a device that works");
}

//! Measurements. What is compared is measured in turns, in one run, and told by its median.

use std::time::{Duration, Instant};

pub mod data;

/// How long each of the pieces of work takes: the median of `rounds`, in each of which every piece
/// has its turn, after one round that does not count.
fn medians<const N: usize>(rounds: usize, mut work: [&mut dyn FnMut(); N]) -> [Duration; N] {
    let mut times = [const { Vec::new() }; N];
    for round in 0..=rounds {
        for (index, piece) in work.iter_mut().enumerate() {
            let start = Instant::now();
            piece();
            if round > 0 {
                times[index].push(start.elapsed());
            }
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    })
}

//! The time that each part of an epoch takes.

use std::time::Instant;

use burn::tensor::Device;

use super::{health::advise, metrics::Seconds};
use crate::Error;

/// One step out of this number is timed part by part, on an asynchronous device.
const TIME_EVERY: usize = 32;

/// Measures the time of each part of an epoch.
pub(super) struct Clock<'a> {
    device: &'a Device,
    /// Whether the device computes synchronously, as CPUs do.
    synchronous: bool,
    epoch_start: Instant,
    /// The steps that have begun.
    steps: usize,
    seconds: Seconds,
    /// The number of steps timed part by part, and whether the current step is.
    timed: usize,
    timing: bool,
    /// For the throughput: the start of its measurement, and the images trained on since.
    throughput_start: Instant,
    images: usize,
}

impl<'a> Clock<'a> {
    /// Starts with an epoch.
    pub fn new(device: &'a Device, synchronous: bool) -> Self {
        let now = Instant::now();
        Self {
            device,
            synchronous,
            epoch_start: now,
            steps: 0,
            seconds: Seconds::default(),
            timed: 0,
            timing: false,
            throughput_start: now,
            images: 0,
        }
    }

    /// Begins the next step, of this many images.
    pub fn begin_step(&mut self, images: usize) {
        self.steps += 1;
        // Not the first step, in which a GPU compiles its kernels.
        self.timing = self.synchronous || self.steps % TIME_EVERY == 2;
        self.timed += usize::from(self.timing);
        // The throughput is without the first step, unless it is the only one.
        if self.steps == 2 {
            (self.throughput_start, self.images) = (Instant::now(), 0);
        }
        self.images += images;
    }

    /// Runs one part of a step, and adds its time if the step is timed.
    pub fn time<T>(
        &mut self,
        part: impl Fn(&mut Seconds) -> &mut f64,
        work: impl FnOnce() -> T,
    ) -> Result<T, Error> {
        let start = self.now()?;
        let result = work();
        if let (Some(start), Some(end)) = (start, self.now()?) {
            *part(&mut self.seconds) += (end - start).as_secs_f64();
        }
        Ok(result)
    }

    /// The time after the device has finished its work, if this step is timed.
    fn now(&self) -> Result<Option<Instant>, Error> {
        if self.timing && !self.synchronous {
            self.device.sync().map_err(|error| Error::Training(advise(&error.to_string())))?;
        }
        Ok(self.timing.then(Instant::now))
    }

    /// Seconds since the epoch began.
    pub fn elapsed(&self) -> f64 {
        self.epoch_start.elapsed().as_secs_f64()
    }

    /// The time of each part of a step, extrapolated from the timed steps to all, and of the whole
    /// training up to now.
    pub fn seconds(&self) -> Seconds {
        let all = |seconds: f64| match self.timed {
            0 => 0.0,
            timed => seconds * self.steps as f64 / timed as f64,
        };
        let Seconds { data, forward, backward, optimizer, .. } = self.seconds;
        Seconds {
            data: all(data),
            forward: all(forward),
            backward: all(backward),
            optimizer: all(optimizer),
            training: self.elapsed(),
            validation: 0.0,
        }
    }

    /// The throughput up to now, without the first step unless it is the only one.
    pub fn images_per_second(&self) -> f64 {
        self.images as f64 / self.throughput_start.elapsed().as_secs_f64()
    }
}

//! The training loop.
//!
//! For each epoch: batches, forward, backward, optimizer; validation; a checkpoint. The metrics
//! stay on the device until they are read: at every step on a CPU, where that costs nothing, and
//! every few steps elsewhere.

use std::{
    iter,
    time::{Duration, Instant},
};

use burn::{
    data::{
        dataloader::{DataLoaderIterator, Progress as Position},
        dataset::DatasetError,
    },
    module::Module,
    optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer},
    tensor::{Device, Tensor},
    train::train::MultiDevicesTrainStep,
};
use fashion_mnist::{Batch, BatchLoader, Images};
use models::ConvNet;

use crate::{
    Config, Error,
    average::Average,
    checkpoint::{self, Checkpoint, State},
    classifier::{Classifier, Part},
    evaluate::evaluate,
    health::{Row, Weights, advise},
    journal::Journal,
    optimizer::{clip, optimizer, squared_gradients, squared_weights, weight_names},
    program,
    progress::Progress,
    record::{Epoch, Seconds, Step},
    run_dir::RunDir,
    schedule::Schedule,
    stop::Stop,
};

/// The inputs of the training loop.
pub(crate) struct Fit<'a> {
    pub config: &'a Config,
    pub run: &'a RunDir,
    /// The first one holds the weights.
    pub devices: &'a [Device],
    /// Whether the devices compute synchronously, as CPUs do. Then times and values can be read
    /// after every operation.
    pub eager: bool,
    pub images: &'a Images,
    pub train: &'a BatchLoader,
    pub validation: &'a BatchLoader,
    pub stop: &'a Stop,
}

/// Number of steps between two reads of the metrics, on an asynchronous device.
const READ_EVERY: usize = 16;

/// One step out of this number is timed part by part, on an asynchronous device.
const TIME_EVERY: usize = 32;

impl Fit<'_> {
    /// Trains from the start or from a checkpoint. Ends with a checkpoint of the last epoch.
    pub fn run(&self, checkpoint: Option<Checkpoint>) -> Result<State, Error> {
        let device = &self.devices[0];
        let make = |classifier: &Classifier| optimizer(&self.config.optimizer, classifier);
        let (state, classifier, optimizer, average) = match checkpoint {
            Some(checkpoint) => {
                let fresh = Classifier::new(self.config, device);
                let average = checkpoint.average(self.config, &fresh)?;
                let classifier = checkpoint.classifier(fresh)?;
                // Its state belongs to the loaded weights.
                let optimizer = checkpoint.optimizer(make(&classifier))?;
                (checkpoint.state, classifier, optimizer, average)
            }
            None => {
                let classifier = Classifier::initial(self.config, device)?;
                let average = self.config.average.map(|it| Average::new(&classifier, it.decay));
                let optimizer = make(&classifier);
                (State::default(), classifier, optimizer, average)
            }
        };
        let names = weight_names(&classifier);
        let names = names.iter().map(|name| weight_name(&classifier, name)).collect();
        let mut training = Training {
            fit: self,
            schedule: self.config.schedule(),
            journal: Journal::open(self.run.path(), state.lengths)?,
            progress: Progress::new(
                self.config.epochs.map(usize::from),
                self.config.steps_per_epoch(),
                self.done(&state, Duration::ZERO),
            ),
            parallel: (self.devices.len() > 1).then(|| MultiDevicesTrainStep::new(self.devices)),
            classifier: Some(classifier),
            optimizer,
            average,
            names,
            state,
        };
        self.stop.set_idle(false);
        let ended = training.run();
        self.stop.set_idle(true);
        training.progress.end();
        match ended {
            Ok(()) => Ok(training.state),
            Err(stopped @ Error::Stopped(_)) => Err(stopped),
            Err(error) => Err(Error::Training(format!("{error}\n{}", training.way_on()))),
        }
    }

    /// The share of the run that is done, from 0 to 1: by steps or by time.
    fn done(&self, state: &State, since: Duration) -> f64 {
        match (self.config.epochs, self.config.minutes) {
            (Some(epochs), _) => {
                state.step as f64 / (epochs.get() as f64 * self.config.steps_per_epoch() as f64)
            }
            (None, Some(minutes)) => {
                ((state.seconds + since.as_secs_f64()) / (60.0 * minutes)).min(1.0)
            }
            (None, None) => unreachable!("checked when the config was loaded"),
        }
    }
}

/// A run in progress.
struct Training<'a> {
    fit: &'a Fit<'a>,
    schedule: Schedule,
    journal: Journal,
    progress: Progress,
    parallel: Option<MultiDevicesTrainStep<Classifier>>,
    /// `None` only during an optimizer step.
    classifier: Option<Classifier>,
    optimizer: ModuleOptimizer,
    average: Option<Average>,
    names: Vec<String>,
    state: State,
}

/// A step whose metrics are still on the device.
struct Pending {
    step: usize,
    images: usize,
    learning_rate: f64,
    positions: Vec<usize>,
    /// `[2 + weights]`: loss, correct predictions, squared gradient norms.
    numbers: Tensor<1>,
}

/// Sums over the steps of an epoch.
#[derive(Default)]
struct Sums {
    steps: usize,
    images: usize,
    loss: f64,
    correct: f64,
    gradient_norm: f64,
    gradient_norms: Vec<f64>,
    learning_rate: f64,
}

impl Training<'_> {
    fn run(&mut self) -> Result<(), Error> {
        while !self.is_over() {
            if self.fit.stop.is_asked() {
                return Err(self.stopped(self.state.epochs.len() + 1));
            }
            self.epoch()?;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let done = self.state.epochs.len();
        self.state.stopped.is_some()
            || self.fit.config.epochs.is_some_and(|epochs| done >= epochs.get())
    }

    fn epoch(&mut self) -> Result<(), Error> {
        let fit = self.fit;
        let epoch = self.state.epochs.len() + 1;
        self.progress.epoch(epoch);
        // Dropout uses the random numbers of the device.
        let seed = fit.config.seed.wrapping_add((epoch as u64) << 32);
        fit.devices.iter().for_each(|device| device.seed(seed));

        let start = Instant::now();
        let mut clock = Clock::new(&fit.devices[0], fit.eager);
        let sums = self.steps(epoch, start, &mut clock)?;
        let trained = start.elapsed();

        let average = self.average.as_ref().map(|average| average.classifier.clone());
        let validated = average.unwrap_or_else(|| self.classifier().valid());
        let validation = evaluate(&validated, fit.validation)?;
        let seconds = start.elapsed().as_secs_f64();
        let weights = self.squared_weights()?;
        if let Some(bad) = weights.iter().position(|square| !square.is_finite()) {
            let why = format!("the weight {} was not finite after epoch {epoch}", self.names[bad]);
            return Err(Error::Training(why));
        }

        let record = Epoch {
            epoch,
            step: self.state.step,
            train_loss: sums.loss / sums.images as f64,
            train_accuracy: sums.correct / sums.images as f64,
            validation_loss: validation.loss,
            validation_accuracy: validation.accuracy,
            learning_rate: sums.learning_rate,
            gradient_norm: sums.gradient_norm / sums.steps as f64,
            weight_norm: weights.iter().sum::<f64>().sqrt(),
            images_per_second: clock.images_per_second(start + trained),
            seconds: Seconds {
                training: trained.as_secs_f64(),
                validation: seconds - trained.as_secs_f64(),
                ..clock.seconds(sums.steps)
            },
            resident_memory: memory_stats::memory_stats().map(|memory| memory.physical_mem as u64),
        };
        self.journal.epoch(&record)?;

        self.state.epochs.push(record.clone());
        self.state.seconds += seconds;
        self.state.gradient_norms =
            sums.gradient_norms.iter().map(|sum| sum / sums.steps as f64).collect();
        self.state.lengths = self.journal.lengths();
        self.state.stopped = self.reason_to_stop();
        let classifier = self.classifier.as_ref().expect("no step is in progress");
        let average = self.average.as_ref();
        let saved = checkpoint::save(fit.run, &self.state, classifier, &self.optimizer, average);
        if saved.is_err() {
            // The run can be resumed from the previous checkpoint.
            self.state.epochs.pop();
        }
        saved?;
        // Printed last: a reader of this line may rely on the checkpoint.
        self.progress.end_of_epoch(&record);
        Ok(())
    }

    /// The reason to end the run before its last epoch, if there is one.
    fn reason_to_stop(&self) -> Option<String> {
        let Config { minutes, early_stopping, .. } = self.fit.config;
        if let Some(minutes) = minutes
            && self.state.seconds >= 60.0 * minutes
        {
            return Some(format!("the limit of {minutes} minutes was reached"));
        }
        if self.fit.config.epochs.is_some_and(|epochs| self.state.epochs.len() >= epochs.get()) {
            return None;
        }
        let since_best = self.state.epochs.len() - self.state.best_epoch();
        let patience = early_stopping.as_ref()?.patience.get();
        (since_best >= patience).then(|| format!("no lower validation loss in {patience} epochs"))
    }

    /// The training steps of an epoch.
    fn steps(&mut self, epoch: usize, start: Instant, clock: &mut Clock) -> Result<Sums, Error> {
        let fit = self.fit;
        let (batch_size, accumulate) = (fit.config.batch_size.get(), fit.config.accumulate.get());
        let mut batches = fit.train.epoch(epoch as u64 - 1);
        let mut left = fit.config.training_images();
        let mut sums = Sums::default();
        let mut pending = Vec::new();
        let mut position = 0;

        while left > 0 {
            let images = left.min(batch_size * accumulate);
            left -= images;
            position += 1;
            clock.begin_step(position, images);

            let mut positions = Vec::with_capacity(images);
            let mut pass: Option<Pass> = None;
            for _ in 0..images.div_ceil(batch_size) {
                let batch = clock.time(|seconds| &mut seconds.data, || batches.next())?;
                let batch = batch.expect("a batch while images are left").map_err(broken)?;
                positions.extend_from_slice(batches.indices());
                let next = self.pass(batch, images, clock)?;
                pass = Some(match pass {
                    Some(pass) => pass.plus(next, self.classifier()),
                    None => next,
                });
            }
            let Pass { loss, correct, gradients } = pass.expect("a step has images");

            let squares = squared_gradients(self.classifier(), &gradients);
            let step = self.state.step + 1;
            let done = fit.done(&self.state, start.elapsed());
            let learning_rate = fit.config.optimizer.learning_rate * self.schedule.factor(done);
            pending.push(Pending {
                step,
                images,
                learning_rate,
                positions,
                numbers: Tensor::cat(vec![loss, correct, squares.clone()], 0),
            });
            // On a synchronous device, before the step changes the weights.
            let read = |training: &mut Self, pending: &mut Vec<Pending>, sums: &mut Sums| {
                training.read(epoch, position, done, std::mem::take(pending), sums)
            };
            if fit.eager {
                read(self, &mut pending, &mut sums)?;
            }
            clock.time(
                |seconds| &mut seconds.optimizer,
                || self.step(step, learning_rate, gradients, squares),
            )?;
            self.state.step = step;
            if !fit.eager && (position % READ_EVERY == 0 || left == 0) {
                read(self, &mut pending, &mut sums)?;
            }

            if fit.stop.is_asked() {
                return Err(self.stopped(epoch));
            }
            if fit.config.minutes.is_some() && fit.done(&self.state, start.elapsed()) >= 1.0 {
                if !pending.is_empty() {
                    read(self, &mut pending, &mut sums)?;
                }
                break;
            }
        }
        Ok(sums)
    }

    /// Forward and backward pass over a batch, on one device or on all.
    fn pass(&self, batch: Batch, of: usize, clock: &mut Clock) -> Result<Pass, Error> {
        let [images, ..] = batch.images.dims();
        let share = images as f64 / of as f64;
        let classifier = self.classifier();
        let Some(parallel) = &self.parallel else {
            let (loss, correct) =
                clock.time(|seconds| &mut seconds.forward, || classifier.loss(batch))?;
            let loss = if share < 1.0 { loss * share } else { loss };
            let value = loss.clone().inner();
            let gradients =
                clock.time(|seconds| &mut seconds.backward, || classifier.gradients(loss))?;
            return Ok(Pass { loss: value, correct, gradients });
        };

        let main = self.fit.devices[0].clone().inner();
        let parts = batch.split(self.fit.devices.len());
        let part = |(number, (part, device)): (usize, (Batch, &Device))| {
            let [part_images, ..] = part.images.dims();
            let share = share * part_images as f64 / images as f64;
            let part = Part { number, batch: part.to_device(device), share };
            Box::new(Once(Some(part))) as Box<dyn DataLoaderIterator<Part>>
        };
        let mut parts: Vec<_> =
            parts.into_iter().zip(self.fit.devices).enumerate().map(part).collect();
        // The last batch may have fewer images than there are devices.
        parts.resize_with(self.fit.devices.len(), || Box::new(Once(None)));
        let (outputs, _) = clock
            .time(|seconds| &mut seconds.backward, || parallel.step(&mut parts, classifier))?
            .map_err(|error| Error::Training(advise(&error.to_string())))?;
        // They arrive as the devices finish. A fixed order makes the sum reproducible.
        let mut outputs = outputs;
        outputs.sort_by_key(|output| output.output.item.number);
        let passes = outputs.into_iter().map(|output| Pass {
            loss: output.output.item.loss.to_device(&main),
            correct: output.output.item.correct.to_device(&main),
            gradients: output.output.grads.to_device(&main, classifier),
        });
        let whole = passes.reduce(|sum, pass| sum.plus(pass, classifier));
        Ok(whole.expect("a batch has at least one image"))
    }

    /// The optimizer's step.
    fn step(
        &mut self,
        step: usize,
        learning_rate: f64,
        gradients: GradientsParams,
        squares: Tensor<1>,
    ) {
        let classifier = self.classifier.take().expect("no step is in progress");
        let gradients = match self.fit.config.optimizer.clip_norm {
            Some(longest) => clip(&classifier, gradients, squares, longest),
            None => gradients,
        };
        let classifier = self.optimizer.step(learning_rate, classifier, gradients);
        if let Some(average) = &mut self.average {
            average.update(&classifier, step);
        }
        self.classifier = Some(classifier);
    }

    /// Reads the metrics of the pending steps from the device, and writes them to the journal.
    fn read(
        &mut self,
        epoch: usize,
        position: usize,
        done: f64,
        pending: Vec<Pending>,
        sums: &mut Sums,
    ) -> Result<(), Error> {
        let numbers = pending.iter().map(|step| step.numbers.clone()).collect();
        let rows = read(Tensor::cat(numbers, 0))?;
        let mut last = None;
        for (pending, row) in pending.iter().zip(rows.chunks_exact(2 + self.names.len())) {
            let (loss, correct, squares) = (row[0], row[1], &row[2..]);
            let row = Row {
                step: pending.step,
                epoch,
                loss,
                squared_gradients: squares,
                names: &self.names,
            };
            if !row.is_sound() {
                let weights = match self.fit.eager {
                    true => Some(Weights { squared: self.squared_weights()? }),
                    false => None,
                };
                let position = |&index: &usize| self.fit.images.position(index);
                let positions: Vec<usize> = pending.positions.iter().map(position).collect();
                return Err(row.error(&positions, weights.as_ref()));
            }
            let step = Step {
                step: pending.step,
                epoch,
                loss,
                learning_rate: pending.learning_rate,
                gradient_norm: squares.iter().sum::<f64>().sqrt(),
            };
            self.journal.step(&step)?;
            sums.steps += 1;
            sums.images += pending.images;
            sums.loss += loss * pending.images as f64;
            sums.correct += correct;
            sums.gradient_norm += step.gradient_norm;
            sums.gradient_norms.resize(squares.len(), 0.0);
            iter::zip(&mut sums.gradient_norms, squares).for_each(|(sum, s)| *sum += s.sqrt());
            sums.learning_rate = step.learning_rate;
            last = Some(step);
        }
        self.journal.flush()?;
        if let Some(step) = last {
            self.progress.step(position, &step, done);
        }
        Ok(())
    }

    fn squared_weights(&self) -> Result<Vec<f64>, Error> {
        read(squared_weights(self.classifier()))
    }

    fn classifier(&self) -> &Classifier {
        self.classifier.as_ref().expect("no step is in progress")
    }

    fn stopped(&self, epoch: usize) -> Error {
        let of = self.fit.config.epochs.map(|epochs| format!(" of {epochs}")).unwrap_or_default();
        Error::Stopped(format!("stopped in epoch {epoch}{of}; {}", self.way_on()))
    }

    /// How to resume the run.
    fn way_on(&self) -> String {
        let resume = program::resume(self.fit.run.path());
        match self.state.epochs.len() {
            0 => "no epoch was complete, so there is no checkpoint".to_owned(),
            done => format!("`{resume}` continues after epoch {done}"),
        }
    }
}

/// The result of a forward and backward pass over some of a step's images.
struct Pass {
    /// Their part of the step's mean loss: `[1]`.
    loss: Tensor<1>,
    /// The number of correct predictions: `[1]`.
    correct: Tensor<1>,
    gradients: GradientsParams,
}

impl Pass {
    fn plus(self, other: Self, classifier: &Classifier) -> Self {
        let mut gradients = GradientsAccumulator::new();
        gradients.accumulate(classifier, self.gradients);
        gradients.accumulate(classifier, other.gradients);
        Self {
            loss: self.loss + other.loss,
            correct: self.correct + other.correct,
            gradients: gradients.grads(),
        }
    }
}

/// A data loader of one part of a batch, for Burn's training on several devices.
struct Once(Option<Part>);

impl Iterator for Once {
    type Item = Result<Part, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(Ok)
    }
}

impl DataLoaderIterator<Part> for Once {
    fn progress(&self) -> Position {
        Position::new(usize::from(self.0.is_none()), 1, None)
    }
}

/// Measures the time of each part of an epoch.
struct Clock<'a> {
    device: &'a Device,
    eager: bool,
    seconds: Seconds,
    /// The number of steps timed part by part, and whether the current step is.
    timed: usize,
    timing: bool,
    /// For the throughput: the start of the measurement, and the images trained on since.
    start: Instant,
    images: usize,
}

impl<'a> Clock<'a> {
    fn new(device: &'a Device, eager: bool) -> Self {
        let seconds = Seconds::default();
        let start = Instant::now();
        Self { device, eager, seconds, timed: 0, timing: false, start, images: 0 }
    }

    fn begin_step(&mut self, position: usize, images: usize) {
        // Not the first step, in which a GPU compiles its kernels.
        self.timing = self.eager || position % TIME_EVERY == 2;
        self.timed += usize::from(self.timing);
        // The throughput is without the first step, unless it is the only one.
        if position == 2 {
            (self.start, self.images) = (Instant::now(), 0);
        }
        self.images += images;
    }

    /// Runs one part of a step, and adds its time if the step is timed.
    fn time<T>(
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
        if self.timing && !self.eager {
            self.device.sync().map_err(|error| Error::Training(advise(&error.to_string())))?;
        }
        Ok(self.timing.then(Instant::now))
    }

    /// The time of each part, extrapolated from the timed steps to all steps.
    fn seconds(&self, steps: usize) -> Seconds {
        let all = |seconds: f64| match self.timed {
            0 => 0.0,
            timed => seconds * steps as f64 / timed as f64,
        };
        let Seconds { data, forward, backward, optimizer, .. } = self.seconds;
        Seconds {
            data: all(data),
            forward: all(forward),
            backward: all(backward),
            optimizer: all(optimizer),
            ..Seconds::default()
        }
    }

    /// The throughput, without the first step unless it is the only one.
    fn images_per_second(&self, end: Instant) -> f64 {
        self.images as f64 / (end - self.start).as_secs_f64()
    }
}

/// The torchvision name of the weight at this path in the classifier.
pub(crate) fn weight_name(classifier: &Classifier, path: &str) -> String {
    // network.VARIANT.LAYER.weight
    let path = path.splitn(3, '.').last().unwrap_or(path);
    match path.rsplit_once('.') {
        Some((layer, weight)) => {
            let layer = classifier.network.torchvision_name(layer);
            let weight = match weight {
                "gamma" => "weight",
                "beta" => "bias",
                other => other,
            };
            format!("{layer}.{weight}")
        }
        None => path.to_owned(),
    }
}

/// Reads values from the device.
pub(crate) fn read(numbers: Tensor<1>) -> Result<Vec<f64>, Error> {
    let failed = |error: String| Error::Training(advise(&error));
    let data = numbers.try_into_data().map_err(|error| failed(error.to_string()))?;
    data.convert::<f64>().try_into_vec().map_err(|error| failed(format!("{error:?}")))
}

fn broken(error: DatasetError) -> Error {
    Error::Training(format!("cannot load a batch: {error}"))
}

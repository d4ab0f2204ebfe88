//! The training loop.

use burn::{
    module::Module,
    optim::{GradientsParams, ModuleOptimizer},
    tensor::{Device, Tensor},
    train::train::MultiDevicesTrainStep,
};
use fashion_mnist::{BatchLoader, Batches, Images};

use super::{
    classifier::Classifier,
    clock::Clock,
    ema::Ema,
    evaluate::evaluate,
    health::broken_batch,
    metrics::{Epoch, Measurements, Observer, Pending, Seconds, Sums},
    optimizer::{clip, optimizer},
    pass::Pass,
    schedule::Schedule,
    state::State,
    weights::{read_values, squared_gradients, squared_weights, torchvision_names},
};
use crate::{Config, Error, stop::Stop};

/// The inputs of a training.
pub(crate) struct Inputs<'a> {
    pub config: &'a Config,
    /// The first one holds the weights.
    pub devices: &'a [Device],
    /// Whether the devices compute synchronously, as CPUs do. Then times and values can be read
    /// after every operation.
    pub synchronous: bool,
    pub images: &'a Images,
    pub train: &'a BatchLoader,
    pub validation: &'a BatchLoader,
    pub stop: &'a Stop,
}

/// What a training changes: the weights, their EMA, and the state of the optimizer.
pub struct Model {
    /// The network with its loss.
    pub classifier: Classifier,
    /// The optimizer.
    pub optimizer: ModuleOptimizer,
    /// `None` if the config has none.
    pub ema: Option<Ema>,
}

/// The result of an epoch.
pub(crate) struct Trained {
    pub model: Model,
    pub epoch: Epoch,
    /// Mean gradient norm of each weight over the steps.
    pub gradient_norms: Vec<f64>,
}

/// Trains a model, epoch by epoch.
pub(crate) struct Trainer<'a> {
    inputs: Inputs<'a>,
    schedule: Schedule,
    parallel: Option<MultiDevicesTrainStep<Classifier>>,
    /// The names of the weights.
    names: Vec<String>,
}

impl<'a> Trainer<'a> {
    pub fn new(inputs: Inputs<'a>, model: &Model) -> Self {
        let several = inputs.devices.len() > 1;
        Self {
            schedule: Schedule::new(&inputs.config.schedule),
            parallel: several.then(|| MultiDevicesTrainStep::new(inputs.devices)),
            names: torchvision_names(&model.classifier),
            inputs,
        }
    }

    /// Trains the model for the epoch after `state`, and validates it.
    ///
    /// # Errors
    ///
    /// If the user asked to stop, a batch cannot be loaded, the device or the observer fails, or a
    /// loss, gradient or weight is not finite.
    pub fn epoch(
        &self,
        mut model: Model,
        state: &State,
        observer: &mut impl Observer,
    ) -> Result<Trained, Error> {
        let Inputs { config, devices, synchronous, images, stop, .. } = self.inputs;
        let number = state.epochs.len() + 1;
        if stop.is_asked() {
            return Err(stopped(config, number));
        }
        // Dropout uses the random numbers of the device.
        let seed = config.seed.wrapping_add((number as u64) << 32);
        devices.iter().for_each(|device| device.seed(seed));

        let mut clock = Clock::new(&devices[0], synchronous);
        let mut measurements = Measurements::new(number, &self.names, images, observer);
        let mut batches = self.inputs.train.epoch(number as u64 - 1);
        for (index, count) in step_sizes(config).enumerate() {
            clock.begin_step(count);
            let (pass, positions) = self.pass(&model, &mut batches, count, &mut clock)?;

            let step = state.step + index + 1;
            let done = state.done(config, index, clock.elapsed());
            let learning_rate = config.optimizer.learning_rate * self.schedule.factor(done);
            let squares = squared_gradients(&model.classifier, &pass.gradients);
            let numbers = Tensor::cat(vec![pass.loss, pass.correct, squares.clone()], 0);
            measurements.push(Pending { step, done, count, learning_rate, positions, numbers });
            // Before the step changes the weights, so that an error can name the cause.
            if synchronous {
                measurements.read(Some(&model.classifier))?;
            }

            model = clock.time(
                |seconds| &mut seconds.optimizer,
                || model.step(config, step, learning_rate, pass.gradients, squares),
            )?;
            if measurements.are_due() {
                measurements.read(None)?;
            }
            if stop.is_asked() {
                return Err(stopped(config, number));
            }
            if config.minutes.is_some() && state.done(config, index + 1, clock.elapsed()) >= 1.0 {
                break;
            }
        }
        measurements.read(None)?;
        let sums = measurements.sums();
        let epoch = self.validate(&model, state, &sums, &clock)?;
        let steps = sums.steps as f64;
        let gradient_norms = sums.gradient_norms.iter().map(|sum| sum / steps).collect();
        Ok(Trained { model, epoch, gradient_norms })
    }

    /// Forward and backward pass over the images of a step, one batch after the other. Also returns
    /// the positions of the images.
    fn pass(
        &self,
        model: &Model,
        batches: &mut Batches,
        images: usize,
        clock: &mut Clock,
    ) -> Result<(Pass, Vec<usize>), Error> {
        let Inputs { config, devices, .. } = self.inputs;
        let classifier = &model.classifier;
        let mut positions = Vec::with_capacity(images);
        let mut whole: Option<Pass> = None;
        for _ in 0..images.div_ceil(config.batch_size.get()) {
            let batch = clock.time(|seconds| &mut seconds.data, || batches.next())?;
            let batch = batch.expect("a batch while images are left").map_err(broken_batch)?;
            positions.extend_from_slice(batches.indices());
            let pass = match &self.parallel {
                Some(parallel) => {
                    Pass::on_several(parallel, devices, classifier, batch, images, clock)
                }
                None => Pass::new(classifier, batch, images, clock),
            }?;
            whole = Some(match whole {
                Some(before) => before.plus(pass, classifier),
                None => pass,
            });
        }
        Ok((whole.expect("a step has images"), positions))
    }

    /// Evaluates the model on the validation images after an epoch with these sums.
    fn validate(
        &self,
        model: &Model,
        state: &State,
        sums: &Sums,
        clock: &Clock,
    ) -> Result<Epoch, Error> {
        let number = state.epochs.len() + 1;
        let (images_per_second, seconds) = (clock.images_per_second(), clock.seconds());
        let validation = evaluate(&model.validated(), self.inputs.validation)?;
        let seconds = Seconds { validation: clock.elapsed() - seconds.training, ..seconds };
        let weights = read_values(squared_weights(&model.classifier))?;
        if let Some(bad) = weights.iter().position(|square| !square.is_finite()) {
            let why = format!("the weight {} was not finite after epoch {number}", self.names[bad]);
            return Err(Error::Training(why));
        }
        Ok(Epoch {
            epoch: number,
            step: state.step + sums.steps,
            train_loss: sums.loss / sums.images as f64,
            train_accuracy: sums.correct / sums.images as f64,
            validation_loss: validation.loss,
            validation_accuracy: validation.accuracy,
            learning_rate: sums.learning_rate,
            gradient_norm: sums.gradient_norm / sums.steps as f64,
            weight_norm: weights.iter().sum::<f64>().sqrt(),
            images_per_second,
            seconds,
            resident_memory: memory_stats::memory_stats().map(|memory| memory.physical_mem as u64),
        })
    }
}

impl Model {
    /// The model of the config before its first step.
    ///
    /// # Errors
    ///
    /// If the pretrained weights cannot be loaded.
    pub fn new(config: &Config, device: &Device) -> Result<Self, Error> {
        let classifier = Classifier::initial(config, device)?;
        let ema = config.ema.map(|it| Ema::new(&classifier, it.decay));
        let optimizer = optimizer(&config.optimizer, &classifier);
        Ok(Self { classifier, optimizer, ema })
    }

    /// The weights to validate, test and save: the EMA if there is one.
    pub fn validated(&self) -> Classifier {
        match &self.ema {
            Some(ema) => ema.classifier.clone(),
            None => self.classifier.valid(),
        }
    }

    /// The optimizer's step, counted from 1. `squares` are the squared norms of the gradients.
    fn step(
        mut self,
        config: &Config,
        step: usize,
        learning_rate: f64,
        gradients: GradientsParams,
        squares: Tensor<1>,
    ) -> Self {
        let gradients = match config.optimizer.clip_norm {
            Some(longest) => clip(&self.classifier, gradients, squares, longest),
            None => gradients,
        };
        self.classifier = self.optimizer.step(learning_rate, self.classifier, gradients);
        if let Some(ema) = &mut self.ema {
            ema.update(&self.classifier, step);
        }
        self
    }
}

/// The number of images of each step of an epoch: all have the same, but perhaps the last.
fn step_sizes(config: &Config) -> impl Iterator<Item = usize> {
    let whole = config.batch_size.get().saturating_mul(config.accumulate.get());
    let images = config.training_images();
    (0..images).step_by(whole).map(move |start| whole.min(images - start))
}

fn stopped(config: &Config, epoch: usize) -> Error {
    let of = config.epochs.map(|epochs| format!(" of {epochs}")).unwrap_or_default();
    Error::Stopped(format!("stopped in epoch {epoch}{of}"))
}

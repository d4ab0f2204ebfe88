//! Executes a run, from its start or from a checkpoint, to its end.

use std::{path::Path, time::Instant};

use burn::tensor::Device;
use fashion_mnist::{FashionMnist, Source, Split};
use models::ConvNet;

use super::{
    checkpoint::{self, Checkpoint},
    description::Description,
    files,
    folder::RunDir,
    images::{check_pretrained, load, loader},
    journal::{Journal, Lengths},
    progress::Progress,
    record::{Environment, RunResult},
    test_report::test_report,
};
use crate::{
    Config, Error,
    device::{self, Chosen, Found, Kind},
    output::say,
    program,
    stop::Stop,
    training::{
        Classifier, Inputs, Model, Observer, State, Step, Trainer,
        evaluate::{Evaluation, predict},
    },
};

/// A run that has ended.
pub(crate) struct Ended {
    /// Still locked.
    pub folder: RunDir,
    pub result: RunResult,
}

impl Ended {
    /// Prints the results.
    pub fn announce(&self) {
        let Self { folder, result } = self;
        let (what, accuracy, loss) = match (result.test_accuracy, result.test_loss) {
            (Some(accuracy), Some(loss)) => ("test    ", accuracy, loss),
            _ => ("validated", result.validation_accuracy, result.validation_loss),
        };
        say(format_args!(
            "{what} accuracy {accuracy:.4}, loss {loss:.4}, with the weights of epoch {}, on {}",
            result.tested_epoch, result.data_source
        ));
        say(format_args!("run      {}, after {:.0} s", folder.path().display(), result.seconds));
    }
}

/// Starts a run and executes it to its end.
pub(crate) fn start(
    config: &Config,
    run_dir: Option<&Path>,
    data_dir: Option<&Path>,
    stop: &Stop,
) -> Result<Ended, Error> {
    let devices = device::choose_all(config.device_names())?;
    if let Some(pretrained) = &config.pretrained {
        // Checks that they fit before anything is created.
        Classifier::initial(config, &Device::flex())?;
        check_pretrained(config, &pretrained.weights);
    }
    let folder = RunDir::create(run_dir, config)?;
    let data = match load(config, data_dir) {
        Ok(data) => data,
        Err(error) => {
            folder.discard();
            return Err(error);
        }
    };
    let run = Run::new(config, &folder, &devices, &data, stop);
    folder.write_environment(&run.environment)?;
    let result = run.execute(None)?;
    Ok(Ended { folder, result })
}

/// Resumes a run from its last intact checkpoint, with some changes to its config, and executes it
/// to its end. If it has ended before, only its end is repeated.
pub(crate) fn resume(
    folder: RunDir,
    changes: &[(String, String)],
    data_dir: Option<&Path>,
    stop: &Stop,
) -> Result<Ended, Error> {
    let path = folder.path();
    let config = Config::of_run(path, changes)?;
    let devices = device::choose_all(config.device_names())?;
    let data = load(&config, data_dir)?;
    let before = files::environment(path)?;
    if let Some(before) = &before
        && (before.data_source == Source::Synthetic) != (*data.source() == Source::Synthetic)
    {
        return Err(Error::Usage(format!(
            "the run began on {}, but would continue on {}: give the images with --data-dir",
            before.data_source,
            data.source()
        )));
    }
    let checkpoint = checkpoint::latest(path)?;
    if checkpoint.is_none() {
        say(format_args!("no epoch was complete: the run starts again"));
    }
    let run = Run::new(&config, &folder, &devices, &data, stop);
    if before.is_none() {
        folder.write_environment(&run.environment)?;
    }
    let result = run.execute(checkpoint)?;
    Ok(Ended { folder, result })
}

/// What a new or a resumed run needs.
struct Run<'a> {
    config: &'a Config,
    folder: &'a RunDir,
    devices: &'a [Chosen],
    data: &'a FashionMnist,
    stop: &'a Stop,
    environment: Environment,
    /// The number of trainable parameters.
    parameters: usize,
}

impl<'a> Run<'a> {
    fn new(
        config: &'a Config,
        folder: &'a RunDir,
        devices: &'a [Chosen],
        data: &'a FashionMnist,
        stop: &'a Stop,
    ) -> Self {
        let found: Vec<Found> = devices.iter().map(|chosen| chosen.found.clone()).collect();
        let environment = Environment::new(&found, data.source().clone());
        let parameters = config.network_config().init(&Device::flex()).parameters();
        Self { config, folder, devices, data, stop, environment, parameters }
    }

    /// Trains, tests if the config requests it, and writes the results.
    fn execute(&self, checkpoint: Option<Checkpoint>) -> Result<RunResult, Error> {
        let run = self.folder.path();
        let so_far = checkpoint.as_ref().map(|checkpoint| checkpoint.state.clone());
        checkpoint::tidy(run, &so_far.unwrap_or_default());
        self.stop.set_way_on(format!("`{}` resumes the run", program::resume(run)));
        self.introduce(checkpoint.as_ref());

        let devices: Vec<Device> =
            self.devices.iter().map(|chosen| chosen.found.device.clone().autodiff()).collect();
        let state = self.train(checkpoint, &devices)?;
        if let Some(reason) = &state.stopped {
            say(format_args!("stopped  after epoch {}: {reason}", state.epochs.len()));
        }
        self.end(&state, &devices[0])
    }

    /// Prints what the run is about.
    fn introduce(&self, checkpoint: Option<&Checkpoint>) {
        let Self { config, data, environment, parameters, .. } = self;
        let model = environment.device_model.as_deref().map(|model| format!(", {model}"));
        let reason = self.devices[0].reason.as_ref().map(|reason| format!(" ({reason})"));
        let [model, reason] = [model, reason].map(Option::unwrap_or_default);
        say(format_args!(
            "network  {} ({}), {parameters} parameters",
            config.network, config.preset
        ));
        say(format_args!("device   {}{model}{reason}", environment.device));
        say(format_args!(
            "data     {}: {} images to train on, {} to validate, {} to test",
            data.source(),
            data.split(Split::Train).first(config.training_images()).images(),
            data.split(Split::Validation).images(),
            data.split(Split::Test).images()
        ));
        say(format_args!("run      {}", self.folder.path().display()));
        if let Some(checkpoint) = checkpoint {
            say(format_args!("resumed  after epoch {}", checkpoint.state.epochs.len()));
        }
    }

    /// Trains from the start or from a checkpoint. Ends with a checkpoint of the last epoch.
    fn train(&self, checkpoint: Option<Checkpoint>, devices: &[Device]) -> Result<State, Error> {
        let Self { config, folder, data, stop, .. } = *self;
        let images = data.split(Split::Train).first(config.training_images());
        let mut train = loader(config, &images, &devices[0]).shuffled(config.seed);
        if !config.augment.is_off() {
            train = train.augmented(config.augment.changes(), config.seed);
        }
        let inputs = Inputs {
            config,
            devices,
            synchronous: self.devices.iter().all(|chosen| chosen.found.kind == Kind::Cpu),
            images: &images,
            train: &train,
            validation: &loader(config, data.split(Split::Validation), &devices[0]),
            stop,
        };
        let (mut state, lengths, model) = match checkpoint {
            Some(checkpoint) => {
                let model = checkpoint.model(config, &devices[0])?;
                (checkpoint.state, checkpoint.lengths, model)
            }
            None => (State::default(), Lengths::default(), Model::new(config, &devices[0])?),
        };
        let mut recorder = Recorder {
            journal: Journal::open(folder.path(), lengths)?,
            progress: Progress::new(
                config.epochs.map(usize::from),
                config.steps_per_epoch(),
                state.done(config, 0, 0.0),
            ),
        };
        let trainer = Trainer::new(inputs, &model);
        stop.set_idle(false);
        let trained = self.epochs(&trainer, model, &mut state, &mut recorder);
        stop.set_idle(true);
        recorder.progress.end();

        let way_on = match state.epochs.len() {
            0 => "no epoch was complete, so there is no checkpoint".to_owned(),
            done => {
                format!("`{}` continues after epoch {done}", program::resume(folder.path()))
            }
        };
        match trained {
            Ok(()) => Ok(state),
            Err(Error::Stopped(why)) => Err(Error::Stopped(format!("{why}; {way_on}"))),
            Err(error) => Err(Error::Training(format!("{error}\n{way_on}"))),
        }
    }

    /// Trains the remaining epochs. After each, the state is on the disk.
    fn epochs(
        &self,
        trainer: &Trainer,
        mut model: Model,
        state: &mut State,
        recorder: &mut Recorder,
    ) -> Result<(), Error> {
        while !state.is_over(self.config) {
            recorder.progress.epoch(state.epochs.len() + 1);
            let trained = trainer.epoch(model, state, recorder)?;
            recorder.journal.epoch(&trained.epoch)?;
            let after = state.after(&trained.epoch, &trained.gradient_norms, self.config);
            checkpoint::save(self.folder, &after, recorder.journal.lengths(), &trained.model)?;
            // Printed last: a reader of this line may rely on the checkpoint.
            recorder.progress.end_of_epoch(&trained.epoch);
            *state = after;
            model = trained.model;
        }
        Ok(())
    }

    /// Saves the weights that the run ends with, and tests them if the config requests it: the only
    /// use of the test images.
    fn end(&self, state: &State, device: &Device) -> Result<RunResult, Error> {
        let Self { config, folder, data, .. } = *self;
        let environment = self.environment.clone();
        let start = Instant::now();
        let checkpoint = checkpoint::to_keep(folder.path(), state, config.weights)?;
        let classifier = checkpoint.validated(config, Classifier::new(config, device))?;
        Description::new(config, &data.source().class_names())
            .save(&classifier.network, &folder.path().join("model.bpk"))
            .map_err(|error| Error::Usage(error.to_string()))?;
        let test = if config.test { Some(self.test(&classifier, state, device)?) } else { None };

        let kept = checkpoint.state.epochs.last().expect("a checkpoint has an epoch");
        let result = RunResult {
            network: config.network.to_string(),
            preset: config.preset.to_string(),
            parameters: self.parameters,
            device: environment.device,
            backend: environment.backend,
            device_model: environment.device_model,
            data_source: environment.data_source,
            epochs: state.epochs.len(),
            stopped: state.stopped.clone(),
            seed: config.seed,
            tested_epoch: kept.epoch,
            validation_accuracy: kept.validation_accuracy,
            validation_loss: kept.validation_loss,
            test_accuracy: test.map(|test| test.accuracy),
            test_loss: test.map(|test| test.loss),
            train_images_per_second: mean_speed(state),
            seconds: state.seconds + start.elapsed().as_secs_f64(),
        };
        folder.write_result(&result)?;
        Ok(result)
    }

    fn test(
        &self,
        classifier: &Classifier,
        state: &State,
        device: &Device,
    ) -> Result<Evaluation, Error> {
        let Self { config, folder, data, .. } = *self;
        let images = data.split(Split::Test);
        let predictions = predict(classifier, &loader(config, images, device))?;
        folder.write_test(&test_report(
            config,
            classifier,
            &predictions,
            images,
            &data.source().class_names(),
            &state.gradient_norms,
        )?)?;
        Ok(predictions.evaluation)
    }
}

/// Writes the measurements of the steps to the run's files, and shows them on the terminal.
struct Recorder {
    journal: Journal,
    progress: Progress,
}

impl Observer for Recorder {
    fn steps(&mut self, steps: &[Step], position: usize, done: f64) -> Result<(), Error> {
        for step in steps {
            self.journal.step(step)?;
        }
        self.journal.flush()?;
        if let Some(last) = steps.last() {
            self.progress.step(position, last, done);
        }
        Ok(())
    }
}

/// Images per second over the training time of all epochs.
fn mean_speed(state: &State) -> f64 {
    let epochs = state.epochs.iter().filter(|epoch| epoch.images_per_second.is_finite());
    let (images, seconds) = epochs.fold((0.0, 0.0), |(images, seconds), epoch| {
        let time = epoch.seconds.training;
        (images + epoch.images_per_second * time, seconds + time)
    });
    images / seconds
}

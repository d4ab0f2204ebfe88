use std::{path::Path, time::Instant};

use burn::tensor::Device;
use fashion_mnist::{FashionMnist, Split};
use models::ConvNet;

use super::{
    data::{check_initial, load, loader},
    report::write_report,
};
use crate::{
    Config, Error,
    checkpoint::{self, Checkpoint, State},
    classifier::Classifier,
    cli::TrainArgs,
    description::Description,
    device::{self, Chosen, Found, Kind},
    evaluate::{Evaluation, predict, test_report},
    fit::Fit,
    program,
    progress::say,
    record::{Environment, RunResult},
    run_dir::RunDir,
    stop::Stop,
};

/// Trains a network and tests it.
pub(crate) fn train(args: &TrainArgs) -> Result<(), Error> {
    let config = Config::load(args.config.as_deref(), &args.overrides())?;
    let stop = Stop::at_ctrl_c();
    start(&config, args.run_dir.as_deref(), args.data_dir.as_deref(), &stop)?;
    Ok(())
}

/// Starts a run and executes it to its end.
pub(crate) fn start(
    config: &Config,
    run_dir: Option<&Path>,
    data_dir: Option<&Path>,
    stop: &Stop,
) -> Result<RunResult, Error> {
    let devices = device::choose_all(config)?;
    if let Some(initial) = &config.initial {
        // Checks that they fit before anything is created.
        Classifier::initial(config, &Device::flex())?;
        check_initial(config, &initial.weights);
    }
    let run = RunDir::create(run_dir, config)?;
    let data = match load(config, data_dir) {
        Ok(data) => data,
        Err(error) => {
            run.discard();
            return Err(error);
        }
    };
    let run = Run { config, run: &run, devices: &devices, data: &data, stop };
    run.write_environment()?;
    run.go_on(None)
}

/// What a new or a resumed run needs.
pub(crate) struct Run<'a> {
    pub config: &'a Config,
    pub run: &'a RunDir,
    pub devices: &'a [Chosen],
    pub data: &'a FashionMnist,
    pub stop: &'a Stop,
}

impl Run<'_> {
    fn found(&self) -> Vec<Found> {
        self.devices.iter().map(|chosen| chosen.found.clone()).collect()
    }

    fn environment(&self) -> Environment {
        Environment::new(&self.found(), self.data.source().clone())
    }

    /// Writes what is known before the run begins.
    pub fn write_environment(&self) -> Result<(), Error> {
        self.run.write_environment(&self.environment())
    }

    /// Trains, tests if the config requests it, and writes the results.
    pub fn go_on(&self, checkpoint: Option<Checkpoint>) -> Result<RunResult, Error> {
        let Self { config, run, data, .. } = *self;
        let so_far = checkpoint.as_ref().map(|checkpoint| checkpoint.state.clone());
        checkpoint::tidy(run, &so_far.unwrap_or_default());
        self.stop.set_way_on(format!("`{}` resumes the run", program::resume(run.path())));
        let environment = self.environment();
        let devices: Vec<Device> =
            self.found().into_iter().map(|found| found.device.autodiff()).collect();
        let training = data.split(Split::Train).first(config.training_images());
        let parameters = config.network_config().init(&Device::flex()).parameters();
        self.introduce(&environment, parameters, training.images(), checkpoint.as_ref());

        let device = &devices[0];
        let mut training_loader = loader(config, &training, device).shuffled(config.seed);
        if !config.augment.is_off() {
            training_loader = training_loader.augmented(config.augment.changes(), config.seed);
        }
        let fit = Fit {
            config,
            run,
            devices: &devices,
            eager: self.devices.iter().all(|chosen| chosen.found.kind == Kind::Cpu),
            images: &training,
            train: &training_loader,
            validation: &loader(config, data.split(Split::Validation), device),
            stop: self.stop,
        };
        let state = fit.run(checkpoint)?;
        if let Some(reason) = &state.stopped {
            say(format_args!("stopped  after epoch {}: {reason}", state.epochs.len()));
        }
        let result = self.end(&state, device, environment, parameters)?;
        write_report(run.path(), &run.path().join("report.html"))?;
        let (what, accuracy, loss) = match (result.test_accuracy, result.test_loss) {
            (Some(accuracy), Some(loss)) => ("test    ", accuracy, loss),
            _ => ("validated", result.validation_accuracy, result.validation_loss),
        };
        say(format_args!(
            "{what} accuracy {accuracy:.4}, loss {loss:.4}, with the weights of epoch {}, on {}",
            result.tested_epoch, result.data_source
        ));
        say(format_args!("run      {}, after {:.0} s", run.path().display(), result.seconds));
        Ok(result)
    }

    fn introduce(
        &self,
        environment: &Environment,
        parameters: usize,
        training: usize,
        checkpoint: Option<&Checkpoint>,
    ) {
        let Self { config, data, .. } = self;
        let model = environment.device_model.as_deref().map(|model| format!(", {model}"));
        let reason = self.devices[0].reason.as_ref().map(|reason| format!(" ({reason})"));
        let [model, reason] = [model, reason].map(Option::unwrap_or_default);
        let network = format!("{} ({}), {parameters} parameters", config.network, config.preset);
        say(format_args!("network  {network}"));
        say(format_args!("device   {}{model}{reason}", environment.device));
        say(format_args!(
            "data     {}: {training} images to train on, {} to validate, {} to test",
            data.source(),
            data.split(Split::Validation).images(),
            data.split(Split::Test).images()
        ));
        say(format_args!("run      {}", self.run.path().display()));
        if let Some(checkpoint) = checkpoint {
            say(format_args!("resumed  after epoch {}", checkpoint.state.epochs.len()));
        }
    }

    /// Saves the weights that the run ends with, and tests them if the config requests it: the only
    /// use of the test images.
    fn end(
        &self,
        state: &State,
        device: &Device,
        environment: Environment,
        parameters: usize,
    ) -> Result<RunResult, Error> {
        let Self { config, run, data, .. } = *self;
        let start = Instant::now();
        let checkpoint = checkpoint::to_keep(run.path(), state, config.weights)?;
        let classifier = checkpoint.validated(config, Classifier::new(config, device))?;
        Description::new(config, &data.source().class_names())
            .save(&classifier.network, &run.path().join("model.bpk"))
            .map_err(|error| Error::Usage(error.to_string()))?;
        let test = match config.test {
            true => Some(self.test(&classifier, state, device)?),
            false => None,
        };

        let kept = checkpoint.state.epochs.last().expect("a checkpoint has an epoch");
        let result = RunResult {
            network: config.network.to_string(),
            preset: config.preset.to_string(),
            parameters,
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
        run.write_result(&result)?;
        Ok(result)
    }

    fn test(
        &self,
        classifier: &Classifier,
        state: &State,
        device: &Device,
    ) -> Result<Evaluation, Error> {
        let Self { config, run, data, .. } = *self;
        let images = data.split(Split::Test);
        let predictions = predict(classifier, &loader(config, images, device))?;
        run.write_test(&test_report(
            classifier,
            &predictions,
            images,
            &data.source().class_names(),
            &state.gradient_norms,
        )?)?;
        Ok(predictions.evaluation)
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

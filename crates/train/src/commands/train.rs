use std::{io, sync::Arc, time::Instant};

use burn::{
    module::Module,
    store::ModuleRecord,
    train::{
        Learner, SupervisedTraining,
        checkpoint::FileCheckpointer,
        metric::{AccuracyMetric, LearningRateMetric, LossMetric},
    },
};
use fashion_mnist::{BatchLoader, FashionMnist, Images, Split};
use models::ConvNet;

use crate::{
    Config, Error,
    cli::TrainArgs,
    config::{SourceConfig, WeightsConfig},
    device,
    fit::{Classifier, evaluate, optimizer},
    report::{EpochLog, History, ImagesPerSecond, Stop, renderer, say, shows_plain_lines},
    run_dir::{Environment, RunDir, RunResult},
};

/// Trains a network and tests it.
pub(crate) fn train(args: &TrainArgs) -> Result<(), Error> {
    let config = Config::load(args.config.as_deref(), &args.overrides())?;
    let chosen = device::choose(config.device)?;
    let run = RunDir::create(args.run_dir.as_deref(), &config)?;
    let data = load(&config, args).inspect_err(|_| run.discard())?;
    let environment = Environment::new(&chosen.found, data.source().to_string());
    run.write_environment(&environment)?;

    let device = chosen.found.device.clone().autodiff();
    let training = data.split(Split::Train).first(config.training_images());
    let classifier = Classifier::new(&config, &device);
    let parameters = classifier.network.parameters();

    let model = environment.device_model.as_deref().map(|model| format!(", {model}"));
    let reason = chosen.reason.map(|reason| format!(" ({reason})"));
    let [model, reason] = [model, reason].map(Option::unwrap_or_default);
    say(format_args!("network  {} ({}), {parameters} parameters", config.network, config.preset));
    say(format_args!("device   {}{model}{reason}", environment.device));
    say(format_args!(
        "data     {}: {} images to train on, {} to validate, {} to test",
        data.source(),
        training.images(),
        data.split(Split::Validation).images(),
        data.split(Split::Test).images()
    ));
    say(format_args!("run      {}", run.path().display()));

    let side = config.side();
    let loader = |images: &Images| {
        BatchLoader::new(images, config.batch_size.get(), &device.clone().inner())
            .resized(side)
            .normalized(config.data.normalization.values())
    };
    let train_loader = loader(&training).shuffled(config.seed);
    let validation_loader = loader(data.split(Split::Validation));

    let start = Instant::now();
    let (classifier, history) = fit(&config, &run, classifier, train_loader, validation_loader)?;

    let tested_epoch = match config.weights {
        WeightsConfig::Best => history.best_epoch(),
        WeightsConfig::Last => config.epochs.get(),
    };
    let record = ModuleRecord::load(run.checkpoint(tested_epoch))
        .map_err(|error| Error::Training(format!("cannot read a checkpoint again: {error}")))?;
    let classifier = classifier.load_record(record);
    let network = run.path().join("model.bpk");
    (classifier.network.weights().save(&network))
        .map_err(|error| Error::RunFolder { path: network, source: io::Error::other(error) })?;
    let test = evaluate(&classifier, &loader(data.split(Split::Test)))?;

    let result = RunResult {
        network: config.network.to_string(),
        preset: config.preset.to_string(),
        parameters,
        device: environment.device,
        backend: environment.backend,
        device_model: environment.device_model,
        data_source: environment.data_source,
        epochs: config.epochs.get(),
        seed: config.seed,
        tested_epoch,
        test_accuracy: test.accuracy,
        test_loss: test.loss,
        train_images_per_second: mean_speed(&history),
        seconds: start.elapsed().as_secs_f64(),
    };
    run.write_result(&result)?;
    say(format_args!(
        "test     accuracy {:.4}, loss {:.4}, with the weights of epoch {}, on {}",
        result.test_accuracy, result.test_loss, result.tested_epoch, result.data_source
    ));
    say(format_args!("run      {}, after {:.0} s", run.path().display(), result.seconds));
    Ok(())
}

/// What is said, loudly, before a run on the stand-in that nobody asked for.
const STAND_IN: &str = "\
*********************************************************************
* WARNING: Fashion-MNIST is not here and could not be downloaded.   *
* This run trains on SYNTHETIC images, shapes drawn by the program. *
* Its accuracy says nothing about Fashion-MNIST.                    *
*********************************************************************";

/// The images that the config asks for, in their three parts.
fn load(config: &Config, args: &TrainArgs) -> Result<FashionMnist, Error> {
    let data = match config.data.source {
        SourceConfig::Synthetic => FashionMnist::synthetic(),
        SourceConfig::FashionMnist => FashionMnist::find(args.data_dir.as_deref())?,
        SourceConfig::Auto => match FashionMnist::find(args.data_dir.as_deref()) {
            Err(error) if error.is_unavailable() => {
                eprintln!("{error}\n\n{STAND_IN}\n");
                FashionMnist::synthetic()
            }
            found => found?,
        },
    };
    Ok(data.hold_out(config.data.validation.get(), config.seed))
}

/// Trains the classifier; returns it as it is after the last epoch, ready to predict.
fn fit(
    config: &Config,
    run: &RunDir,
    classifier: Classifier,
    train: BatchLoader,
    validation: BatchLoader,
) -> Result<(Classifier, History), Error> {
    let epochs = config.epochs.get();
    let metrics = run.path().join("metrics.jsonl");
    let stop = Stop::default();
    let (log, history) = EpochLog::create(&metrics, shows_plain_lines(), epochs, stop.clone())
        .map_err(|source| Error::RunFolder { path: metrics.clone(), source })?;

    stop.at_ctrl_c();
    let checkpointer = |name| FileCheckpointer::new(run.checkpoints(), name);
    let training = SupervisedTraining::new(run.path(), Arc::new(train), Arc::new(validation))
        .metrics((LossMetric::new(), AccuracyMetric::new()))
        .metric_train_numeric(LearningRateMetric::new())
        .metric_train_numeric(ImagesPerSecond::default())
        .with_metric_logger(log)
        .with_application_logger(None)
        .with_custom_checkpointers(
            checkpointer("model"),
            checkpointer("optimizer"),
            checkpointer("schedule"),
        )
        .renderer(renderer(stop.curves.clone()))
        .with_interrupter(stop.learner.clone())
        .num_epochs(epochs);

    let optimizer_config = &config.optimizer;
    let learner =
        Learner::new(classifier, optimizer(optimizer_config), optimizer_config.learning_rate);
    let ended = training.launch(learner);
    drop(ended.renderer);
    stop.training_is_over();
    if !shows_plain_lines() {
        // The curves took the terminal for themselves, and took everything with them.
        history.epochs().iter().for_each(|epoch| say(format_args!("{}", epoch.line(epochs))));
    }

    if let Some(error) = ended.error {
        return Err(Error::Training(format!("training failed: {error}")));
    }
    if let Some(source) = history.take_error() {
        return Err(Error::RunFolder { path: metrics, source });
    }
    if ended.interrupted.is_some() {
        let done = history.epochs().len();
        let kept = match done {
            0 => "there is no checkpoint yet".to_owned(),
            _ => format!("the last checkpoint is {}", run.checkpoint(done).display()),
        };
        return Err(Error::Stopped(format!("stopped in epoch {} of {epochs}; {kept}", done + 1)));
    }
    Ok((ended.model, history))
}

/// Images per second over all epochs, each of which trains on as many images.
fn mean_speed(history: &History) -> f64 {
    let epochs = history.epochs();
    let seconds_per_image: f64 = epochs.iter().map(|epoch| 1.0 / epoch.images_per_second).sum();
    epochs.len() as f64 / seconds_per_image
}

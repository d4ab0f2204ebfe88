//! The command `evaluate`: tests weights.

use std::{iter, path::PathBuf};

use burn::module::Module;
use clap::{Args, ValueEnum};
use fashion_mnist::Split;
use models::ConvNet;
use serde_json::json;

use super::values::changes;
use crate::{
    Config, Error, device,
    format::UNKNOWN,
    output::say,
    run::{
        description::{Description, name, undescribed},
        files,
        images::{HeldOut, load, loader},
        scores::{Scores, class_losses, confusion, scores},
    },
    training::{Classifier, evaluate::predict},
};

/// Which weights to test, on which images.
#[derive(Debug, Args)]
pub(crate) struct EvaluateArgs {
    /// The folder of a run that has ended.
    #[arg(required_unless_present = "weights", conflicts_with_all = ["weights", "network"])]
    pub run_dir: Option<PathBuf>,

    /// Instead of a run: a weights file, .pth or .pt of PyTorch, .safetensors, or .bpk.
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,

    /// With --weights: the network, a name that the command `networks` prints [default: the one
    /// stored in a file of this program].
    #[arg(long)]
    pub network: Option<String>,

    /// Changes one key of the run's config, such as data.normalization; without a VALUE, removes
    /// it. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,

    /// The images.
    #[arg(long, default_value = "test")]
    pub split: Part,

    /// The device [default: the one in the run's config].
    #[arg(long)]
    pub device: Option<String>,

    /// The folder of Fashion-MNIST's four files [default: FASHION_MNIST_DIR, or the user's cache].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Prints a JSON object.
    #[arg(long)]
    pub json: bool,
}

/// The images to evaluate on.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Part {
    Test,
    Validation,
}

/// Tests the weights of a run, or of a file.
pub(crate) fn evaluate(args: &EvaluateArgs) -> Result<(), Error> {
    let (part, part_name) = match args.split {
        Part::Test => (Split::Test, "test"),
        Part::Validation => (Split::Validation, "validation"),
    };
    let (config, weights) = source(args)?;
    let found = device::choose(config.device.clone())?.found;
    let data = load(&config, args.data_dir.as_deref())?;
    let mut classifier = Classifier::new(&config, &found.device);
    let network = classifier.network.load(&weights);
    classifier.network = network.map_err(|error| Error::Usage(error.to_string()))?;
    let images = data.split(part);
    let predictions = predict(&classifier.valid(), &loader(&config, images, &found.device))?;

    let names = data.source().class_names();
    let scores = scores(&confusion(&predictions, images, names.len()));
    let losses = class_losses(&predictions, images, names.len());
    let rows = iter::zip(names, iter::zip(scores, losses));

    let evaluation = predictions.evaluation;
    let held_out = HeldOut::of(&config, part, &weights);
    if args.json {
        let classes = rows.map(|(name, (Scores { precision, recall, images, .. }, loss))| {
            json!({
                "name": name,
                "precision": precision,
                "recall": recall,
                "loss": loss,
                "images": images,
            })
        });
        let result = json!({
            "network": config.network.name(),
            "preset": config.preset.name(),
            "weights": weights.display().to_string(),
            "data_source": data.source().to_string(),
            "split": part_name,
            "held_out": match held_out {
                HeldOut::Yes => Some(true),
                HeldOut::No(_) => Some(false),
                HeldOut::Unknown => None,
            },
            "accuracy": evaluation.accuracy,
            "loss": evaluation.loss,
            "classes": classes.collect::<serde_json::Value>(),
        });
        say(format_args!("{result:#}"));
        return Ok(());
    }
    let row = |name: &str, [precision, recall, loss, images]: [String; 4]| {
        say(format_args!("{name:<16} {precision:>9} {recall:>9} {loss:>9} {images:>9}"));
    };
    row("class", ["precision", "recall", "loss", "images"].map(str::to_owned));
    let number = |number: Option<f64>| number.map_or(UNKNOWN.to_owned(), |it| format!("{it:.4}"));
    for (name, (Scores { precision, recall, images, .. }, loss)) in rows {
        let [precision, recall, loss] = [precision, recall, loss].map(number);
        row(name, [precision, recall, loss, images.to_string()]);
    }
    say(format_args!(
        "accuracy {:.4}, loss {:.4}, on the {} images of {}",
        evaluation.accuracy,
        evaluation.loss,
        part_name,
        data.source()
    ));
    match held_out {
        HeldOut::Yes => say(format_args!("the weights were not trained on these images")),
        HeldOut::No(trained) => say(format_args!(
            "the weights may have been trained on some of these images: they were trained with \
             {trained}, and these are held out by {}",
            config.data.hold_out()
        )),
        HeldOut::Unknown => say(format_args!(
            "{} does not say which images it was trained on: these may be among them",
            weights.display()
        )),
    }
    Ok(())
}

/// The config for the test, and the weights: of a run, or of a file. For a file, the config is the
/// quickstart with the network and the normalization from the file.
fn source(args: &EvaluateArgs) -> Result<(Config, PathBuf), Error> {
    let mut overrides = changes(&args.overrides, args.device.as_deref());
    match (args.run_dir.as_deref(), &args.weights) {
        (Some(run), _) => {
            let weights = files::weights(run)?;
            // One device is enough here, even if the run was trained on several.
            let mut config = Config::of_run(run, &overrides)?;
            if args.device.is_none() && !config.devices.is_empty() {
                config.device = config.devices[0].clone();
            }
            Ok((config, weights))
        }
        (None, Some(weights)) => {
            let description = Description::read(weights)?;
            let mut first = Vec::new();
            let mut set = |key: &str, value: &str| {
                first.push((weights.display().to_string(), format!("{key}={value}")));
            };
            // Weights of a file are not tested on synthetic data, unless the user requests it.
            set("data.source", "fashion-mnist");
            if let Some(description) = &description {
                set("network", description.network.name());
                set("preset", description.preset.name());
                set("data.normalization", name(description.normalization));
                if let Some(own) = description.hold_outs.iter().flatten().last() {
                    set("data.validation", &own.validation.to_string());
                    set("data.split_seed", &own.split_seed.to_string());
                }
            }
            if let Some(network) = &args.network {
                first.push((format!("--network {network}"), format!("network={network}")));
            }
            let is_assumed =
                !overrides.iter().any(|(_, set)| set.starts_with("data.normalization"));
            overrides.splice(0..0, first);
            if description.is_none() && args.network.is_none() {
                return Err(undescribed(weights));
            }
            let config = Config::load(None, &overrides)?;
            let normalization = config.data.normalization;
            match description {
                Some(it) => it.check(weights, config.network, config.preset, normalization)?,
                None if is_assumed => eprintln!(
                    "note: {} does not say how its images were normalized: `{}` is assumed \
                     (--set data.normalization=...)",
                    weights.display(),
                    name(normalization)
                ),
                None => {}
            }
            Ok((config, weights.clone()))
        }
        _ => unreachable!("the arguments need one or the other"),
    }
}

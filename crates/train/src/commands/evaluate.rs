use std::path::Path;

use burn::module::Module;
use fashion_mnist::Split;
use models::ConvNet;
use serde_json::json;

use super::{
    data::{HeldOut, load, loader},
    export::ended,
};
use crate::{
    Config, Error,
    classifier::Classifier,
    cli::EvaluateArgs,
    description::{Description, name, undescribed},
    device,
    evaluate::predict,
    progress::say,
    run_dir::is_run,
};

/// Tests the weights of a run, or of a file.
pub(crate) fn evaluate(args: &EvaluateArgs) -> Result<(), Error> {
    let part = match args.split.as_str() {
        "test" => Split::Test,
        "validation" => Split::Validation,
        other => {
            let why = format!("--split {other}: expected `test` or `validation`");
            return Err(Error::Usage(why));
        }
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
    let mut counts = vec![[0usize; 3]; names.len()]; // correct, predicted, in total
    for (&class, &label) in predictions.classes.iter().zip(images.labels()) {
        let label = usize::from(label);
        counts[class][1] += 1;
        counts[label][2] += 1;
        counts[label][0] += usize::from(class == label);
    }
    let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
    let rows = names.iter().zip(counts).map(|(name, [right, predicted, there])| {
        (*name, share(right, predicted), share(right, there), there)
    });

    let evaluation = predictions.evaluation;
    let held_out = HeldOut::of(&config, part, &weights);
    if args.json {
        let classes = rows.map(|(name, precision, recall, images)| {
            json!({ "name": name, "precision": precision, "recall": recall, "images": images })
        });
        let result = json!({
            "network": config.network.name(),
            "preset": config.preset.name(),
            "weights": weights.display().to_string(),
            "data_source": data.source().to_string(),
            "split": args.split,
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
    say(format_args!("{:<16} {:>9} {:>9} {:>9}", "class", "precision", "recall", "images"));
    for (name, precision, recall, images) in rows {
        say(format_args!("{name:<16} {precision:>9.4} {recall:>9.4} {images:>9}"));
    }
    say(format_args!(
        "accuracy {:.4}, loss {:.4}, on the {} images of {}",
        evaluation.accuracy,
        evaluation.loss,
        args.split,
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
fn source(args: &EvaluateArgs) -> Result<(Config, std::path::PathBuf), Error> {
    let set = args.overrides.iter().map(|set| (format!("--set {set}"), set.clone()));
    let device = args.device.iter();
    let device = device.map(|name| (format!("--device {name}"), format!("device={name}")));
    let mut overrides: Vec<_> = set.chain(device).collect();
    let file: Option<&Path> = args.run_dir.as_deref();
    match (file, &args.weights) {
        (Some(run), _) => {
            is_run(run)?;
            let weights = ended(run)?;
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

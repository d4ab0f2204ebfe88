mod recipes;

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor};
use fashion_mnist::{Batch, BatchLoader, FashionMnist, Mix, Split};
use models::ConvNet;

use crate::{
    Config,
    config::{AugmentConfig, KernelsConfig, OptimizerConfig, OptimizerName, ScheduleConfig},
    device::{self, DeviceName},
    training::{
        Classifier, Schedule,
        evaluate::evaluate,
        optimizer::{clip, optimizer},
        squared_gradients, squared_weights,
    },
};

fn quickstart() -> Config {
    Config::load(None, &[]).unwrap()
}

fn set(overrides: &[&str]) -> Vec<(String, String)> {
    overrides.iter().map(|set| (format!("--set {set}"), (*set).to_owned())).collect()
}

fn refusal(overrides: &[&str]) -> String {
    Config::load(None, &set(overrides)).unwrap_err().to_string()
}

/// The configs that come with the program, with the path of each.
fn configs() -> Vec<(PathBuf, Config)> {
    fn paths(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { paths(&path) } else { vec![path] }).collect()
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs");
    let load = |path: PathBuf| (path.clone(), Config::load(Some(&path), &[]).unwrap());
    paths(folder.as_ref()).into_iter().map(load).collect()
}

/// Every config is valid, and a first step with a few synthetic images changes the weights.
#[test]
fn the_first_steps_of_all_configs_run() {
    let configs = configs();
    assert!(configs.len() >= 15, "{}", configs.len());
    let device = Device::flex().autodiff();
    let images = FashionMnist::synthetic().split(Split::Train).first(4);
    for (path, config) in configs {
        eprintln!("{}", path.display());
        let loader = BatchLoader::new(&images, 4, &device.clone().inner())
            .resized(config.side())
            .normalized(config.data.normalization.values())
            .augmented(config.augment.changes(), config.seed);
        let batch = loader.epoch(0).next().unwrap().unwrap();
        let mut classifier = Classifier::new(&config, &device);
        let mut optimizer = optimizer(&config.optimizer, &classifier);
        let (loss, _) = classifier.loss(batch);
        assert!(loss.clone().into_scalar::<f32>().is_finite(), "{}", path.display());
        let gradients = classifier.gradients(loss);
        // Weight by weight: in one sum over millions, a small step is lost to rounding.
        let squares_of =
            |it: &Classifier| squared_weights(it).into_data().try_into_vec::<f32>().unwrap();
        let before = squares_of(&classifier);
        let squares = squared_gradients(&classifier, &gradients);
        let gradients = clip(&classifier, gradients, squares, 1.0);
        let rate = config.optimizer.learning_rate * Schedule::new(&config.schedule).factor(0.5);
        classifier = optimizer.step(rate, classifier, gradients);
        let after = squares_of(&classifier);
        assert!(after.iter().all(|square| square.is_finite()), "{}", path.display());
        assert_ne!(after, before, "{}", path.display());
    }
}

/// The recipes of Dive into Deep Learning: learning rate, batch, side; ten epochs of plain SGD.
#[test]
fn the_notes_recipes_are_the_notes() {
    for (network, learning_rate, batch, side) in [
        ("lenet", 0.9, 256, 28),
        ("lenet_bn", 1.0, 256, 28),
        ("alexnet", 0.01, 128, 224),
        ("vgg11", 0.05, 128, 224),
        ("nin", 0.1, 128, 224),
        ("googlenet", 0.1, 128, 96),
        ("resnet18", 0.05, 256, 96),
        ("densenet", 0.1, 256, 96),
    ] {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/d2l");
        let path = Path::new(folder).join(network).with_extension("toml");
        let config = Config::load(Some(&path), &[]).unwrap();
        assert_eq!((config.network.name(), config.preset), (network, models::Preset::D2l));
        let epochs = config.epochs.map(usize::from);
        assert_eq!((epochs, config.batch_size.get()), (Some(10), batch), "{network}");
        assert_eq!(config.side(), side, "{network}");
        let OptimizerConfig { name, momentum, weight_decay, .. } = config.optimizer;
        assert_eq!((name, momentum, weight_decay), (OptimizerName::Sgd, 0.0, 0.0), "{network}");
        assert_eq!(config.optimizer.learning_rate, learning_rate, "{network}");
        assert_eq!(config.schedule, ScheduleConfig::default(), "{network}");
        assert_eq!(config.augment, AugmentConfig::default(), "{network}");
    }
}

#[test]
fn a_config_is_the_same_after_it_was_written() {
    let config = quickstart();
    let again: Config = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
    assert_eq!(config, again);
}

#[test]
fn overrides_change_one_key_each() {
    let overrides = ["network=lenet", "optimizer.learning_rate=1", "data.limit=512", "device=flex"];
    let config = Config::load(None, &set(&overrides)).unwrap();
    let mut expected = quickstart();
    expected.network = models::Architecture::LeNet;
    expected.optimizer.learning_rate = 1.0;
    expected.data.limit = std::num::NonZeroUsize::new(512);
    expected.device = "flex".parse().unwrap();
    assert_eq!(config, expected);
}

#[test]
fn a_wrong_override_is_named_with_the_nearest_right_one() {
    let message = refusal(&["optimizer.learning_rat=1"]);
    assert!(message.starts_with("--set optimizer.learning_rat=1: unknown field"), "{message}");
    assert!(message.ends_with("did you mean `learning_rate`?"), "{message}");
    assert!(refusal(&["dta.limit=1"]).ends_with("did you mean `data`?"));
    assert!(refusal(&["network=lenet_nb"]).ends_with("did you mean `lenet_bn`?"));
    assert!(refusal(&["device=vulcan"]).ends_with("did you mean `vulkan`?"));
    assert!(refusal(&["data.source=synthetik"]).ends_with("did you mean `synthetic`?"));
    assert!(refusal(&["epochs"]).contains("KEY=VALUE"));
    assert!(refusal(&["seed.of=1"]).contains("`seed` is a value, not a section"));
}

/// The key `kernels` was `batch_norm` before, with two values; older runs have it in their config.
#[test]
fn the_key_that_kernels_replaced_is_refused_with_the_new_one() {
    let why = "unknown field `batch_norm`: the key is `kernels` now, with `winograd` for `kernel` \
               and `burn` for `reference`";
    assert_eq!(refusal(&["batch_norm=reference"]), format!("--set batch_norm=reference: {why}"));

    let run = tempfile::tempdir().unwrap();
    let written = toml::to_string(&quickstart()).unwrap();
    let before = written.replace("kernels = \"winograd\"", "batch_norm = \"kernel\"");
    let line = 1 + before.lines().position(|line| line.starts_with("batch_norm")).unwrap();
    let path = run.path().join("config.toml");
    std::fs::write(&path, before).unwrap();
    let message = Config::of_run(run.path(), &[]).unwrap_err().to_string();
    let expected = format!("{}:{line}: {why}\n    batch_norm = \"kernel\"", path.display());
    assert_eq!(message, expected);
}

#[test]
fn an_override_of_many_sections_is_refused() {
    for key in ["data.limit.x", &"a.".repeat(100_000)] {
        let message = refusal(&[&format!("{key}=1")]);
        assert!(message.ends_with("expected a key in one section at most, such as `data.limit`"));
    }
}

#[test]
fn a_wrong_name_of_any_length_is_refused_at_once() {
    let start = std::time::Instant::now();
    let name = format!("network={}{}", "a".repeat(100_000), "`b".repeat(20_000));
    let message = refusal(&[&name]);
    assert!(message.contains("unknown network"));
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

#[test]
fn values_of_the_wrong_type_or_range_are_refused() {
    assert!(refusal(&["epochs=ten"]).contains("expected a whole number above 0"));
    assert!(refusal(&["epochs=0"]).contains("expected a whole number above 0"));
    assert!(refusal(&["optimizer.learning_rate=0"]).contains("above 0, not 0"));
    assert!(refusal(&["optimizer.learning_rate=nan"]).contains("above 0, not NaN"));
    assert!(refusal(&["optimizer.momentum=1"]).contains("from 0 to below 1, not 1"));
}

#[test]
fn impossible_combinations_are_refused_before_anything_is_loaded() {
    let message = refusal(&["data.limit=100"]);
    assert_eq!(message, "batch_size = 128 is more than the 100 images to train on");
    assert!(refusal(&["data.limit=129"]).contains("a batch has only one of the 129"));
    assert!(refusal(&["batch_size=1"]).contains("a batch has only one"));
    assert!(Config::load(None, &set(&["batch_size=1", "network=lenet"])).is_ok());
    assert!(refusal(&["data.validation=60000"]).contains("leaves none of the 60000"));
}

/// An empty value leaves a key out; a key that does not exist is still an error.
#[test]
fn an_override_without_a_value_leaves_the_key_out() {
    let mut expected = quickstart();
    expected.optimizer.momentum = 0.0;
    assert_eq!(Config::load(None, &set(&["optimizer.momentum="])).unwrap(), expected);
    let config = Config::load(None, &set(&["ema.decay=0.9", "ema="])).unwrap();
    assert_eq!(config, quickstart());
    let message = refusal(&["optimizer.momentun="]);
    assert!(message.ends_with("did you mean `momentum`?"), "{message}");
    assert!(refusal(&["optimizer.name="]).contains("missing field `name`"));
}

/// The quickstart's SGD has momentum, which AdamW does not have.
#[test]
fn another_optimizer_or_schedule_leaves_the_keys_of_the_first_one() {
    for name in ["sgd", "adam", "adamw", "rmsprop"] {
        let config = Config::load(None, &set(&[&format!("optimizer.name={name}")])).unwrap();
        let has_momentum = ["sgd", "rmsprop"].contains(&name);
        assert_eq!(config.optimizer.momentum, if has_momentum { 0.9 } else { 0.0 }, "{name}");
        assert_eq!(config.optimizer.learning_rate, 0.1, "{name}");
    }
    let best = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/best/lenet.toml");
    let level = Config::load(Some(best.as_ref()), &set(&["schedule.name=constant"])).unwrap();
    assert_eq!(level.schedule.warmup, Some(0.05));
    let falls = ["schedule.name=linear", "schedule.final_factor=0.1"];
    let falls = Config::load(Some(best.as_ref()), &set(&falls)).unwrap();
    assert_eq!(falls.schedule.final_factor, 0.1);

    // A key that is set itself is not dropped, in either order.
    for order in [[0, 1], [1, 0]] {
        let asked = order.map(|it| ["optimizer.name=adamw", "optimizer.momentum=0.5"][it]);
        assert!(refusal(&asked).contains("the optimizer adamw has no momentum"), "{order:?}");
    }
}

/// Every name is valid in a config; a device that this build lacks is an error when it is chosen.
#[test]
fn devices_are_found_by_name() {
    for name in ["auto", "wgpu", "wgpu:1", "vulkan:0", "flex", "ndarray"] {
        assert_eq!(name.parse::<DeviceName>().unwrap().to_string(), name);
    }
    assert!("wgpu:x".parse::<DeviceName>().unwrap_err().contains("as in `wgpu:0`"));

    let flex = device::choose("flex".parse().unwrap()).unwrap();
    assert_eq!(flex.found.device, Device::flex());
    let missing = device::choose("flex:1".parse().unwrap()).unwrap_err().to_string();
    assert_eq!(missing, "no device flex:1: this machine has flex");
    if cfg!(not(feature = "rocm")) {
        let absent = device::choose("rocm".parse().unwrap()).unwrap_err().to_string();
        assert!(absent.contains("`--features rocm`"), "{absent}");
    }

    let auto = device::choose(DeviceName::Auto).unwrap();
    assert_ne!(auto.found.kind, device::Kind::SoftwareGpu, "only ever taken by name");
    assert!(auto.reason.unwrap().starts_with("auto: "));
    if cfg!(all(feature = "ndarray", not(feature = "_cube"))) {
        assert_eq!(auto.found.name, "ndarray", "`auto` prefers ndarray in a build with it");
    }
}

/// Ten steps from the same seed, on every device of this machine: the losses agree step by step.
/// Rounding errors grow with each step; with wrong kernels the losses do not agree at all.
#[test]
fn every_device_takes_the_same_steps() {
    let config = quickstart();
    let devices = test_devices::all();
    let expected = losses(&config, 10, &devices[0].1);
    assert!(expected[9] < expected[0], "the loss falls: {expected:?}");
    for (name, device) in devices {
        assert_near(name, &losses(&config, 10, &device), &expected, 1e-3);
    }
}

/// A hundred steps with our batch norm kernels and with Burn's own operations, on every device: the
/// losses agree step by step.
#[test]
fn batch_norm_kernels_train_as_burns_operations_do() {
    let mut kernel = quickstart();
    kernel.optimizer.learning_rate = 0.1;
    let reference = Config { kernels: KernelsConfig::Burn, ..kernel.clone() };
    for (name, device) in test_devices::all() {
        let expected = losses(&reference, 100, &device);
        assert!(expected[99] < 0.8 * expected[0], "{name}: the loss falls: {expected:?}");
        assert_near(name, &losses(&kernel, 100, &device), &expected, 1e-3);
    }
}

/// The loss of each step, on synthetic images in batches of 32.
fn losses(config: &Config, steps: usize, device: &Device) -> Vec<f32> {
    let device = device.clone().autodiff();
    let data = FashionMnist::synthetic();
    let images = data.split(Split::Train).first(32 * steps);
    let mut classifier = Classifier::new(config, &device);
    let mut optimizer = optimizer(&config.optimizer, &classifier);
    let batches = BatchLoader::new(&images, 32, &device).shuffled(0);
    let batches: Vec<_> = batches.epoch(0).map(Result::unwrap).collect();
    let step = |batch: fashion_mnist::Batch| {
        let (loss, _) = classifier.loss(batch);
        let gradients = classifier.gradients(loss.clone());
        let learning_rate = config.optimizer.learning_rate;
        classifier = optimizer.step(learning_rate, classifier.clone(), gradients);
        loss.into_scalar::<f32>()
    };
    batches.into_iter().map(step).collect()
}

fn assert_near(device: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    for (step, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(error < tolerance, "{device}, step {step}: {found}, not {expected}");
    }
}

/// The mean is over all images, not over the batches: the last batch is smaller.
#[test]
fn an_evaluation_counts_every_image_once() {
    let config = quickstart();
    let data = FashionMnist::synthetic();
    let images = data.split(Split::Test).first(25);
    let device = Device::flex();
    let classifier = Classifier::new(&config, &device);
    let found = evaluate(&classifier, &BatchLoader::new(&images, 10, &device)).unwrap();

    let batch = BatchLoader::new(&images, 25, &device).epoch(0).next().unwrap().unwrap();
    let (loss, correct) = classifier.loss(batch);
    let correct = f64::from(correct.into_scalar::<f32>());
    assert!((found.accuracy - correct / 25.0).abs() < 1e-9);
    let loss = f64::from(loss.into_scalar::<f32>());
    assert!((found.loss - loss).abs() < 1e-5, "{} and {loss}", found.loss);
}

/// By hand: three images are predicted as the classes p and mixed with images of class p. With own
/// shares of .7, .3 and one half, the correct predictions are none, all, and all: at one half,
/// either class is correct.
#[test]
fn a_mixed_image_counts_for_the_class_with_the_larger_share() {
    let config = quickstart();
    let device = Device::flex();
    let classifier = Classifier::new(&config, &device);
    let images = FashionMnist::synthetic().split(Split::Train).first(3);
    let batch = BatchLoader::new(&images, 3, &device).epoch(0).next().unwrap().unwrap();
    let logits = classifier.network.forward(batch.images.clone());
    let taken_for = logits.argmax(1).flatten::<1>(0, 1);
    // From 0 to 9, and never the predicted class.
    let other = (taken_for.clone() + 1).remainder_scalar(10);
    let correct = |own: &Tensor<1, Int>, mixed: &Tensor<1, Int>, share| {
        let mix = Mix { labels: mixed.clone(), share };
        let batch = Batch { labels: own.clone(), mix: Some(mix), ..batch.clone() };
        classifier.loss(batch).1.into_scalar::<f32>()
    };
    let found = [0.7, 0.3, 0.5].map(|share| correct(&other, &taken_for, share));
    assert_eq!(found, [0.0, 3.0, 3.0]);
    let found = [0.7, 0.3, 0.5].map(|share| correct(&taken_for, &other, share));
    assert_eq!(found, [3.0, 0.0, 3.0]);
    // An image mixed with one of its own class counts once.
    assert_eq!(correct(&taken_for, &taken_for, 0.5), 3.0);
}

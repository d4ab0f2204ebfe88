//! The Rust side of the comparison. It uses the same protocol as `train.py`.

use std::{
    collections::BTreeMap,
    io::{self, BufRead},
    time::{Duration, Instant},
};

use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use fashion_mnist::Batch;
use models::{ConvNet, Preset};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use train::{
    Config, DeviceName, Error,
    device::{self, Found, Kind},
    training::{Classifier, optimizer::optimizer},
};

use super::{
    super::{finish, timed},
    case::Case,
    machine,
    side::{Failure, Introduction, Round, WarmUp},
};

const LEARNING_RATE: f64 = 0.01;

/// Runs a step and returns the loss or the logits.
type Step = Box<dyn FnMut() -> Tensor<2>>;

/// Answers requests for measurements until the input ends.
pub fn run(case: Case, device: DeviceName) {
    serve(case, device);
}

fn serve(case: Case, device: DeviceName) {
    let found = match device::choose(device) {
        Ok(chosen) => chosen.found,
        Err(error) => return answer(&Failure { error: error.to_string() }),
    };
    let gpu = !matches!(found.kind, Kind::Cpu | Kind::SoftwareGpu);
    answer(&Introduction {
        device: found.name.clone(),
        model: if found.kind == Kind::Cpu { machine::processor() } else { found.model() },
        gpu,
        threads: rayon::current_num_threads(),
        parameters: case.config().init(&found.device).parameters(),
        versions: BTreeMap::from([("burn".to_owned(), burn_version())]),
    });

    let mut step = None;
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["warm-up", work, least] => {
                drop(step.take()); // frees its memory
                let prepared = match work {
                    "training" => training(case, &found),
                    _ => Ok(prediction(case, &found)),
                };
                match prepared {
                    Ok(prepared) => {
                        let least = least.parse().expect("seconds");
                        let seconds = warm_up(step.insert(prepared), least, &found.device);
                        answer(&WarmUp { seconds });
                    }
                    Err(error) => answer(&Failure { error: error.to_string() }),
                }
            }
            ["round", steps] => {
                let step = step.as_mut().expect("warm-up comes before round");
                let (time, value) = round(step, steps.parse().expect("a number"), &found.device);
                answer(&Round { seconds: time.as_secs_f64(), value: Some(value) });
            }
            _ => answer(&Failure { error: format!("not a command: {line:?}") }),
        }
    }
}

fn answer(what: &impl Serialize) {
    println!("{}", serde_json::to_string(what).expect("plain values are JSON"));
}

/// Runs the first step, in which a GPU compiles its kernels and autotunes, and then as many steps
/// as fill the time. Returns the seconds of the fastest.
fn warm_up(step: &mut Step, least: f64, device: &Device) -> f64 {
    round(step, 1, device);
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < 3 || start.elapsed().as_secs_f64() < least {
        times.push(round(step, 1, device).0.as_secs_f64());
    }
    times.into_iter().fold(f64::INFINITY, f64::min)
}

fn round(step: &mut Step, steps: usize, device: &Device) -> (Duration, f64) {
    let mut last = None;
    finish(device);
    let time = timed(device, || (0..steps).for_each(|_| last = Some(step())));
    let last = last.expect("at least one step").mean().into_scalar::<f32>();
    (time, last.into())
}

/// Prepares training steps like those of the program `train`.
fn training(case: Case, found: &Found) -> Result<Step, Error> {
    let device = found.device.clone().autodiff();
    let set = |assignment: String| ("--set".to_owned(), assignment);
    let Case { network, preset, .. } = case;
    let config = Config::load(
        None,
        &[
            set(format!("network={network}")),
            set(format!("preset={preset}")),
            set(format!("optimizer={{name=\"sgd\",learning_rate={LEARNING_RATE},momentum=0.9}}")),
        ],
    )?;
    let mut classifier = Classifier::new(&config, &device);
    if preset == Preset::Imagenet {
        // The config's network is for Fashion-MNIST; this preset has color images and 1,000
        // classes.
        classifier.network = case.config().init(&device);
    }
    let mut optimizer = optimizer(&config.optimizer, &classifier);
    let batch = Batch { images: images(case, &device), labels: labels(case, &device), mix: None };

    let mut classifier = Some(classifier);
    Ok(Box::new(move || {
        let before = classifier.take().expect("every step puts the classifier back");
        let (loss, _) = before.loss(batch.clone());
        let value = loss.clone().inner();
        let gradients = before.gradients(loss);
        classifier = Some(optimizer.step(LEARNING_RATE, before, gradients));
        value.unsqueeze()
    }))
}

/// Prepares predictions with folded batch normalization.
fn prediction(case: Case, found: &Found) -> Step {
    let network = case.config().init(&found.device).prepare_for_prediction();
    let images = images(case, &found.device);
    Box::new(move || network.forward(images.clone()))
}

fn images(case: Case, device: &Device) -> Tensor<4> {
    let [channels, height, width] = case.image();
    Tensor::random([case.batch, channels, height, width], Distribution::Normal(0.0, 1.0), device)
}

fn labels(case: Case, device: &Device) -> Tensor<1, Int> {
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let labels: Vec<i32> =
        (0..case.batch).map(|_| random.random_range(0..case.classes())).collect();
    Tensor::from_data(TensorData::new(labels, [case.batch]), device)
}

/// Returns Burn's version from the lock file.
fn burn_version() -> String {
    let lock = include_str!("../../../../Cargo.lock");
    let after = lock.split_once("name = \"burn\"\nversion = \"").map(|(_, after)| after);
    let version = after.and_then(|after| after.split_once('"')).map(|(version, _)| version);
    version.expect("burn is in the lock file").to_owned()
}

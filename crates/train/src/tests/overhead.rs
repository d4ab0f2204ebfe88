//! The overhead of the program over a bare loop of forward, backward and optimizer.

use std::time::Instant;

use burn::tensor::Device;
use fashion_mnist::{BatchLoader, FashionMnist, Split};

use super::set;
use crate::{
    Config,
    run::{RunFiles, execute::start},
    stop::Stop,
    training::{Classifier, optimizer::optimizer},
};

/// A measurement, which must run without other tests beside it:
/// `cargo test --workspace --lib costs_little -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn the_program_costs_little_beside_the_bare_loop() {
    const STEPS: usize = 40;
    const ROUNDS: usize = 9;
    let limit = format!("data.limit={}", 256 * STEPS);
    let config = Config::load(
        None,
        &set(&[
            "batch_size=256",
            "epochs=1",
            "data.source=synthetic",
            "data.validation=100",
            "device=flex",
            "test=false",
            &limit,
        ]),
    );
    let config = config.unwrap();
    let device = Device::flex().autodiff();
    let data = FashionMnist::synthetic().hold_out(100, 0);
    let images = data.split(Split::Train).first(256 * STEPS);
    let loader = |images| BatchLoader::new(images, 256, &device.clone().inner());
    let train = loader(&images).shuffled(0);

    let bare = || {
        let mut classifier = Classifier::new(&config, &device);
        let mut optimizer = optimizer(&config.optimizer, &classifier);
        let start = Instant::now();
        for batch in train.epoch(0) {
            let (loss, _) = classifier.loss(batch.unwrap());
            let gradients = classifier.gradients(loss);
            classifier = optimizer.step(config.optimizer.learning_rate, classifier, gradients);
        }
        start.elapsed().as_secs_f64()
    };
    let program = || {
        let folder = tempfile::tempdir().unwrap();
        let run = start(&config, Some(folder.path()), None, &Stop::default()).unwrap();
        RunFiles::read(run.folder.path()).unwrap().epochs[0].seconds.training
    };
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        1e3 * times[times.len() / 2] / STEPS as f64
    };
    let (mut of_bare, mut of_program) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        of_bare.push(bare());
        of_program.push(program());
    }
    let (bare, program) = (median(of_bare), median(of_program));
    eprintln!("bare loop {bare:.2} ms a step, program {program:.2} ms: {:.3}", program / bare);
    assert!(program < 1.05 * bare);
}

//! Benchmarks whether batch loading is faster than the training step that uses the batches.

use fashion_mnist::{Batch, BatchLoader, FashionMnist, Split};
use serde::Serialize;
use train::{
    Config, Error,
    config::KernelsConfig,
    device::Found,
    training::{Classifier, optimizer::optimizer},
};

use super::{medians, timed};

const BATCH_SIZE: usize = 256;
/// Batches per turn.
const BATCHES: usize = 8;
const ROUNDS: usize = 15;

#[derive(Serialize)]
struct Row {
    work: &'static str,
    device: String,
    batch_size: usize,
    ms_per_batch: f64,
    images_per_second: f64,
    /// The time as a share of the training step's.
    share_of_step: f64,
}

/// Times the loading of batches of 28 and of 96 pixels, and LeNet-BN's training step on loaded
/// batches with this project's batch norm kernels and with Burn's operations. The images are
/// synthetic, in the number and shape of Fashion-MNIST's.
pub fn run(found: &Found, json: bool) -> Result<(), Error> {
    let device = found.device.clone().autodiff();
    let data = FashionMnist::synthetic();
    let images = data.split(Split::Train).first(BATCH_SIZE * BATCHES);
    let loader = BatchLoader::new(&images, BATCH_SIZE, &device).shuffled(0);
    let resized = loader.clone().resized(96);
    let batches: Vec<Batch> = loader.epoch(0).map(|batch| batch.expect("in memory")).collect();

    let kernel = Config::load(None, &[])?;
    let reference = Config { kernels: KernelsConfig::Burn, ..kernel.clone() };
    let step = |config: Config| {
        let mut classifier = Classifier::new(&config, &device);
        let mut optimizer = optimizer(&config.optimizer, &classifier);
        let (batches, device) = (&batches, &device);
        move || {
            timed(device, || {
                for batch in batches {
                    let (loss, _) = classifier.loss(batch.clone());
                    let gradients = classifier.gradients(loss);
                    classifier = optimizer.step(0.01, classifier.clone(), gradients);
                }
            })
        }
    };
    let (mut kernel, mut reference) = (step(kernel), step(reference));
    let load = |loader: &BatchLoader| {
        timed(&device, || loader.epoch(1).for_each(|batch| drop(batch.expect("in memory"))))
    };
    let times = medians(
        ROUNDS,
        [&mut || load(&loader), &mut || load(&resized), &mut kernel, &mut reference],
    );

    let step_seconds = times[2].as_secs_f64();
    let work =
        ["batches of 28 px", "batches of 96 px", "LeNet-BN step", "LeNet-BN step, burn's norm"];
    let rows = work.into_iter().zip(times).map(|(work, time)| Row {
        work,
        device: found.name.clone(),
        batch_size: BATCH_SIZE,
        ms_per_batch: time.as_secs_f64() * 1e3 / BATCHES as f64,
        images_per_second: (BATCH_SIZE * BATCHES) as f64 / time.as_secs_f64(),
        share_of_step: time.as_secs_f64() / step_seconds,
    });
    let rows: Vec<Row> = rows.collect();

    if json {
        println!("{}", serde_json::to_string_pretty(&rows).expect("plain values are JSON"));
        return Ok(());
    }
    println!("{}: batches of {BATCH_SIZE}, median of {ROUNDS} rounds", found.name);
    println!("{:28} {:>12} {:>12} {:>14}", "", "ms/batch", "images/s", "share of step");
    for row in rows {
        println!(
            "{:28} {:12.3} {:12.0} {:13.1}%",
            row.work,
            row.ms_per_batch,
            row.images_per_second,
            row.share_of_step * 100.0
        );
    }
    Ok(())
}

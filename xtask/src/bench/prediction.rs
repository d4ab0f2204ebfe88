//! Benchmarks prediction with folded and unfolded batch normalization.

use burn::tensor::{Distribution, Tensor};
use models::{Architecture, ConvNet, Preset};
use serde::Serialize;
use train::device::Found;

use super::{medians, timed};

const BATCH: usize = 8;
const ROUNDS: usize = 15;

#[derive(Serialize)]
struct Row {
    network: String,
    device: String,
    batch_size: usize,
    unfolded_ms: f64,
    folded_ms: f64,
    speedup: f64,
}

/// Times the prediction of a batch of 224 x 224 pixels by each network, folded and unfolded in
/// turn.
pub fn run(found: &Found, json: bool) {
    let device = &found.device;
    let images = Tensor::<4>::random([BATCH, 3, 224, 224], Distribution::Normal(0.0, 1.0), device);
    let rows = [Architecture::ResNet18, Architecture::ResNet50].map(|architecture| {
        let config = architecture.config(Preset::Imagenet).expect("torchvision has it");
        let unfolded = config.init(device);
        let folded = unfolded.clone().prepare_for_prediction();
        let predict = |network: &models::Network| {
            timed(device, || drop(network.forward(images.clone()).into_data()))
        };
        let [unfolded, folded] =
            medians(ROUNDS, [&mut || predict(&unfolded), &mut || predict(&folded)])
                .map(|time| time.as_secs_f64() * 1e3);
        Row {
            network: architecture.to_string(),
            device: found.name.clone(),
            batch_size: BATCH,
            unfolded_ms: unfolded,
            folded_ms: folded,
            speedup: unfolded / folded,
        }
    });
    if json {
        println!("{}", serde_json::to_string_pretty(&rows).expect("plain values are JSON"));
        return;
    }
    println!(
        "batches of {BATCH} images of 224 x 224 pixels on {}, medians of {ROUNDS}",
        found.name
    );
    for row in rows {
        println!(
            "{:10} {:7.1} ms, folded {:7.1} ms: {:.2} times as fast",
            row.network, row.unfolded_ms, row.folded_ms, row.speedup
        );
    }
}

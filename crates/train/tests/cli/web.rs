//! The web page trains as this program does.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;
use web::{Data, Session, Settings};

use super::run;

/// The same seed gives the same losses, to the bit, in this program and in the crate of the page.
#[test]
fn the_web_page_takes_the_same_steps() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path().join("run");
    let fixed = ["--device", "flex", "--epochs", "2", "--set", "data.source=synthetic"];
    let path = ["--set", "data.limit=640", "--set", "test=false", "--run-dir"];
    let output = run(&[&fixed[..], &path, &[folder.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let steps = fs::read_to_string(folder.join("steps.jsonl")).unwrap();
    let losses = steps.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let losses: Vec<f32> = losses.map(|step| step["loss"].as_f64().unwrap() as f32).collect();

    // The settings of configs/quickstart.toml, with which the page begins.
    let settings = Settings {
        network: "lenet_bn".to_owned(),
        optimizer: "sgd".to_owned(),
        learning_rate: 0.1,
        momentum: 0.9,
        batch_size: 128,
        images: 640,
        seed: 0,
    };
    let mut session = Session::new(&Data::synthetic(), settings).unwrap();
    let found: Vec<f32> = losses.iter().map(|_| session.step().unwrap().loss).collect();
    assert_eq!(found.len(), 10);
    assert_eq!(found, losses);
}

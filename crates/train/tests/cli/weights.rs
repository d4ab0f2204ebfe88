//! What can be done with the weights of a run.

use std::{fs, path::Path};

use serde_json::Value;
use tempfile::TempDir;

use super::{assert_refused, json, quick, run};

/// A run of one epoch on the stand-in.
fn ended(temp: &TempDir, name: &str, more: &[&str]) -> String {
    let path = temp.path().join(name).to_str().unwrap().to_owned();
    let output = run(&quick(
        &path,
        &[more, &["--epochs", "1"][..if more.contains(&"--epochs") { 0 } else { 2 }]].concat(),
    ));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

fn result(run: &str) -> Value {
    let text = fs::read_to_string(Path::new(run).join("result.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_run_is_tested_and_exported() {
    let temp = TempDir::new().unwrap();
    // Where the average differs from the weights, it is what was tested.
    let path = ended(&temp, "run", &["--set", "average.decay=0.9"]);
    let expected = result(&path);
    let evaluated = json(run(&["evaluate", &path, "--json"]));
    assert_eq!(evaluated["accuracy"], expected["test_accuracy"]);
    assert_eq!(evaluated["loss"], expected["test_loss"]);
    assert_eq!(evaluated["classes"].as_array().unwrap().len(), 10);

    // The same weights in PyTorch's names, and back.
    let exported = temp.path().join("weights.safetensors");
    let exported = exported.to_str().unwrap();
    assert!(run(&["export", &path, exported]).status.success());
    let synthetic =
        ["--set", "data.source=synthetic", "--set", "batch_size=128", "--device", "flex", "--json"];
    let again = ["evaluate", "--weights", exported, "--network", "lenet_bn"];
    let again = json(run(&[&again[..], &synthetic].concat()));
    assert_eq!(again["accuracy"], expected["test_accuracy"]);

    let copy = temp.path().join("weights.bpk");
    assert!(run(&["export", &path, copy.to_str().unwrap()]).status.success());
    assert_eq!(fs::read(copy).unwrap(), fs::read(Path::new(&path).join("model.bpk")).unwrap());

    assert_refused(run(&["export", &path, "weights.onnx"]), &["must end in .safetensors or .bpk"]);
    assert_refused(run(&["evaluate", &path, "--split", "tset"]), &["expected `test` or"]);
    assert_refused(run(&["evaluate", "no/such/run"]), &["is not the folder of a run"]);
    let resnet = ["evaluate", "--weights", exported, "--network", "resnet18"];
    assert_refused(run(&[&resnet[..], &synthetic].concat()), &["do not fit this network"]);

    // A picture, and no such test image.
    let photo = temp.path().join("photo.png");
    image::GrayImage::from_fn(50, 40, |x, y| image::Luma([(x * y) as u8])).save(&photo).unwrap();
    let rows = json(run(&["predict", "--run", &path, "--json", photo.to_str().unwrap()]));
    assert_eq!(rows[0]["classes"].as_array().unwrap().len(), 5);
    if let Ok(data) = std::env::var("FASHION_MNIST_DIR") {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(data);
        let data = data.to_str().unwrap();
        let rows =
            json(run(&["predict", "--run", &path, "--data-dir", data, "--json", "7", "9999"]));
        assert_eq!(rows.as_array().unwrap().len(), 2);
        let refused = run(&["predict", "--run", &path, "--data-dir", data, "10000"]);
        assert_refused(refused, &["there is no test image 10000"]);
    }
}

#[test]
fn a_sweep_trains_every_combination_and_a_report_compares_them() {
    let temp = TempDir::new().unwrap();
    let config = temp.path().join("config.toml");
    let text = include_str!("../../../../configs/quickstart.toml");
    let text = text.replace("source = \"auto\"", "source = \"synthetic\"\nlimit = 640");
    let text = text.replace("epochs = 3", "epochs = 1\ndevice = \"flex\"");
    fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    let out = temp.path().join("sweep");
    let sweep = ["sweep", config, "--out", out.to_str().unwrap()];
    let axes = ["--set", "optimizer.learning_rate=0.01,0.1", "--set", "seed=0,1"];
    let output = run(&[&sweep[..], &axes].concat());
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let rows: Value = serde_json::from_slice(&fs::read(out.join("sweep.json")).unwrap()).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[2]["set"], serde_json::json!(["optimizer.learning_rate=0.1", "seed=0"]));
    for row in rows {
        let accuracy = row["result"]["test_accuracy"].as_f64().unwrap();
        assert!(printed.contains(&format!("{accuracy:.4}")), "{printed}");
    }
    assert_eq!(rows[0]["result"], result(out.join("1").to_str().unwrap()));
    assert!(fs::read_to_string(out.join("report.html")).unwrap().contains("<svg"));

    let page = temp.path().join("page.html");
    let runs = ["1", "4"].map(|run| out.join(run).to_str().unwrap().to_owned());
    let report = ["report", &runs[0], &runs[1], "--out", page.to_str().unwrap()];
    assert!(run(&report).status.success());
    assert!(fs::read_to_string(page).unwrap().len() < 2_000_000);

    let wrong = ["--set", "optimizer.learning_rat=0.01,0.1"];
    let other = temp.path().join("other");
    let sweep = ["sweep", config, "--out", other.to_str().unwrap()];
    assert_refused(run(&[&sweep[..], &wrong].concat()), &["did you mean `learning_rate`?"]);
    assert!(!other.exists(), "nothing is made before all configs are read");
}

/// The weights of a run are where another one starts: it is better at once than one from scratch.
#[test]
fn a_run_starts_from_the_weights_of_another() {
    let temp = TempDir::new().unwrap();
    let first = ended(&temp, "first", &["--epochs", "4"]);
    let set = format!("initial.weights=\"{first}/model.bpk\"");
    let second = ended(&temp, "second", &["--set", &set]);
    let loss = |run: &str| {
        let lines = super::resume::metrics(run.as_ref());
        lines.iter().find_map(|line| line["loss"].as_f64()).unwrap()
    };
    assert!(loss(&second) < 0.5 * loss(&first), "{} and {}", loss(&second), loss(&first));

    let set = "initial.weights=\"no/such.pth\"";
    let other = temp.path().join("other");
    let refused = run(&quick(other.to_str().unwrap(), &["--set", set]));
    assert_refused(refused, &["cannot read the weights no/such.pth"]);
    assert!(!other.exists(), "no folder is made for a run that cannot begin");
}

/// Weights that are no numbers end the run at its first step, with the layer and the images; the
/// checkpoint before stays.
#[test]
fn a_run_that_diverges_says_where() {
    let temp = TempDir::new().unwrap();
    let path = temp.path().join("run");
    let path = path.to_str().unwrap();
    let far = ["--set", "optimizer.learning_rate=1e39", "--epochs", "2"];
    let output = run(&quick(path, &far));
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.starts_with("error: step 2 (epoch 1): the loss is NaN; the weight "),
        "{message}"
    );
    assert!(message.contains("by their number in the training file: "), "{message}");
    assert!(message.contains("there is no checkpoint"), "{message}");
}

/// The split has a seed of its own: another `seed` does not move training images into the validation.
#[test]
fn another_seed_leaves_the_validation_images_as_they_are() {
    let temp = TempDir::new().unwrap();
    let path = ended(&temp, "run", &[]);
    let validation = ["evaluate", &path, "--split", "validation", "--json"];
    let evaluated = |more: &[&str]| json(run(&[&validation[..], more].concat()));
    let expected = evaluated(&[]);
    assert_eq!(evaluated(&["--set", "seed=1"])["loss"], expected["loss"]);
    assert_eq!(expected["held_out"], true);

    let moved = evaluated(&["--set", "data.split_seed=1"]);
    assert_ne!(moved["loss"], expected["loss"]);
    assert_eq!(moved["held_out"], false);
}

/// What a folder without the key was split by: `seed`, in the first version of this program.
#[test]
fn a_run_from_before_the_split_had_a_seed_keeps_its_split() {
    let temp = TempDir::new().unwrap();
    let path = ended(&temp, "run", &["--set", "data.split_seed=7"]);
    let validation = ["evaluate", &path, "--split", "validation", "--json"];
    let expected = json(run(&validation));

    let config = Path::new(&path).join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let old = text.replace("split_seed = 7\n", "").replace("seed = 0\n", "seed = 7\n");
    assert_ne!(text, old);
    fs::write(config, old).unwrap();
    assert_eq!(json(run(&validation)), expected);
}

/// A run's folder tells what its weights were trained on; a file alone does not.
#[test]
fn an_evaluation_says_whether_its_images_were_trained_on() {
    let temp = TempDir::new().unwrap();
    let path = ended(&temp, "run", &["--set", "data.split_seed=1"]);
    let known = format!("{path}/model.bpk");
    let alone = temp.path().join("alone.bpk");
    fs::copy(&known, &alone).unwrap();
    let evaluated = |weights: &str, more: &[&str]| {
        let file = ["evaluate", "--weights", weights, "--network", "lenet_bn", "--device", "flex"];
        let data = ["--set", "data.source=synthetic", "--set", "data.validation=100"];
        let output = run(&[&file[..], &data, &["--split", "validation"], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let alone = alone.to_str().unwrap();
    let said = evaluated(alone, &[]);
    assert!(said.contains("does not tell which images it was trained on"), "{said}");
    let said = evaluated(&known, &[]);
    assert!(said.contains("may have been trained on some of these images"), "{said}");
    let said = evaluated(&known, &["--set", "data.split_seed=1"]);
    assert!(said.contains("were not trained on these images"), "{said}");
    let value: Value = serde_json::from_str(&evaluated(alone, &["--json"])).unwrap();
    assert_eq!(value["held_out"], Value::Null);
}

/// Weights that were trained on what is now the validation say little there.
#[test]
fn weights_of_another_split_to_start_from_are_noticed() {
    let temp = TempDir::new().unwrap();
    let first = ended(&temp, "first", &["--set", "data.split_seed=1"]);
    let warned = |name: &str, weights: &str, split: &str| {
        let set = format!("initial.weights=\"{weights}\"");
        let split = format!("data.split_seed={split}");
        let folder = temp.path().join(name);
        let more = ["--epochs", "1", "--set", &set, "--set", &split];
        let output = run(&quick(folder.to_str().unwrap(), &more));
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let weights = format!("{first}/model.bpk");
    let other = warned("other", &weights, "0");
    assert!(other.contains("may have been trained on some of the validation images"), "{other}");
    assert!(other.contains("data.split_seed = 1"), "{other}");
    assert_eq!(warned("same", &weights, "1"), "");
    // It saw the first one's weights, and those saw the images.
    let third = warned("third", &format!("{}/other/model.bpk", temp.path().display()), "0");
    assert!(third.contains("may have been trained on some of the validation images"), "{third}");

    let alone = temp.path().join("alone.bpk");
    fs::copy(&weights, &alone).unwrap();
    let unknown = warned("unknown", alone.to_str().unwrap(), "0");
    assert!(unknown.contains("does not tell which images it was trained on"), "{unknown}");
}

/// Only what the images are decides whether they are the stand-in, not what a folder is called.
#[test]
fn a_folder_called_synthetic_is_not_the_stand_in() {
    let temp = TempDir::new().unwrap();
    let path = ended(&temp, "run", &[]);
    let page = || {
        assert!(run(&["report", &path]).status.success());
        fs::read_to_string(Path::new(&path).join("report.html")).unwrap()
    };
    assert!(page().contains("Synthetic images."));
    for name in ["environment.json", "result.json"] {
        let file = Path::new(&path).join(name);
        let text = fs::read_to_string(&file).unwrap();
        let real = "Fashion-MNIST from /data/not-synthetic";
        let real = text.replace("synthetic stand-in, not Fashion-MNIST", real);
        assert_ne!(text, real);
        fs::write(&file, real).unwrap();
    }
    assert!(page().contains("/data/not-synthetic"));
    assert!(!page().contains("Synthetic images."));
}

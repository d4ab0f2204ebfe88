//! Uses of a run's weights: evaluation, prediction, export, fine-tuning.

use std::{fs, path::Path};

use serde_json::Value;
use tempfile::TempDir;

use super::{assert_refused, json, quick, run};

/// A run of one epoch on synthetic data.
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
    // With an average of the weights, the average is tested.
    let path = ended(&temp, "run", &["--set", "ema.decay=0.9"]);
    let expected = result(&path);
    let evaluated = json(run(&["evaluate", &path, "--json"]));
    assert_eq!(evaluated["accuracy"], expected["test_accuracy"]);
    assert_eq!(evaluated["loss"], expected["test_loss"]);
    let classes = evaluated["classes"].as_array().unwrap();
    assert_eq!(classes.len(), 10);
    // The classes' losses make up the whole loss.
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let sum = |value: fn(&serde_json::Value) -> f64| classes.iter().map(value).sum::<f64>();
    let losses = sum(|class| class["loss"].as_f64().unwrap() * class["images"].as_f64().unwrap());
    let images = sum(|class| class["images"].as_f64().unwrap());
    let loss = number(&evaluated["loss"]);
    assert!((losses / images - loss).abs() < 1e-5 * loss, "{losses} of {images}, not {loss}");

    // The same weights with PyTorch's names, and back.
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

    let onnx = temp.path().join("weights.onnx");
    let refused = run(&["export", &path, onnx.to_str().unwrap()]);
    assert_refused(refused, &["expected a file name ending in .safetensors or .bpk"]);
    assert_refused(run(&["evaluate", &path, "--split", "tset"]), &["test, validation"]);
    assert_refused(run(&["evaluate", "no/such/run"]), &["is not the folder of a run"]);
    let resnet = ["evaluate", "--weights", exported, "--network", "resnet18"];
    assert_refused(run(&[&resnet[..], &synthetic].concat()), &["it holds lenet_bn (d2l)"]);

    // A picture, and a test image that does not exist.
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

/// The weights in `assets/weights` have the accuracies that the page about them states.
#[test]
fn published_weights_are_as_accurate_as_stated() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/weights");
    let page = fs::read_to_string(folder.join("README.md")).unwrap();
    let mut stated = Vec::new();
    for row in page.lines().filter_map(|line| line.strip_prefix("| `")) {
        let (file, rest) = row.split_once('`').unwrap();
        let accuracy = rest.trim_end_matches([' ', '|']).rsplit(' ').next().unwrap();
        stated.push((file.to_owned(), accuracy.parse::<f64>().unwrap()));
    }
    let files = fs::read_dir(&folder).unwrap().count() - 1; // without the page
    assert_eq!(files, stated.len());
    let Ok(data) = std::env::var("FASHION_MNIST_DIR") else {
        eprintln!("the accuracy of the published weights is not tested without FASHION_MNIST_DIR");
        return;
    };
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(data);
    for (file, accuracy) in stated {
        let (weights, data) = (folder.join(&file), data.to_str().unwrap());
        let evaluate = ["evaluate", "--weights", weights.to_str().unwrap(), "--device", "flex"];
        let found = json(run(&[&evaluate[..], &["--data-dir", data, "--json"]].concat()));
        // Another processor may round one image to the other side.
        let difference = found["accuracy"].as_f64().unwrap() - accuracy;
        assert!(difference.abs() < 3e-4, "{file}: {found}");
    }
}

/// Exported weights predict and evaluate as their run does: the file names its network and its
/// normalization, which here is not the default for a file without a description.
#[test]
fn exported_weights_are_used_as_in_their_run() {
    let temp = TempDir::new().unwrap();
    let path = ended(&temp, "run", &["--set", "data.normalization=standard"]);
    let photo = temp.path().join("photo.png");
    image::GrayImage::from_fn(50, 40, |x, y| image::Luma([(x * y) as u8])).save(&photo).unwrap();
    let photo = photo.to_str().unwrap();
    let expected = json(run(&["predict", "--run", &path, "--json", photo]));
    let synthetic = ["--set", "data.source=synthetic", "--device", "flex", "--json"];

    for name in ["weights.safetensors", "weights.bpk"] {
        let exported = temp.path().join(name);
        let exported = exported.to_str().unwrap();
        assert!(run(&["export", &path, exported]).status.success());
        let found = run(&["predict", "--weights", exported, "--json", photo]);
        assert_eq!(String::from_utf8_lossy(&found.stderr), "");
        assert_same(&json(found)[0]["classes"], &expected[0]["classes"]);
        // The class names of the synthetic data, not of Fashion-MNIST.
        let top = expected[0]["classes"][0]["name"].as_str().unwrap();
        assert!(fashion_mnist::Class::ALL.iter().all(|class| class.name() != top), "{top}");

        let evaluate = ["evaluate", "--weights", exported];
        let evaluated = json(run(&[&evaluate[..], &synthetic].concat()));
        assert_eq!(evaluated["network"], "lenet_bn");
        assert_eq!(evaluated["accuracy"], result(&path)["test_accuracy"], "{name}");

        // Options that contradict the file are refused.
        let predict = ["predict", "--weights", exported, photo];
        let agreed = [&predict[..], &["--network", "lenet_bn", "--preset", "d2l"]].concat();
        assert!(run(&agreed).status.success());
        let says = "holds lenet_bn (d2l) for pixels normalized as `standard`, not ";
        for (options, expected) in
            [(["--network", "lenet"], "lenet (d2l)"), (["--preset", "small"], "lenet_bn (small)")]
        {
            let refused = run(&[&predict[..], &options].concat());
            assert_refused(refused, &[&format!("{says}{expected}")]);
        }
        let set = ["--set", "data.normalization=unit"];
        let refused = run(&[&evaluate[..], &synthetic, &set].concat());
        assert_refused(refused, &[&format!("{says}lenet_bn (d2l) for `unit`")]);
    }

    // A file that PyTorch wrote has no description.
    let file = &*plain(&temp, &path);
    let unnamed = "does not say which network its weights belong to";
    assert_refused(run(&["predict", "--weights", file, photo]), &[unnamed]);
    assert_refused(run(&["evaluate", "--weights", file]), &[unnamed]);
    let network = ["--weights", file, "--network", "lenet_bn"];
    let found = run(&[&["predict", photo][..], &network].concat());
    let note = "does not say how its images were normalized: ";
    let stderr = String::from_utf8_lossy(&found.stderr);
    assert!(stderr.contains(&format!("{note}from 0 to 1 (`unit`) is assumed")), "{stderr}");
    let resnet = ["predict", photo, "--weights", file, "--network", "resnet18"];
    assert_refused(run(&resnet), &["do not fit this network"]);
    let found = run(&[&["evaluate"][..], &network, &synthetic].concat());
    let stderr = String::from_utf8_lossy(&found.stderr);
    assert!(stderr.contains(&format!("{note}`standard` is assumed")), "{stderr}");
}

/// The weights of a run in a file as PyTorch writes it, without a description.
fn plain(temp: &TempDir, run_dir: &str) -> String {
    let file = temp.path().join("plain.safetensors");
    let file = file.to_str().unwrap();
    assert!(run(&["export", run_dir, file]).status.success());
    let bytes = fs::read(file).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    safetensors::serialize_to_file(tensors.tensors(), None, Path::new(file)).unwrap();
    file.to_owned()
}

/// The same classes in the same order, with the same probabilities up to rounding.
fn assert_same(found: &Value, expected: &Value) {
    let [found, expected] = [found, expected].map(|classes| classes.as_array().unwrap());
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found["name"], expected["name"]);
        let [a, b] = [found, expected].map(|class| class["probability"].as_f64().unwrap());
        assert!((a - b).abs() < 1e-5, "{a} and {b}");
    }
}

/// Descriptions that this program never writes, or that are of a later version.
#[test]
fn a_description_that_is_none_is_refused() {
    let temp = TempDir::new().unwrap();
    let file = temp.path().join("weights.safetensors");
    for (description, expected) in [
        ("{", "cannot use the description of the weights in "),
        (r#"{"version": 1, "network": "lenet5"}"#, "unknown network `lenet5`"),
        (r#"{"version": 1, "network": "lenet"}"#, "missing field `preset`"),
        (
            r#"{"version": 1, "network": "lenet", "preset": "d2l", "normalization": "unit", "classes": []}"#,
            "there are none",
        ),
        (
            r#"{"version": 1, "network": "lenet", "preset": "d2l", "normalization": "unit", "classes": ["\u001b[2J"]}"#,
            "cannot be printed",
        ),
        (r#"{"version": 2}"#, "it has version 2, from a later version of this program"),
    ] {
        let metadata = [("train".to_owned(), description.to_owned())].into();
        let none: [(&str, safetensors::tensor::TensorView); 0] = [];
        safetensors::serialize_to_file(none, Some(metadata), &file).unwrap();
        let refused = run(&["predict", "--weights", file.to_str().unwrap(), "photo.png"]);
        assert_refused(refused, &[expected]);
    }
}

/// A run that starts from another run's weights is better at once than one from scratch.
#[test]
fn a_run_starts_from_the_weights_of_another() {
    let temp = TempDir::new().unwrap();
    let first = ended(&temp, "first", &["--epochs", "4"]);
    let set = format!("pretrained.weights=\"{first}/model.bpk\"");
    let second = ended(&temp, "second", &["--set", &set]);
    let loss = |run: &str| {
        let lines = super::resume::metrics(run.as_ref());
        lines.iter().find_map(|line| line["loss"].as_f64()).unwrap()
    };
    assert!(loss(&second) < 0.5 * loss(&first), "{} and {}", loss(&second), loss(&first));

    let set = "pretrained.weights=\"no/such.pth\"";
    let other = temp.path().join("other");
    let refused = run(&quick(other.to_str().unwrap(), &["--set", set]));
    assert_refused(refused, &["cannot read the weights no/such.pth"]);
    assert!(!other.exists(), "no folder is created for a run that cannot begin");
}

/// Weights that are not finite end the run at the next step. The error names the layer and the
/// images, and says whether there is a checkpoint.
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

/// The split has its own seed: another `seed` does not move images between training and validation.
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

/// A weights file of a run says what it was trained on, one of PyTorch does not.
#[test]
fn an_evaluation_says_whether_its_images_were_trained_on() {
    let temp = TempDir::new().unwrap();
    let path = ended(&temp, "run", &["--set", "data.split_seed=1"]);
    let known = format!("{path}/model.bpk");
    let plain = plain(&temp, &path);
    let evaluated = |weights: &str, more: &[&str]| {
        let file = ["evaluate", "--weights", weights, "--network", "lenet_bn", "--device", "flex"];
        let data = ["--set", "data.source=synthetic"];
        let output = run(&[&file[..], &data, &["--split", "validation"], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let said = evaluated(&plain, &[]);
    assert!(said.contains("does not say which images it was trained on"), "{said}");
    let said = evaluated(&known, &["--set", "data.split_seed=0"]);
    assert!(said.contains("may have been trained on some of these images"), "{said}");
    let said = evaluated(&known, &[]);
    assert!(said.contains("were not trained on these images"), "{said}");
    let value: Value = serde_json::from_str(&evaluated(&plain, &["--json"])).unwrap();
    assert_eq!(value["held_out"], Value::Null);
}

/// Initial weights that were trained on images of the validation split cause a warning.
#[test]
fn weights_of_another_split_to_start_from_are_noticed() {
    let temp = TempDir::new().unwrap();
    let first = ended(&temp, "first", &["--set", "data.split_seed=1"]);
    let warned = |name: &str, weights: &str, split: &str| {
        let set = format!("pretrained.weights=\"{weights}\"");
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
    // Its initial weights started from the first run's, which were trained on the images.
    let third = warned("third", &format!("{}/other/model.bpk", temp.path().display()), "0");
    assert!(third.contains("may have been trained on some of the validation images"), "{third}");

    let unknown = warned("unknown", &plain(&temp, &first), "0");
    assert!(unknown.contains("does not say which images it was trained on"), "{unknown}");
}

/// The data source decides whether images are synthetic, not the name of a folder.
#[test]
fn a_folder_called_synthetic_is_not_synthetic_data() {
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
        let real = text.replace("synthetic data, not Fashion-MNIST", real);
        assert_ne!(text, real);
        fs::write(&file, real).unwrap();
    }
    assert!(page().contains("/data/not-synthetic"));
    assert!(!page().contains("Synthetic images."));
}

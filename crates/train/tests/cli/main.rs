//! The command line: what it prints, the files it writes, its errors.

mod devices;
mod documents;
mod outcome;
mod resume;
#[cfg(unix)]
mod stop;
mod sweep;
mod watch;
mod web;
mod weights;

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output},
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use tempfile::TempDir;

fn train(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_modern-cnn"));
    command.args(arguments).env("RUST_BACKTRACE", "1").env_remove("FASHION_MNIST_DIR");
    command.env_remove("XDG_RUNTIME_DIR");
    // As if cargo did not run it.
    command.env_remove("CARGO_PKG_NAME");
    command
}

fn run(arguments: &[&str]) -> Output {
    train(arguments).output().unwrap()
}

/// A short message that begins with `error:`, exit code 2, no backtrace.
#[track_caller]
fn assert_refused(output: Output, expected: &[&str]) {
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.starts_with("error: ") && message.lines().count() <= 8, "{message}");
    assert!(!message.contains("panicked") && !message.contains("backtrace"), "{message}");
    for part in expected {
        assert!(message.contains(part), "no `{part}` in: {message}");
    }
}

/// A quick run on synthetic data, in a new folder.
fn quick<'a>(run_dir: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let quick = ["--device", "flex", "--set", "data.source=synthetic", "--set", "data.limit=640"];
    [&quick, &["--set", "data.validation=100", "--run-dir", run_dir][..], more].concat()
}

#[test]
fn a_run_leaves_its_folder_behind() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path().join("run");
    let output = run(&quick(folder.to_str().unwrap(), &["--epochs", "4"]));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    assert_eq!(printed.lines().filter(|line| line.starts_with("epoch ")).count(), 4, "{printed}");
    assert!(printed.contains("synthetic data, not Fashion-MNIST"), "{printed}");
    assert!(printed.lines().last().unwrap().contains(folder.to_str().unwrap()), "{printed}");

    let read = |name| fs::read_to_string(folder.join(name)).unwrap();
    let result: serde_json::Value = serde_json::from_str(&read("result.json")).unwrap();
    assert_eq!(result["network"], "lenet_bn");
    assert_eq!(result["preset"], "d2l");
    assert_eq!(result["parameters"], 44_878);
    assert_eq!(result["device"], "flex");
    assert_eq!(result["backend"], "flex");
    assert_eq!(result["epochs"], 4);
    assert_eq!(result["seed"], 0);
    assert_eq!(result["data_source"], "synthetic data, not Fashion-MNIST");
    for key in ["test_accuracy", "test_loss", "train_images_per_second", "seconds"] {
        assert!(result[key].as_f64().unwrap() > 0.0, "{key}");
    }
    assert_eq!(read("metrics.jsonl").lines().count(), 4);
    assert!(read("config.toml").contains("epochs = 4"));
    let environment: serde_json::Value = serde_json::from_str(&read("environment.json")).unwrap();
    assert_eq!(environment["burn"], "0.22.1");
    assert!(folder.join("model.bpk").is_file());

    // The last two checkpoints are kept, and the best.
    let mut checkpoints: Vec<_> = fs::read_dir(folder.join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    checkpoints.sort();
    let best = format!("epoch-{}", result["tested_epoch"]);
    assert!(checkpoints.contains(&best), "{checkpoints:?} without {best}");
    assert!(checkpoints.ends_with(&["epoch-3".into(), "epoch-4".into()]), "{checkpoints:?}");
    assert!(checkpoints.len() <= 3, "{checkpoints:?}");

    let steps = read("steps.jsonl");
    assert_eq!(steps.lines().count(), 20, "640 images in batches of 128, four times");
    let test: serde_json::Value = serde_json::from_str(&read("test.json")).unwrap();
    let confusion = test["confusion"].as_array().unwrap();
    let numbers = |row: &serde_json::Value| -> Vec<u64> {
        row.as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).collect()
    };
    let right: u64 = confusion.iter().enumerate().map(|(class, row)| numbers(row)[class]).sum();
    assert_eq!(right as f64 / 1e4, result["test_accuracy"].as_f64().unwrap());
    assert!(confusion.iter().all(|row| numbers(row).iter().sum::<u64>() == 1000));
    let page = read("report.html");
    assert!(page.contains("lenet_bn") && page.contains("<svg") && !page.contains("<script"));

    // The same folder again: nothing is overwritten.
    assert_refused(run(&quick(folder.to_str().unwrap(), &[])), &["is not empty"]);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let temp = TempDir::new().unwrap();
    let epochs = |name, seed: &str| {
        let folder = temp.path().join(name);
        let output = run(&quick(folder.to_str().unwrap(), &["--epochs", "2", "--set", seed]));
        assert!(output.status.success());
        resume::metrics(&folder)
    };
    let first = epochs("a", "seed=1");
    assert_eq!(first, epochs("b", "seed=1"));
    assert_ne!(first, epochs("c", "seed=2"));

    let [a, b, c] = ["a", "b", "c"].map(|name| temp.path().join(name));
    assert_eq!(outcome::differences(&a, &b), [""; 0]);
    let differ = outcome::differences(&a, &c);
    for name in ["config.toml", "steps.jsonl", "model.bpk", "checkpoints/epoch-2/optimizer.bpk"] {
        assert!(differ.contains(&name.to_owned()), "{name} is not in {differ:?}");
    }
}

#[test]
fn devices_are_listed() {
    let printed = String::from_utf8(run(&["devices"]).stdout).unwrap();
    assert!(printed.contains("flex"), "{printed}");
    assert_eq!(printed.matches("<- auto").count(), 1, "{printed}");
    let json = run(&["devices", "--json"]).stdout;
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&json).unwrap();
    assert!(rows.iter().any(|row| row["name"] == "flex" && row["kind"] == "cpu"));
}

/// A cache that is not writable simulates a machine without network.
#[test]
#[cfg(target_os = "linux")]
fn without_the_images_the_quickstart_says_so_and_uses_synthetic_data() {
    let temp = TempDir::new().unwrap();
    let cache = temp.path().join("cache");
    fs::write(&cache, "a file in the way").unwrap();
    let folder = temp.path().join("run");
    let quick = ["--device", "flex", "--epochs", "1", "--set", "data.limit=640"];
    let run = |more: &[&str]| train(&quick).args(more).env("XDG_CACHE_HOME", &cache).output();

    let output = run(&["--run-dir", folder.to_str().unwrap()]).unwrap();
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{warning}");
    assert!(warning.contains("trains on SYNTHETIC images"), "{warning}");
    let result = fs::read_to_string(folder.join("result.json")).unwrap();
    assert!(result.contains("synthetic data, not Fashion-MNIST"), "{result}");

    let refused = temp.path().join("refused");
    let refused = refused.to_str().unwrap();
    let output = run(&["--set", "data.source=fashion-mnist", "--run-dir", refused]).unwrap();
    assert_refused(output, &["cannot save downloads in", "FASHION_MNIST_DIR"]);
    assert!(!Path::new(refused).exists(), "a run that cannot begin leaves no folder");
}

#[test]
fn bad_arguments_are_refused() {
    let temp = TempDir::new().unwrap();
    let path = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();

    assert_refused(run(&["no/such.toml"]), &["cannot read the config no/such.toml", "configs/"]);
    assert_refused(run(&["--device", "gpu"]), &["unknown device `gpu`", "`wgpu`"]);
    assert_refused(run(&["--epochs", "0"]), &["--epochs 0: ", "above 0"]);
    assert_refused(run(&["--set", "batch_size=99999"]), &["batch_size = 99999", "55000"]);
    assert_refused(run(&["--set", "batch_size=1"]), &["a batch has only one"]);
    assert_refused(run(&["--set", "network=lenett"]), &["did you mean `lenet`?"]);

    // A file where the folder should be made.
    fs::write(path("file"), "").unwrap();
    let inside = path("file/run");
    assert_refused(run(&quick(&inside, &[])), &["cannot write", &inside]);

    let missing = path("missing");
    assert_refused(run(&["--data-dir", &missing]), &["there is no directory", &missing]);
    assert_refused(
        train(&[]).env("FASHION_MNIST_DIR", temp.path()).output().unwrap(),
        &["lacks train-images-idx3-ubyte", "FASHION_MNIST_DIR"],
    );
}

#[test]
fn a_wrong_config_is_refused_with_its_file_and_line() {
    let temp = TempDir::new().unwrap();
    let path = temp.path().join("wrong.toml");
    let path = path.to_str().unwrap();
    let good = include_str!("../../../../configs/d2l/lenet_bn.toml");
    let line_of =
        |text: &str, part: &str| 1 + text.lines().position(|line| line.contains(part)).unwrap();
    for (from, to, expected) in [
        ("epochs = 10", "epoch = 10", "did you mean `epochs`?"),
        ("epochs = 10", "epochs = \"ten\"", "invalid type: string \"ten\""),
        ("epochs = 10", "epochs = 0", "above 0"),
        ("\"lenet_bn\"", "\"lenet-bn\"", "did you mean `lenet_bn`?"),
        ("validation =", "validatoin =", "did you mean `validation`?"),
        ("learning_rate = 1.0", "learning_rate = -1.0", "above 0, not -1"),
        ("\"unit\"", "\"units\"", "did you mean `unit`?"),
        ("batch_size = 256", "batch_size = ", "batch_size"),
        ("[optimizer]\nname = \"sgd\"", "[optimizer]", "missing field `name`"),
        ("batch_size = 256", "batch_size = 60000", "more than the 55000 images"),
    ] {
        let text = good.replace(from, to);
        fs::write(path, &text).unwrap();
        let place = format!("{path}:{}: ", line_of(&text, to));
        assert_refused(run(&[path]), &[&place, expected]);
    }
}

/// The files of Fashion-MNIST, one of them corrupt. Needs the real files.
#[test]
fn spoilt_files_are_refused() {
    let Some(real) = std::env::var_os("FASHION_MNIST_DIR") else {
        writeln!(std::io::stderr(), "spoilt_files_are_refused: not run without FASHION_MNIST_DIR")
            .unwrap();
        return;
    };
    // Cargo runs tests in the crate's folder; the path is relative to the workspace.
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(real);
    let read = |name: &str| fs::read(real.join(name)).unwrap();
    let unpack = |gz: &[u8]| {
        let mut bytes = Vec::new();
        std::io::copy(&mut GzDecoder::new(gz), &mut bytes).unwrap();
        bytes
    };
    let pack = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let (images, labels) = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz");
    let others = ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"];

    let refuse = |name: &str, bytes: &[u8], expected: &str| {
        let temp = TempDir::new().unwrap();
        for file in [images, labels].into_iter().chain(others) {
            fs::write(temp.path().join(file), read(file)).unwrap();
        }
        fs::write(temp.path().join(name), bytes).unwrap();
        let output = run(&["--data-dir", temp.path().to_str().unwrap()]);
        assert_refused(output, &[temp.path().join(name).to_str().unwrap(), expected]);
    };

    let gz = read(images);
    refuse(images, &gz[..gz.len() / 2], "cut short");
    let mut flipped = gz.clone();
    flipped[gz.len() / 2] ^= 1;
    refuse(images, &flipped, "corrupt");
    let mut pixels = unpack(&gz);
    pixels[5_000_000] ^= 1;
    refuse(images, &pack(&pixels), "differs from the published file");
    refuse(
        images,
        &pack(&[0, 0, 8, 3, 255, 255, 255, 255, 0, 0, 0, 28, 0, 0, 0, 28]),
        "4294967295",
    );

    let mut bytes = unpack(&read(labels));
    bytes[8 + 41] = 17;
    refuse(labels, &pack(&bytes), "label number 41, counted from 0, is 17");
    // The first ten of MNIST's labels.
    bytes[8 + 41] = 1;
    bytes[8..18].copy_from_slice(&[5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
    refuse(labels, &pack(&bytes), "handwritten digits of MNIST");
}

/// Without a Vulkan or OpenGL driver, `wgpu` is refused with a short message.
#[test]
#[cfg(all(feature = "wgpu", target_os = "linux"))]
fn without_a_graphics_driver_wgpu_is_refused() {
    // The loaders find no driver in these folders.
    let output = train(&["--device", "wgpu"])
        .env("VK_DRIVER_FILES", "/nonexistent")
        .env("VK_ICD_FILENAMES", "/nonexistent")
        .env("__EGL_VENDOR_LIBRARY_FILENAMES", "/nonexistent")
        .output()
        .unwrap();
    assert_refused(output, &["no device found for wgpu", "libvulkan1", "--device flex"]);
}

fn json(output: Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn networks_are_listed() {
    let rows = json(run(&["networks", "--json"]));
    let rows = rows.as_array().unwrap();
    let row = |network: &str, preset: &str| {
        let found = rows.iter().find(|row| row["network"] == network && row["preset"] == preset);
        found.unwrap_or_else(|| panic!("no {network} ({preset})"))
    };
    assert_eq!(row("resnet50", "imagenet")["parameters"], 25_557_032);
    // torchvision publishes 4.09 billion multiply-adds.
    assert_eq!(row("resnet50", "imagenet")["macs"], 4_089_184_256_u64);
    assert_eq!(row("vgg11", "d2l")["parameters"], 43_093_322);
    assert_eq!(row("wrn_40_4", "small")["input"], serde_json::json!([1, 28, 28]));
}

#[test]
fn a_summary_tells_every_layer() {
    let summary = json(run(&["summary", "alexnet", "--preset", "imagenet", "--json"]));
    assert_eq!(summary["network"], "alexnet");
    assert_eq!(summary["preset"], "imagenet");
    assert_eq!(summary["input"], serde_json::json!([3, 224, 224]));
    assert_eq!(summary["parameters"], 61_100_840);
    let layers = summary["layers"].as_array().unwrap();
    let total = layers.iter().map(|layer| layer["parameters"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(total, 61_100_840);
    assert_eq!(layers[0]["name"], "features.0");
    assert_eq!(layers[0]["kind"], "conv 11x11");
    assert_eq!(layers[0]["output"], serde_json::json!([64, 55, 55]));
    assert_eq!(layers[0]["macs"], 64 * 55 * 55 * 3 * 11 * 11);

    let output = run(&["summary", "lenet_bn", "--batch", "256"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("44878") && printed.contains("a batch of 256"), "{printed}");

    let refused = |arguments: &[&str], expected: &[&str]| {
        assert_refused(run(&[&["summary"], arguments].concat()), expected);
    };
    refused(&["resnet5"], &["unknown network `resnet5`", "did you mean `resnet50`?"]);
    refused(
        &["resnet50", "--preset", "d2l"],
        &["no `resnet50` in preset `d2l`, only in `imagenet`"],
    );
    refused(&["resnet18", "--preset", "larg"], &["unknown preset `larg`"]);
    refused(&["densenet121", "--input", "3x28x28"], &["at least 29 x 29 pixels, got 28 x 28"]);
    refused(&["alexnet", "--input", "224x224"], &["'--input <CxHxW>'", "such as 3x224x224"]);
}

#[test]
fn an_image_is_classified() {
    use burn::tensor::Device;
    use models::{ConvNet, LeNetConfig};

    let temp = TempDir::new().unwrap();
    let path = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();
    let (weights, photo, classes) = (path("w.safetensors"), path("photo.png"), path("classes.txt"));
    LeNetConfig::lenet_bn().init(&Device::flex()).save(&weights).unwrap();
    image::RgbImage::from_fn(40, 50, |x, y| image::Rgb([x as u8, y as u8, 9]))
        .save(&photo)
        .unwrap();
    let predict = |more: &[&str]| {
        let known = ["predict", "--network", "lenet_bn", "--device", "flex"];
        run(&[&known[..], more].concat())
    };

    let rows = json(predict(&["--weights", &weights, "--top", "10", "--json", &photo, &photo]));
    assert_eq!(rows.as_array().unwrap().len(), 2);
    let found = rows[0]["classes"].as_array().unwrap();
    let probabilities: Vec<f64> =
        found.iter().map(|class| class["probability"].as_f64().unwrap()).collect();
    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-5);
    assert!(probabilities.is_sorted_by(|a, b| a >= b), "{probabilities:?}");
    assert!(found.iter().any(|class| class["name"] == "T-shirt/top"), "{found:?}");

    fs::write(&classes, "0\n1\n2\n3\n4\n5\n6\n7\n8\nnine\n").unwrap();
    let arguments = ["--weights", &weights, "--classes", &classes, "--top", "10", &photo];
    let printed = String::from_utf8(predict(&arguments).stdout).unwrap();
    assert!(printed.contains("%  nine"), "{printed}");

    // Files that are not photos or not weights.
    fs::write(path("text.jpg"), "no image").unwrap();
    fs::write(path("text.pth"), "no weights").unwrap();
    let one_class = path("one.txt");
    fs::write(&one_class, "alone\n").unwrap();
    assert_refused(predict(&["--weights", &weights, &path("none.png")]), &["none.png"]);
    assert_refused(predict(&["--weights", &weights, &path("text.jpg")]), &["text.jpg"]);
    assert_refused(predict(&["--weights", &path("text.pth"), &photo]), &["text.pth"]);
    assert_refused(
        predict(&["--weights", &weights, "--classes", &one_class, &photo]),
        &["fc3.bias is [10] in the file, [1] in the network"],
    );
    let other = ["predict", "--network", "resnet18", "--weights", &weights, &photo];
    assert_refused(run(&other), &["do not fit this network", "missing (97)", "unexpected (21)"]);
}

/// An RGB picture with 20,000 pixels per side takes 1.2 GB decoded, an RGBA picture of 16 bits with
/// 16,000 takes 2 GB; both files have a few kB. One pixel of width would be scaled up to millions.
#[test]
fn a_picture_too_large_for_the_memory_is_refused() {
    let temp = TempDir::new().unwrap();
    let photo = temp.path().join("huge.png");
    // The header is enough: nothing after it is read.
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    let signature = png.len();
    for (size, [depth, color], expected) in [
        ([20_000_u32, 20_000], [8, 2], "20000 x 20000 pixels exceed"),
        ([16_000, 16_000], [16, 6], "16000 x 16000 pixels exceed"),
        ([1, 16_000], [8, 2], "1 x 16000 pixels are too thin"),
    ] {
        png.truncate(signature);
        png.extend(size.map(u32::to_be_bytes).concat());
        png.extend([depth, color, 0, 0, 0]);
        let mut crc = flate2::Crc::new();
        crc.update(&png[12..]);
        png.extend(crc.sum().to_be_bytes());
        png.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e\0\0\0\0IEND\xaeB`\x82");
        fs::write(&photo, &png).unwrap();
        let weights = "../models/tests/d2l/lenet.pth";
        let known = ["predict", "--network", "lenet", "--weights", weights];
        let output = run(&[&known[..], &[photo.to_str().unwrap()]].concat());
        assert_refused(output, &["huge.png", expected]);
    }
}

/// A run of a single step has a throughput too, and a small learning rate is not printed as 0.
#[test]
fn a_run_of_one_step_has_a_throughput() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path().join("run");
    let one = ["--epochs", "1", "--set", "data.limit=100", "--set", "batch_size=100"];
    let small = ["--set", "optimizer.learning_rate=0.00001"];
    let output = run(&quick(folder.to_str().unwrap(), &[&one[..], &small].concat()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let line = printed.lines().find(|line| line.starts_with("epoch ")).unwrap();
    assert!(line.contains("learning rate 1.00e-5"), "{line}");
    let speed = line.split_whitespace().rev().nth(1).unwrap();
    assert!(speed.parse::<f64>().is_ok_and(|speed| speed > 0.0), "{line}");
    let result: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join("result.json")).unwrap()).unwrap();
    assert!(result["train_images_per_second"].as_f64().is_some_and(|it| it > 0.0), "{result}");
}

/// Under cargo, messages name the cargo command, with the features of this build.
#[test]
fn messages_name_the_command_that_works() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path().join("a run");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("config.toml"), "").unwrap();
    let folder = folder.to_str().unwrap();
    let export = ["export", folder];
    let program = env!("CARGO_BIN_EXE_modern-cnn");
    assert_refused(run(&export), &[&format!("`{program} resume '{folder}'`")]);

    let message = train(&export).env("CARGO_PKG_NAME", "train").output().unwrap().stderr;
    let message = String::from_utf8(message).unwrap();
    let (before, after) = message.split_once("`cargo run -p train ").expect(&message);
    assert!(!before.contains('`'), "{message}");
    let (options, _) = after.split_once(&format!("-- resume '{folder}'`")).expect(&message);
    assert_eq!(options.contains("--no-default-features"), cfg!(not(feature = "wgpu")), "{message}");
    assert_eq!(options.contains("ndarray"), cfg!(feature = "ndarray"), "{message}");
}

/// Every key of the schema is accepted in its range and refused outside.
#[test]
fn the_keys_of_a_config_are_listed_with_their_ranges() {
    let list = String::from_utf8(run(&["config"]).stdout).unwrap();
    for line in [
        "network: lenet, lenet_bn, ",
        "optimizer.momentum: number from 0 to below 1; default 0.0",
        "ema.decay: number from 0 to below 1; required",
        "schedule.name: constant, step, cosine, linear, one-cycle; default \"constant\"",
        "data.limit: integer from 1; not set by default",
        "[pretrained] Weights to start from",
    ] {
        assert!(list.contains(line), "no `{line}` in {list}");
    }

    let schema = run(&["config", "--schema"]).stdout;
    let schema: serde_json::Value = serde_json::from_slice(&schema).unwrap();
    let mut checked = 0;
    for (section, keys) in schema["properties"].as_object().unwrap() {
        for (name, key) in keys["properties"].as_object().into_iter().flatten() {
            for (end, outside, inside) in [
                ("minimum", -1.0, 0.0),
                ("exclusiveMinimum", 0.0, 0.5),
                ("maximum", 1.0, 0.0),
                ("exclusiveMaximum", 0.0, -0.5),
            ] {
                let (Some(end), false) = (key[end].as_f64(), name == "crop") else { continue };
                let set = |offset: f64| format!("{section}.{name}={}", end + offset);
                let refused = run(&["--set", &set(outside), "--run-dir", "/"]);
                assert_refused(refused, &[&format!("--set {section}.{name}"), "expected"]);
                // A valid value fails later: the folder is not empty, or the key is not used.
                let message = run(&["--set", &set(inside), "--run-dir", "/"]).stderr;
                let message = String::from_utf8(message).unwrap();
                assert!(!message.contains("expected"), "{section}.{name}: {message}");
                checked += 1;
            }
        }
    }
    assert!(checked >= 15, "{checked}");
}

#[test]
fn renamed_keys_are_named() {
    for (old, new) in [
        ("average.decay=0.9", "unknown field `average`: the section is `[ema]` now"),
        ("initial.weights=a.pth", "unknown field `initial`: the section is `[pretrained]` now"),
        ("pretrained={weights=\"a.pth\",grey_images=true}", "the key is `grayscale` now"),
        ("batch_norm=kernel", "the key is `kernels` now"),
    ] {
        assert_refused(run(&["--set", old]), &[new]);
    }
}

#[test]
fn shells_complete_the_arguments() {
    let script = String::from_utf8(run(&["completions", "bash"]).stdout).unwrap();
    assert!(script.contains("_modern__cnn()") && script.contains("--run-dir"), "{script}");
}

#[test]
fn a_network_is_drawn() {
    let temp = TempDir::new().unwrap();
    let draw = |arguments: &[&str]| {
        let arguments = [&["diagram"], arguments].concat();
        train(&arguments).current_dir(temp.path()).output().unwrap()
    };
    let read = |name: &str| fs::read_to_string(temp.path().join(name)).unwrap();
    assert!(draw(&["resnet18"]).status.success());
    assert!(read("resnet18.svg").contains("64 × 24 × 24"));
    let other = ["resnet18", "--preset", "imagenet", "--input", "3x64x64", "--output", "a.svg"];
    assert!(draw(&other).status.success());
    let drawing = read("a.svg");
    assert!(drawing.contains("resnet18 (imagenet)") && drawing.contains("64 × 16 × 16"));

    assert_refused(draw(&["lenet", "--input", "1x32x32"]), &["28 x 28", "32 x 32"]);
    assert_refused(draw(&["resnet18", "--output", "missing/a.svg"]), &["missing"]);
}

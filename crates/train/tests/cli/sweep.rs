//! Hyperparameter sweeps: names, results, resuming.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{assert_refused, json, outcome::differences, run, train};

/// Two learning rates, three seeds.
const SETS: [&str; 4] = ["--set", "optimizer.learning_rate=0.01,0.1", "--set", "seed=0,1,2"];

/// The folders of the runs.
const NAMES: [&str; 6] = [
    "learning_rate=0.01,seed=0",
    "learning_rate=0.01,seed=1",
    "learning_rate=0.01,seed=2",
    "learning_rate=0.1,seed=0",
    "learning_rate=0.1,seed=1",
    "learning_rate=0.1,seed=2",
];

/// The quickstart on a few synthetic images.
fn config(temp: &TempDir) -> String {
    let path = temp.path().join("config.toml");
    let text = include_str!("../../../../configs/quickstart.toml");
    let text = text.replace("source = \"auto\"", "source = \"synthetic\"\nlimit = 640");
    fs::write(&path, text.replace("epochs = 3", "epochs = 2\ndevice = \"flex\"")).unwrap();
    path.to_str().unwrap().to_owned()
}

fn arguments<'a>(config: &'a str, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["sweep", config, "--out", out.to_str().unwrap()], &SETS[..], more].concat()
}

/// The output of a successful sweep.
fn swept(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn read(path: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Mean and standard deviation of a sample.
fn spread(values: &[f64]) -> [f64; 2] {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    [mean, (squares / (count - 1.0)).sqrt()]
}

#[test]
fn a_sweep_is_tabulated_by_validation_and_tests_what_is_asked() {
    let temp = TempDir::new().unwrap();
    let (config, out) = (config(&temp), temp.path().join("sweep"));
    let printed = swept(&arguments(&config, &out, &[]));

    // Each run's figures are those of its best epoch on the validation images.
    let best_epoch = |name: &str| -> [f64; 2] {
        let lines = fs::read_to_string(out.join(name).join("metrics.jsonl")).unwrap();
        let epochs = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let figures = |epoch: Value| {
            ["validation_accuracy", "validation_loss"].map(|key| epoch[key].as_f64().unwrap())
        };
        epochs.map(figures).min_by(|a, b| a[1].total_cmp(&b[1])).unwrap()
    };
    let sweep = read(out.join("sweep.json"));
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    for (row, name) in sweep["runs"].as_array().unwrap().iter().zip(NAMES) {
        let [accuracy, loss] = best_epoch(name);
        assert_eq!(row["name"], name);
        assert_eq!(row["result"]["validation_accuracy"], accuracy);
        assert_eq!(row["result"]["validation_loss"], loss);
        assert!(page.contains(name), "{name}");
        let line = printed.lines().find(|line| line.ends_with(&format!("  {name}"))).unwrap();
        assert!(line.contains(&format!("{accuracy:.4}")) && line.contains(&format!("{loss:.4}")));
    }
    assert_eq!(sweep["runs"].as_array().unwrap().len(), 6);
    assert_eq!(
        sweep["runs"][4]["set"],
        serde_json::json!(["optimizer.learning_rate=0.1", "seed=1"])
    );
    let means = sweep["means"].as_array().unwrap();
    assert_eq!(means.len(), 2);
    for (mean, names) in means.iter().zip(NAMES.chunks(3)) {
        assert_eq!(mean["name"], names[0].strip_suffix(",seed=0").unwrap());
        for (number, key) in ["validation_accuracy", "validation_loss"].into_iter().enumerate() {
            let values: Vec<f64> = names.iter().map(|name| best_epoch(name)[number]).collect();
            let [expected, deviation] = spread(&values);
            assert!((mean[key]["mean"].as_f64().unwrap() - expected).abs() < 1e-12);
            assert!((mean[key]["deviation"].as_f64().unwrap() - deviation).abs() < 1e-12);
            assert!(printed.contains(&format!("{expected:.4} ± {deviation:.4}")), "{printed}");
        }
    }

    // The test images were not used, and each run can be tested by name.
    let text = fs::read_to_string(out.join("sweep.json")).unwrap();
    assert!(
        !text.contains("test_") && !page.contains("Test accuracy") && !printed.contains("test ")
    );
    assert!(NAMES.iter().all(|name| !out.join(name).join("test.json").exists()));
    let evaluate =
        |name: &str| json(run(&["evaluate", out.join(name).to_str().unwrap(), "--json"]));
    let accuracy = |name: &str| evaluate(name)["accuracy"].as_f64().unwrap();

    // With `--test-best`, the same command trains nothing again, and tests the best with all seeds.
    let [weak, best] =
        [0, 3].map(|first| spread(&[0, 1, 2].map(|it| best_epoch(NAMES[first + it])[0]))[0]);
    assert!(weak < best, "a learning rate of .1 is the better one: {weak} and {best}");
    let printed = swept(&arguments(&config, &out, &["--test-best"]));
    assert!(!printed.contains("epoch 1/2"), "{printed}");
    let sweep = read(out.join("sweep.json"));
    for (row, name) in sweep["runs"].as_array().unwrap().iter().zip(NAMES) {
        let tested = name.starts_with("learning_rate=0.1,");
        assert_eq!(row["result"]["test_accuracy"].is_null(), !tested, "{name}");
        assert_eq!(out.join(name).join("test.json").exists(), tested, "{name}");
        if tested {
            assert_eq!(row["result"]["test_accuracy"], accuracy(name));
        }
    }
    let [mean, deviation] = spread(&[3, 4, 5].map(|it| accuracy(NAMES[it])));
    assert!(printed.contains(&format!("{mean:.4} ± {deviation:.4}")), "{printed}");

    let page = temp.path().join("page.html");
    let runs = [0, 5].map(|run| out.join(NAMES[run]).to_str().unwrap().to_owned());
    assert!(run(&["report", &runs[0], &runs[1], "--out", page.to_str().unwrap()]).status.success());
    assert!(fs::read_to_string(page).unwrap().len() < 2_000_000);
}

/// A kill between two runs or within one does not change a bit of the results.
#[test]
fn a_sweep_that_was_killed_goes_on_where_it_was() {
    let temp = TempDir::new().unwrap();
    let config = config(&temp);
    let [whole, out] = ["whole", "killed"].map(|name| temp.path().join(name));
    swept(&arguments(&config, &whole, &["--test-best"]));

    let arguments = arguments(&config, &out, &["--test-best"]);
    let mut ended = Vec::new();
    for begun in ["run 1 of 6", "run 3 of 6", "testing "] {
        let mut child =
            train(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.find(|line| line.as_ref().unwrap().starts_with(begun)).unwrap().unwrap();
        if begun.starts_with("run") {
            lines.find(|line| line.as_ref().unwrap().starts_with("epoch 1/2")).unwrap().unwrap();
        }
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        let sweep = read(out.join("sweep.json"));
        let results = sweep["runs"].as_array().unwrap().iter();
        ended.push(results.filter(|row| !row["result"].is_null()).count());
    }
    assert_eq!(ended, [0, 2, 6], "it is written after each run");
    swept(&arguments);
    assert_eq!(differences(&out, &whole), [""; 0]);
}

/// In the folder of another sweep, the error says what differs; without `--out`, each has its own.
#[test]
fn another_sweep_in_the_same_folder_is_refused() {
    let temp = TempDir::new().unwrap();
    let path = config(&temp);
    let out = temp.path().join("sweep");
    let sweep = |sets: &[&str]| {
        let command = [&["sweep", &path, "--out", out.to_str().unwrap()], sets].concat();
        run(&command)
    };
    let first = ["--set", "seed=0,1", "--set", "epochs=1"];
    assert!(sweep(&first).status.success());

    let begun = fs::read(out.join("sweep.json")).unwrap();
    let another = ["`--set seed` is `0,1,2`, and was `0,1`", "holds another sweep"];
    assert_refused(sweep(&["--set", "seed=0,1,2", "--set", "epochs=1"]), &another);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("limit = 640", "limit = 1280")).unwrap();
    assert_refused(sweep(&first), &["`data.limit` is `1280`, and was `640`"]);
    assert_eq!(fs::read(out.join("sweep.json")).unwrap(), begun);

    assert_refused(sweep(&["--set", "seed=0,0"]), &["`seed=0` and `seed=0` are the same run"]);
    let full = temp.path().to_str().unwrap();
    assert_refused(run(&["sweep", &path, "--out", full, "--set", "seed=0"]), &["is not empty"]);
    let other = temp.path().join("other");
    let wrong = ["--set", "optimizer.learning_rat=0.01,0.1", "--out", other.to_str().unwrap()];
    let refused = run(&[&["sweep", &path][..], &wrong].concat());
    assert_refused(refused, &["did you mean `learning_rate`?"]);
    assert!(!other.exists(), "nothing is created before all configs are read");

    // Without a folder, the same command finds its own.
    for (sets, expected) in
        [("epochs=1", "sweep-1"), ("epochs=2", "sweep-2"), ("epochs=1", "sweep-1")]
    {
        let arguments = ["sweep", &path, "--set", sets];
        let output = train(&arguments).current_dir(temp.path()).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let last = printed.lines().last().unwrap();
        let page = Path::new("runs").join(expected).join("report.html");
        assert_eq!(last, format!("all results in {}", page.display()), "{printed}");
    }
}

//! Interrupted runs resume with the results of an uninterrupted run.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
    thread::sleep,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{assert_refused, outcome::differences, quick, run, train};

/// All features with state: momentum, averages, augmentation, a schedule, accumulation, early
/// stopping.
const RECIPE: [&str; 11] = [
    "optimizer.name=adamw",
    "optimizer.momentum=0",
    "optimizer.learning_rate=0.003",
    "optimizer.weight_decay=0.01",
    "optimizer.clip_norm=1",
    "schedule={ name = \"one-cycle\" }",
    "ema.decay=0.9",
    "augment={ crop = 2, flip = true, erase = 0.3, mixup = 0.2, cutmix = 1.0 }",
    "accumulate=2",
    "label_smoothing=0.1",
    "early_stopping.patience=4",
];

/// The recipe on the CPU backend of this build.
fn arguments(run_dir: &Path, epochs: usize) -> Vec<String> {
    let device = if cfg!(feature = "ndarray") { "ndarray" } else { "flex" };
    let set = RECIPE.iter().flat_map(|set| ["--set", set]);
    let mut arguments: Vec<String> =
        quick(run_dir.to_str().unwrap(), &[]).into_iter().chain(set).map(str::to_owned).collect();
    arguments.extend(["--device", device, "--epochs"].map(str::to_owned));
    arguments.push(epochs.to_string());
    // `quick` sets its own device.
    arguments.drain(..2);
    arguments
}

/// The same without the test, which takes longer than an epoch.
fn untested(run_dir: &Path, epochs: usize) -> Vec<String> {
    let no_test = ["--set", "test=false"].map(str::to_owned);
    [arguments(run_dir, epochs), no_test.to_vec()].concat()
}

/// The lines of `metrics.jsonl` and `steps.jsonl`, without times and memory.
pub fn metrics(run: &Path) -> Vec<Value> {
    let lines = ["metrics.jsonl", "steps.jsonl"].map(|name| {
        let text = fs::read_to_string(run.join(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    });
    let mut lines = lines.concat();
    for line in &mut lines {
        for key in ["seconds", "images_per_second", "resident_memory"] {
            line.as_object_mut().unwrap().remove(key);
        }
    }
    lines
}

/// Starts a run, waits for the line of an epoch and then for `wait`, and kills it.
fn kill_after(arguments: &[String], epoch: Option<usize>, wait: Duration) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut child = train(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    if let Some(epoch) = epoch {
        let ends = |line: &str| {
            let number = line.strip_prefix("epoch").and_then(|line| line.split('/').next());
            number.is_some_and(|number| number.trim() == epoch.to_string())
        };
        lines.find(|line| ends(line.as_ref().unwrap())).unwrap().unwrap();
    }
    sleep(wait);
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
}

/// An uninterrupted run.
fn whole(temp: &TempDir, arguments: fn(&Path, usize) -> Vec<String>, epochs: usize) -> PathBuf {
    let path = temp.path().join("whole");
    let arguments = arguments(&path, epochs);
    let output = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

/// Resumes a run to its end, and returns its standard error.
fn resume(path: &Path) -> String {
    let output = run(&["resume", path.to_str().unwrap()]);
    let warnings = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{warnings}");
    warnings
}

/// The epochs of the checkpoints, sorted.
fn checkpoints(run: &Path) -> Vec<usize> {
    let entries = fs::read_dir(run.join("checkpoints")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let epochs = names.filter_map(|name| name.strip_prefix("epoch-")?.parse().ok());
    let mut epochs: Vec<_> = epochs.collect();
    epochs.sort_unstable();
    epochs
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()))
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Changes 64 bytes in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..][..64].iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn a_run_that_was_killed_goes_on_with_the_same_bits() {
    let temp = TempDir::new().unwrap();
    let expected = whole(&temp, arguments, 4);
    let killed = temp.path().join("killed");
    kill_after(&arguments(&killed, 4), Some(2), Duration::from_millis(20));
    assert!(!killed.join("result.json").exists(), "killed in the third epoch");
    resume(&killed);
    assert_eq!(differences(&killed, &expected), [""; 0]);
    assert_refused(run(&["resume", killed.to_str().unwrap()]), &["has ended"]);
}

#[test]
fn ten_kills_at_any_moment_are_survived() {
    let temp = TempDir::new().unwrap();
    let expected = whole(&temp, arguments, 12);
    let killed = temp.path().join("killed");
    kill_after(&arguments(&killed, 12), Some(1), Duration::ZERO);
    let again = ["resume".to_owned(), killed.to_str().unwrap().to_owned()];
    // The kills are spread over the time of a start and an epoch; the run may end before a kill.
    for moment in 1..10 {
        kill_after(&again, None, Duration::from_millis(moment * 137));
    }
    if !killed.join("result.json").exists() {
        resume(&killed);
    }
    assert_eq!(differences(&killed, &expected), [""; 0]);
}

#[test]
fn what_cannot_be_resumed_is_refused() {
    let temp = TempDir::new().unwrap();
    let path = temp.path().to_str().unwrap();
    assert_refused(run(&["resume", path]), &["is not the folder of a run"]);
    assert_refused(run(&["resume", "no/such/run"]), &["is not the folder of a run"]);

    // Another program is training in it.
    let folder = temp.path().join("run");
    let arguments = arguments(&folder, 1_000_000);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut child = train(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.find(|line| line.as_ref().unwrap().starts_with("epoch ")).unwrap().unwrap();
    let refused = run(&["resume", folder.to_str().unwrap()]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_refused(refused, &["another program is training in"]);
}

/// The damaged last checkpoint is reported and skipped, and the run ends with the same results.
#[test]
fn a_damaged_checkpoint_is_told_and_the_one_before_is_taken() {
    let temp = TempDir::new().unwrap();
    let expected = whole(&temp, untested, 6);
    let killed = temp.path().join("killed");
    kill_after(&untested(&killed, 6), Some(3), Duration::ZERO);
    let [.., before, last] = checkpoints(&killed)[..] else { panic!("two checkpoints") };
    type Damage = (&'static str, fn(&Path));
    let damages: [Damage; 6] = [
        ("classifier.bpk", flip),
        ("optimizer.bpk", cut),
        ("ema.bpk", flip),
        ("ema.bpk", |path| fs::remove_file(path).unwrap()),
        ("state.toml", flip),
        ("SHA256SUMS", cut),
    ];
    for (number, (file, damage)) in damages.into_iter().enumerate() {
        let damaged = temp.path().join(format!("damaged-{number}"));
        copy(&killed, &damaged);
        damage(&damaged.join(format!("checkpoints/epoch-{last}/{file}")));
        let warnings = resume(&damaged);
        for part in [&format!("epoch-{last} is damaged: "), &format!("epoch-{before} is used")] {
            assert!(warnings.contains(part), "{file} was damaged: {warnings:?}");
        }
        assert_eq!(differences(&damaged, &expected), [""; 0], "{file}");
    }

    // All checkpoints are damaged.
    for epoch in checkpoints(&killed) {
        flip(&killed.join(format!("checkpoints/epoch-{epoch}/optimizer.bpk")));
    }
    let refused = run(&["resume", killed.to_str().unwrap()]);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{message}");
    let last = message.lines().last().unwrap();
    assert!(last.starts_with("error: no checkpoint of the run "), "{message}");
}

/// An independent tool verifies the checksums.
#[test]
#[cfg(target_os = "linux")]
fn sha256sum_checks_a_checkpoint() {
    let temp = TempDir::new().unwrap();
    let checkpoint = whole(&temp, untested, 1).join("checkpoints/epoch-1");
    let sha256sum = || {
        let mut sha256sum = std::process::Command::new("sha256sum");
        sha256sum.args(["--check", "--strict", "SHA256SUMS"]).current_dir(&checkpoint);
        sha256sum.output().unwrap()
    };
    let sound = sha256sum();
    assert!(sound.status.success(), "{sound:?}");
    assert_eq!(String::from_utf8(sound.stdout).unwrap().matches(": OK").count(), 4);
    flip(&checkpoint.join("ema.bpk"));
    assert!(!sha256sum().status.success());
}

/// The run is tested with the weights of the best epoch whose checkpoint is sound, and says so.
#[test]
fn where_the_best_checkpoint_is_damaged_the_next_best_is_tested() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path().join("run");
    // It gets worse in its second half.
    let worse = "schedule={ name = \"step\", milestones = [0.5], factor = 100 }";
    let output = run(&quick(folder.to_str().unwrap(), &["--epochs", "6", "--set", worse]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result = || -> Value {
        serde_json::from_slice(&fs::read(folder.join("result.json")).unwrap()).unwrap()
    };
    let best = result()["tested_epoch"].as_u64().unwrap() as usize;
    assert_eq!(checkpoints(&folder), [best, 5, 6], "the best comes before the last two");

    // As if it had been killed during its test.
    fs::remove_file(folder.join("result.json")).unwrap();
    cut(&folder.join(format!("checkpoints/epoch-{best}/classifier.bpk")));
    let warnings = resume(&folder);
    let lines = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let epochs: Vec<Value> = lines.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let loss = |epoch: usize| epochs[epoch - 1]["validation_loss"].as_f64().unwrap();
    let next = if loss(5) <= loss(6) { 5 } else { 6 };
    assert_eq!(result()["tested_epoch"], next);
    for part in [format!("epoch-{best} is damaged"), format!("epoch-{next} is used instead")] {
        assert!(warnings.contains(&part), "{warnings}");
    }
}

/// The number of records in TensorBoard's file. Panics if one is truncated or corrupt.
fn records(run: &Path) -> usize {
    let bytes = fs::read(run.join("events.out.tfevents.train")).unwrap();
    let checked = |bytes: &[u8], checksum: &[u8]| {
        let expected = crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(checksum, expected.to_le_bytes(), "a record is corrupt");
    };
    let (mut rest, mut count) = (&bytes[..], 0);
    while !rest.is_empty() {
        let (length, after) = rest.split_at(8);
        checked(length, &after[..4]);
        let (data, after) =
            after[4..].split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
        checked(data, &after[..4]);
        (rest, count) = (&after[4..], count + 1);
    }
    count
}

/// The part of TensorBoard's file lost in a power cut is missing, and later records can be read.
#[test]
fn a_tensorboard_file_cut_inside_a_record_is_mended() {
    let temp = TempDir::new().unwrap();
    let killed = temp.path().join("killed");
    kill_after(&untested(&killed, 6), Some(3), Duration::ZERO);
    cut(&killed.join("events.out.tfevents.train"));
    let warnings = resume(&killed);
    // A whole file has one for each of the 18 steps and 6 epochs, and the version's.
    assert!((10..25).contains(&records(&killed)), "{}", records(&killed));
    assert!(warnings.contains("events.out.tfevents.train has lost the last "), "{warnings}");
}

/// The same for the JSON Lines files.
#[test]
fn lines_that_are_cut_in_the_middle_are_taken_away() {
    let temp = TempDir::new().unwrap();
    let killed = temp.path().join("killed");
    kill_after(&untested(&killed, 6), Some(3), Duration::ZERO);
    for file in ["steps.jsonl", "metrics.jsonl"] {
        cut(&killed.join(file));
    }
    let warnings = resume(&killed);
    let lines = metrics(&killed);
    assert!((12..24).contains(&lines.len()) && lines.last().unwrap()["step"] == 18, "{lines:?}");
    assert!(warnings.contains("steps.jsonl has lost the last "), "{warnings}");
}

/// Leftovers of a kill in the run's folder are removed, a user's own files are not.
#[test]
fn leftovers_of_a_kill_are_removed_at_the_next_start() {
    let temp = TempDir::new().unwrap();
    let expected = whole(&temp, untested, 6);
    let killed = temp.path().join("killed");
    kill_after(&untested(&killed, 6), Some(3), Duration::ZERO);
    let folder = killed.join("checkpoints");
    let last = *checkpoints(&killed).last().unwrap();
    let last = folder.join(format!("epoch-{last}"));
    for name in ["epoch-1.old", "epoch-7.part", "epoch-3-mine"] {
        copy(&last, &folder.join(name));
    }
    fs::write(killed.join("model.bpk.4711-0.tmp"), "weights that were being written").unwrap();
    resume(&killed);
    let differ = differences(&killed, &expected);
    assert!(differ.iter().all(|path| path.contains("epoch-3-mine")), "{differ:?}");
    assert_eq!(differ.len(), 5);
}

//! Runs that were broken off go on as if nothing had happened.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
    thread::sleep,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{assert_refused, quick, run, train};

/// All that has a memory: momentum, averages, augmentation, a schedule, accumulation, early stopping.
const RECIPE: [&str; 11] = [
    "optimizer.name=adamw",
    "optimizer.momentum=0",
    "optimizer.learning_rate=0.003",
    "optimizer.weight_decay=0.01",
    "optimizer.clip_norm=1",
    "schedule={ name = \"one-cycle\" }",
    "average.decay=0.9",
    "augment={ crop = 2, flip = true, erase = 0.3, mixup = 0.2, cutmix = 1.0 }",
    "accumulate=2",
    "label_smoothing=0.1",
    "early_stopping.patience=4",
];

/// The recipe on the CPU backend that this build was asked for.
fn arguments(run_dir: &Path, epochs: usize) -> Vec<String> {
    let device = if cfg!(feature = "ndarray") { "ndarray" } else { "flex" };
    let set = RECIPE.iter().flat_map(|set| ["--set", set]);
    let mut arguments: Vec<String> =
        quick(run_dir.to_str().unwrap(), &[]).into_iter().chain(set).map(str::to_owned).collect();
    arguments.extend(["--device", device, "--epochs"].map(str::to_owned));
    arguments.push(epochs.to_string());
    // `quick` names a device of its own.
    arguments.drain(..2);
    arguments
}

/// The lines of `metrics.jsonl` and `steps.jsonl`, without what a clock or the memory tell.
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

/// Every tensor of a file of Burn's, by its name. Weights have identities of their own in every run,
/// by which an optimizer's tensors are named: `order` gives each its place.
fn tensors(path: &Path, order: &BTreeMap<u64, usize>) -> BTreeMap<String, Vec<u8>> {
    let reader = burn_pack::Reader::from_file(path).unwrap();
    let tensors = reader.into_tensors().unwrap().into_iter().map(|tensor| {
        let (name, _, _, id, bytes) = tensor.into_parts().unwrap();
        let place = id.and_then(|id| order.get(&id)).copied();
        let name = name.rsplit_once(&format!("{}.", id.unwrap_or(0))).map_or(&*name, |it| it.1);
        (format!("{place:?} {name}"), bytes.to_vec())
    });
    tensors.collect()
}

/// Final weights, their average and the optimizer's memory.
fn state(run: &Path, epochs: usize) -> Vec<BTreeMap<String, Vec<u8>>> {
    let folder = run.join(format!("checkpoints/epoch-{epochs}"));
    let reader = burn_pack::Reader::from_file(folder.join("classifier.bpk")).unwrap();
    let mut named = BTreeMap::new();
    for tensor in reader.into_tensors().unwrap() {
        let (name, _, _, id, _) = tensor.into_parts().unwrap();
        named.insert(name, id.unwrap());
    }
    let order = named.into_values().enumerate().map(|(place, id)| (id, place)).collect();
    let files = ["classifier.bpk", "average.bpk", "optimizer.bpk"];
    let mut state = files.map(|file| tensors(&folder.join(file), &order)).to_vec();
    state.push(tensors(&run.join("model.bpk"), &order));
    assert!(state.iter().all(|file| file.len() >= 10), "weights of ten layers and more");
    state
}

/// Starts a run, waits for the line of an epoch, and a little longer, and kills it.
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

fn whole(temp: &TempDir, epochs: usize) -> PathBuf {
    let path = temp.path().join("whole");
    let arguments = arguments(&path, epochs);
    let output = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

fn resume(path: &Path) {
    let output = run(&["resume", path.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_run_that_was_killed_goes_on_with_the_same_bits() {
    let temp = TempDir::new().unwrap();
    let expected = whole(&temp, 4);
    let killed = temp.path().join("killed");
    kill_after(&arguments(&killed, 4), Some(2), Duration::from_millis(20));
    assert!(!killed.join("result.json").exists(), "killed in the third epoch");
    resume(&killed);
    assert_eq!(metrics(&killed), metrics(&expected));
    assert_eq!(state(&killed, 4), state(&expected, 4));
    // The bytes of TensorBoard's records, but for their time and checksums.
    let events = |run: &Path| fs::metadata(run.join("events.out.tfevents.train")).unwrap().len();
    assert_eq!(events(&killed), events(&expected));
    assert_refused(run(&["resume", killed.to_str().unwrap()]), &["has ended"]);
}

#[test]
fn ten_kills_at_any_moment_are_survived() {
    let temp = TempDir::new().unwrap();
    let expected = whole(&temp, 12);
    let killed = temp.path().join("killed");
    kill_after(&arguments(&killed, 12), Some(1), Duration::ZERO);
    let again = ["resume".to_owned(), killed.to_str().unwrap().to_owned()];
    // The moments are spread over what a start and an epoch take; the run ends in some of them.
    for moment in 1..10 {
        kill_after(&again, None, Duration::from_millis(moment * 137));
    }
    if !killed.join("result.json").exists() {
        resume(&killed);
    }
    assert_eq!(metrics(&killed), metrics(&expected));
    assert_eq!(state(&killed, 12), state(&expected, 12));
}

#[test]
fn what_cannot_be_resumed_is_refused() {
    let temp = TempDir::new().unwrap();
    let path = temp.path().to_str().unwrap();
    assert_refused(run(&["resume", path]), &["is not the folder of a run"]);
    assert_refused(run(&["resume", "no/such/run"]), &["is not the folder of a run"]);

    // Another program trains in it.
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

/// A checkpoint that was spoilt is passed over; the run ends as it would have.
#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let temp = TempDir::new().unwrap();
    let expected = whole(&temp, 4);
    let killed = temp.path().join("killed");
    kill_after(&arguments(&killed, 4), Some(3), Duration::ZERO);
    let last = killed.join("checkpoints/epoch-3/optimizer.bpk");
    let bytes = fs::read(&last).unwrap();
    fs::write(&last, &bytes[..bytes.len() / 2]).unwrap();
    resume(&killed);
    assert_eq!(metrics(&killed), metrics(&expected));
}

//! Compares the results of two runs or two sweeps. `cargo xtask kills` uses it too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// Keys of times and memory, and of the lengths of files that contain them.
const MEASURED: [&str; 5] =
    ["seconds", "images_per_second", "train_images_per_second", "resident_memory", "lengths"];

/// The files that differ between two runs or sweeps, or that only one of them has, by their paths
/// within the folder. One different bit of a weight counts; times do not.
pub fn differences(one: &Path, other: &Path) -> Vec<String> {
    let [one, other] = [one, other].map(|folder| {
        let mut files = BTreeMap::new();
        read(folder, Path::new(""), &mut files);
        assert!(files.len() > 10, "{} is not a finished run or sweep", folder.display());
        files
    });
    let paths: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let differ = paths.into_iter().filter(|path| one.get(*path) != other.get(*path));
    // Separators as on Unix, on every system.
    differ.map(|path| path.display().to_string().replace('\\', "/")).collect()
}

/// The part of a file that must be the same.
#[derive(PartialEq)]
enum Content {
    There,
    Length(u64),
    Bytes(Vec<u8>),
    Values(Vec<Value>),
    Tensors(BTreeMap<String, Vec<u8>>),
}

fn read(root: &Path, within: &Path, files: &mut BTreeMap<PathBuf, Content>) {
    let folder = root.join(within);
    for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
        let (path, within) = (entry.path(), within.join(entry.file_name()));
        if path.is_dir() {
            read(root, &within, files);
            continue;
        }
        let bytes = || fs::read(&path).unwrap();
        let name = entry.file_name().into_string().unwrap();
        let content = match (&*name, name.rsplit('.').next().unwrap()) {
            // They contain times, or checksums of times.
            ("report.html" | "SHA256SUMS", _) => Content::There,
            // The length of a record does not depend on its time.
            (_, "train") => Content::Length(path.metadata().unwrap().len()),
            ("state.toml", _) => {
                let state: Value = toml::from_slice(&bytes()).unwrap();
                Content::Values(vec![without_times(state)])
            }
            (_, "json" | "jsonl") => {
                let bytes = bytes();
                let values = serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>();
                Content::Values(values.map(|value| without_times(value.unwrap())).collect())
            }
            (_, "bpk") => Content::Tensors(tensors(&path, &order(&folder))),
            _ => Content::Bytes(bytes()),
        };
        files.insert(within, content);
    }
}

fn without_times(mut value: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(entries) => {
                MEASURED.iter().for_each(|key| drop(entries.remove(*key)));
                entries.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut value);
    value
}

/// Weights have different IDs in every run, and the optimizer's tensors are named by these IDs.
/// This maps each ID to its position among the weights of the classifier in this folder or in a
/// checkpoint of it.
fn order(folder: &Path) -> BTreeMap<u64, usize> {
    let checkpoints = fs::read_dir(folder.join("checkpoints")).into_iter().flatten();
    let folders = checkpoints.map(|entry| entry.unwrap().path()).chain([folder.to_owned()]);
    let mut classifiers = folders.map(|folder| folder.join("classifier.bpk"));
    let classifier = classifiers.find(|path| path.exists()).unwrap();
    let mut named = BTreeMap::new();
    for tensor in burn_pack::Reader::from_file(classifier).unwrap().into_tensors().unwrap() {
        let (name, _, _, id, _) = tensor.into_parts().unwrap();
        named.insert(name, id.unwrap());
    }
    named.into_values().enumerate().map(|(place, id)| (id, place)).collect()
}

/// Every tensor of a Burn file, by its name and position.
fn tensors(path: &Path, order: &BTreeMap<u64, usize>) -> BTreeMap<String, Vec<u8>> {
    let reader = burn_pack::Reader::from_file(path).unwrap();
    let tensors = reader.into_tensors().unwrap().into_iter().map(|tensor| {
        let (name, _, _, id, bytes) = tensor.into_parts().unwrap();
        let place = id.and_then(|id| order.get(&id)).copied();
        let name = name.rsplit_once(&format!("{}.", id.unwrap_or(0))).map_or(&*name, |it| it.1);
        (format!("{place:?} {name}"), bytes.to_vec())
    });
    let tensors: BTreeMap<_, _> = tensors.collect();
    assert!(tensors.len() >= 10, "fewer than ten tensors in {}", path.display());
    tensors
}

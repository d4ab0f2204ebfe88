//! Hyperparameter sweeps: the runs, their names, and their combined results.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
    path::Path,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Config, Error, run::record::RunResult};

/// Longer names of runs are truncated: file systems allow 255 bytes, and Windows 260 for the whole
/// path.
const LONGEST_NAME: usize = 100;

/// The key whose values are not compared: results are averaged over them.
const SEED: &str = "seed";

/// All runs of a sweep.
pub(crate) struct Plan {
    pub about: About,
    pub runs: Vec<Planned>,
    /// Whether there are several seeds.
    pub varies_seed: bool,
}

/// One run of a sweep.
pub(crate) struct Planned {
    /// The varied values, as the name of a folder: `learning_rate=0.05,seed=1`.
    pub name: String,
    /// The same without the seed.
    pub group: String,
    /// The changes to the config: `optimizer.learning_rate=0.05`, `seed=1`.
    pub set: Vec<String>,
    pub config: Config,
}

/// What distinguishes one sweep from another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct About {
    /// The config file.
    config: Value,
    /// The values of each key, as given.
    set: Vec<String>,
}

/// The content of `sweep.json`.
#[derive(Debug, Serialize)]
pub(crate) struct Record<'a> {
    #[serde(flatten)]
    pub about: &'a About,
    pub runs: &'a [Row],
    /// Over seeds, if these are varied.
    pub means: &'a [Mean],
}

/// The result of one run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// Also the name of its folder.
    pub name: String,
    pub set: Vec<String>,
    /// If it has ended.
    pub result: Option<RunResult>,
    /// If it failed.
    pub error: Option<String>,
}

/// The means over the runs of one group, which differ only in their seed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Mean {
    /// The group's name.
    pub name: String,
    /// The number of runs that have ended.
    pub runs: usize,
    pub validation_accuracy: Spread,
    pub validation_loss: Spread,
    /// If all of them were tested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_accuracy: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_loss: Option<Spread>,
}

/// Mean and standard deviation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub mean: f64,
    /// Of a sample, that is with `n - 1`; `None` for a single value.
    pub deviation: Option<f64>,
}

impl Plan {
    /// Loads the config for every combination of the values, which are given as `KEY=VALUE,...`.
    ///
    /// # Errors
    ///
    /// If one of the configs is not valid, or two are the same.
    pub fn new(path: &Path, sets: &[String]) -> Result<Self, Error> {
        let axes = sets.iter().map(|set| axis(set)).collect::<Result<Vec<_>, _>>()?;
        let mut runs: Vec<Planned> = Vec::new();
        for (set, (name, group)) in combinations(&axes).into_iter().zip(names(&axes)) {
            // By default, a sweep does not use the test images.
            let test = ("test".to_owned(), "test=false".to_owned());
            let set: Vec<String> =
                set.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let changes = set.iter().map(|set| (format!("--set {set}"), set.clone()));
            let config =
                Config::load(Some(path), &[test].into_iter().chain(changes).collect::<Vec<_>>())?;
            if let Some(same) = runs.iter().find(|run| run.config == config) {
                let why =
                    format!("`{}` and `{}` are the same run", same.set.join(" "), set.join(" "));
                return Err(Error::Usage(why));
            }
            runs.push(Planned { name, group, set, config });
        }
        let varies_seed = axes.iter().any(|axis| axis.key == SEED && axis.values.len() > 1);
        Ok(Self {
            about: About { config: content(path)?, set: sets.to_owned() },
            runs,
            varies_seed,
        })
    }

    /// The means of each group in which at least one run has ended.
    pub fn means(&self, rows: &[Row]) -> Vec<Mean> {
        let mean = |group: &str| {
            let of_group = self.runs.iter().zip(rows).filter(|(run, _)| run.group == group);
            let results: Vec<_> = of_group.filter_map(|(_, row)| row.result.as_ref()).collect();
            let all = |value: fn(&RunResult) -> f64| Spread::of(results.iter().map(|it| value(it)));
            let tested = |value: fn(&RunResult) -> Option<f64>| {
                Spread::of(results.iter().map(|it| value(it)).collect::<Option<Vec<_>>>()?)
            };
            Some(Mean {
                name: group.to_owned(),
                runs: results.len(),
                validation_accuracy: all(|result| result.validation_accuracy)?,
                validation_loss: all(|result| result.validation_loss)?,
                test_accuracy: tested(|result| result.test_accuracy),
                test_loss: tested(|result| result.test_loss),
            })
        };
        let mut seen = HashSet::new();
        let groups = self.runs.iter().map(|run| &*run.group).filter(|group| seen.insert(*group));
        groups.filter_map(mean).collect()
    }

    /// The best of the groups in which all runs have ended: the one with the highest mean
    /// validation accuracy, of several the one with the lowest loss.
    pub fn best<'a>(&self, means: &'a [Mean]) -> Option<&'a Mean> {
        let size = |name: &str| self.runs.iter().filter(|run| run.group == name).count();
        means.iter().filter(|mean| mean.runs == size(&mean.name)).min_by(|a, b| {
            let accuracy = b.validation_accuracy.mean.total_cmp(&a.validation_accuracy.mean);
            accuracy.then(a.validation_loss.mean.total_cmp(&b.validation_loss.mean))
        })
    }
}

impl About {
    /// The differences between this sweep and an earlier one; empty if they are the same.
    pub fn differences(&self, before: &Self) -> Vec<String> {
        let [now, was] = [self, before].map(|about| {
            let mut keys = BTreeMap::new();
            flatten("", &about.config, &mut keys);
            for (key, values) in about.set.iter().filter_map(|set| set.split_once('=')) {
                keys.insert(format!("--set {key}"), values.to_owned());
            }
            keys
        });
        let keys: BTreeSet<_> = now.keys().chain(was.keys()).collect();
        let value = |keys: &BTreeMap<String, String>, key| {
            keys.get(key).map_or("not given".to_owned(), |value: &String| format!("`{value}`"))
        };
        let mut differences: Vec<String> = keys
            .into_iter()
            .filter(|key| now.get(*key) != was.get(*key))
            .map(|key| format!("`{key}` is {}, and was {}", value(&now, key), value(&was, key)))
            .collect();
        if differences.is_empty() && self.set != before.set {
            differences.push("the `--set` options are in another order".to_owned());
        }
        differences
    }
}

impl Spread {
    fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let deviation = (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
        (!values.is_empty()).then_some(Self { mean, deviation })
    }
}

/// The values of one key.
#[derive(Debug)]
struct Axis {
    key: String,
    values: Vec<String>,
}

/// Splits `KEY=A,B`. Commas within brackets or quotes belong to a value.
fn axis(set: &str) -> Result<Axis, Error> {
    let (key, values) = set.split_once('=').ok_or_else(|| {
        Error::Usage(format!("--set {set}: expected KEY=VALUE,VALUE,... such as seed=0,1,2"))
    })?;
    let (mut depth, mut quoted) = (0usize, false);
    let parts = values.split(|character| {
        match character {
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0 && !quoted
    });
    let values = parts.map(|value| value.trim().to_owned()).collect();
    Ok(Axis { key: key.trim().to_owned(), values })
}

/// All combinations of one value per axis; the last axis changes fastest.
fn combinations(axes: &[Axis]) -> Vec<Vec<(&str, &str)>> {
    axes.iter().fold(vec![Vec::new()], |all, Axis { key, values }| {
        let mut longer = Vec::new();
        for set in &all {
            longer.extend(values.iter().map(|value| [&set[..], &[(&**key, &**value)]].concat()));
        }
        longer
    })
}

/// The name and the group of each of the [`combinations`]: the last part of each varied key with
/// its value, in characters that every file system allows.
fn names(axes: &[Axis]) -> Vec<(String, String)> {
    let mut varied: Vec<&str> =
        axes.iter().filter(|axis| axis.values.len() > 1).map(|axis| &*axis.key).collect();
    if varied.is_empty() {
        varied = axes.iter().map(|axis| &*axis.key).collect();
    }
    let last_part = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let short = |key: &str| {
        let others = varied.iter().filter(|other| last_part(other) == last_part(key));
        if others.count() > 1 { key.to_owned() } else { last_part(key) }
    };
    // The same values keep the same name; different values that get the same name are numbered.
    let mut names = [HashMap::new(), HashMap::new()];
    let mut name = |of: usize, set: &[&(&str, &str)]| -> String {
        let parts = set.iter().map(|(key, value)| format!("{}={}", short(key), plain(value)));
        let mut name = parts.collect::<Vec<_>>().join(",");
        name.truncate(LONGEST_NAME);
        // Windows drops a dot at the end.
        let name = name.trim_end_matches('.');
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        // On macOS and Windows, names are not case-sensitive.
        let is_free = |it: &String| {
            let owner = names[of].entry(it.to_lowercase()).or_insert_with(|| format!("{set:?}"));
            *owner == format!("{set:?}")
        };
        let free = [name.to_owned()].into_iter().chain(numbered).find(is_free);
        free.expect("there is always a next number")
    };
    let both = |set: &Vec<(&str, &str)>| {
        let all: Vec<_> = set.iter().filter(|(key, _)| varied.contains(key)).collect();
        let rest: Vec<_> = all.iter().copied().filter(|(key, _)| *key != SEED).collect();
        let group = if rest.is_empty() { "all".to_owned() } else { name(1, &rest) };
        (name(0, &all), group)
    };
    combinations(axes).iter().map(both).collect()
}

/// Reduces a value to letters, digits, `.`, `-`, `+` and `_`; anything between them becomes one
/// `-`.
fn plain(value: &str) -> String {
    let parts = value.split(|it: char| !it.is_ascii_alphanumeric() && !".-+_".contains(it));
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

/// The content of a config file.
fn content(path: &Path) -> Result<Value, Error> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Error::Usage(format!("cannot read the config {}: {error}", path.display()))
    };
    let text = fs::read_to_string(path).map_err(|error| unreadable(&error))?;
    let content: Value = toml::from_str(&text).map_err(|error| unreadable(&error))?;
    // The same conversion as in `sweep.json`, where a number may lose its last bit.
    Ok(serde_json::from_str(&content.to_string()).expect("it was just written"))
}

/// Collects all values within a value, by their full keys.
fn flatten(key: &str, value: &Value, keys: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(section) => {
            for (name, value) in section {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                flatten(&key, value, keys);
            }
        }
        value => {
            keys.insert(key.to_owned(), value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(sets: &[&str]) -> Vec<Axis> {
        sets.iter().map(|set| axis(set).unwrap()).collect()
    }

    fn names_of(sets: &[&str]) -> Vec<String> {
        names(&axes(sets)).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn every_combination_is_trained_once() {
        let axes = axes(&["seed=0,1", "schedule.milestones=[0.5, 0.75],[]"]);
        let (seed, milestones) = ("seed", "schedule.milestones");
        let expected = [
            [(seed, "0"), (milestones, "[0.5, 0.75]")],
            [(seed, "0"), (milestones, "[]")],
            [(seed, "1"), (milestones, "[0.5, 0.75]")],
            [(seed, "1"), (milestones, "[]")],
        ];
        assert_eq!(combinations(&axes), expected);
        assert!(axis("seed").unwrap_err().to_string().contains("seed=0,1,2"));
    }

    #[test]
    fn a_run_is_named_by_what_was_varied() {
        let sets = ["optimizer.learning_rate=0.05,1e-3", "epochs=3", "seed=0,1"];
        let expected = [
            "learning_rate=0.05,seed=0",
            "learning_rate=0.05,seed=1",
            "learning_rate=1e-3,seed=0",
            "learning_rate=1e-3,seed=1",
        ];
        assert_eq!(names_of(&sets), expected);
        let groups: Vec<_> = names(&axes(&sets)).into_iter().map(|(_, group)| group).collect();
        assert_eq!(groups[..3], ["learning_rate=0.05", "learning_rate=0.05", "learning_rate=1e-3"]);
        assert_eq!(names(&axes(&["seed=0,1"]))[0].1, "all");

        // The last part alone would be ambiguous.
        let two = names_of(&["optimizer.name=sgd,adam", "schedule.name=step,cosine"]);
        assert_eq!(two[0], "optimizer.name=sgd,schedule.name=step");
        // Nothing is varied.
        assert_eq!(names_of(&["epochs=3"]), ["epochs=3"]);
    }

    /// The rules of Windows: <https://learn.microsoft.com/windows/win32/fileio/naming-a-file>.
    #[test]
    fn names_are_valid_on_every_file_system() {
        let long = format!("a={0}x,{0}y", "z".repeat(300));
        let odd = [
            r#"pretrained.weights="C:\w*?.pth","../a/b|c<d>.pth","ä: .""#,
            "schedule.milestones=[0.5, 0.75],[]",
            "network=lenet,LENET,le.",
            &long,
        ];
        let names = names_of(&odd);
        assert_eq!(names.len(), 3 * 2 * 3 * 2);
        let distinct: HashSet<_> = names.iter().map(|name| name.to_lowercase()).collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
        for name in names {
            assert!(name.len() < 120 && name.is_ascii(), "{name}");
            assert!(!name.ends_with(['.', ' ']) && !name.starts_with('.'), "{name}");
            assert!(
                !name.contains(|it: char| it.is_control() || r#"<>:"/\|?*"#.contains(it)),
                "{name}"
            );
        }
        assert_eq!(names_of(&odd[1..2]), ["milestones=0.5-0.75", "milestones="]);

        // Two settings stay two groups, each with both seeds.
        let groups = super::names(&axes(&["pretrained.weights=a/b,a-b", "seed=0,1"]));
        let groups: Vec<_> = groups.into_iter().map(|(_, group)| group).collect();
        assert_eq!(groups, ["weights=a-b", "weights=a-b", "weights=a-b-2", "weights=a-b-2"]);
    }

    /// Computed by hand.
    #[test]
    fn spread_of_a_sample() {
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        let Spread { mean, deviation } = Spread::of(values).unwrap();
        assert_eq!(mean, 5.0);
        assert!((deviation.unwrap() - (32.0_f64 / 7.0).sqrt()).abs() < 1e-15);
        assert_eq!(Spread::of([3.0]).unwrap().deviation, None);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn another_sweep_is_told_by_what_differs() {
        let about = |config, set: &[&str]| About {
            config: serde_json::from_str(config).unwrap(),
            set: set.iter().map(|set| (*set).to_owned()).collect(),
        };
        let before = about(r#"{"epochs": 3, "optimizer": {"name": "sgd"}}"#, &["seed=0,1"]);
        assert!(before.differences(&before.clone()).is_empty());
        let now = about(r#"{"epochs": 4, "optimizer": {"name": "sgd"}}"#, &["seed=0,1,2", "a=1"]);
        let expected = [
            "`--set a` is `1`, and was not given",
            "`--set seed` is `0,1,2`, and was `0,1`",
            "`epochs` is `4`, and was `3`",
        ];
        assert_eq!(now.differences(&before), expected);
    }
}

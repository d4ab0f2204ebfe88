//! What the arguments of several commands have in common.

use std::{fmt::Display, str::FromStr};

use models::{Architecture, Preset};

use crate::config::readable;

/// Parses a name. The error has the nearest valid one.
pub(super) fn named<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| readable(&error.to_string()))
}

/// The preset of a network if none is given: the preferred one if it has the network, otherwise the
/// first that has it.
pub(super) fn preset_of(network: Architecture, preferred: Option<Preset>) -> Preset {
    let preferred = network.presets().find(|&preset| Some(preset) == preferred);
    preferred.or(network.presets().next()).expect("every network has a preset")
}

/// The changes to a config by `--set` and `--device`: each argument as given, and as `KEY=VALUE`.
pub(super) fn changes(set: &[String], device: Option<&str>) -> Vec<(String, String)> {
    let set = set.iter().map(|set| (format!("--set {set}"), set.clone()));
    let device = device.map(|name| (format!("--device {name}"), format!("device={name}")));
    set.chain(device).collect()
}

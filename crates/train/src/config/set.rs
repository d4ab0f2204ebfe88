//! Changes to a config: `--set KEY=VALUE`.

use std::str::FromStr;

use serde::de::DeserializeOwned;

use super::schema::{Config, OptimizerName, ScheduleName};

impl Config {
    /// Returns this config with one key changed. `asked` lists the keys of all changes.
    pub(super) fn with(&self, assignment: &str, asked: &[&str]) -> Result<Self, String> {
        let (_, value) = assignment
            .split_once('=')
            .ok_or("expected KEY=VALUE, such as `--set optimizer.learning_rate=0.5`")?;
        let (key, value) = (key_of(assignment), value.trim());
        // Deeply nested tables would overflow the stack.
        if key.split('.').nth(2).is_some() {
            return Err("expected a key in one section at most, such as `data.limit`".to_owned());
        }
        // Anything that is not a TOML value is treated as a string without quotes.
        let given = toml::Table::from_str(&format!("value = {value}"))
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| value.into());

        let mut root = toml::Table::try_from(self).map_err(|error| error.to_string())?;
        // Setting one of two keys that exclude each other removes the other.
        for [one, other] in [["epochs", "minutes"], ["device", "devices"]] {
            if key == one {
                root.remove(other);
            } else if key == other {
                root.remove(one);
            }
        }
        let unused = match key {
            "optimizer.name" => unused(&given, &OptimizerName::KEYS, OptimizerName::has),
            "schedule.name" => unused(&given, &ScheduleName::KEYS, ScheduleName::has),
            _ => Vec::new(),
        };
        let (table, name) = place(&mut root, key)?;
        for unused in unused {
            if !asked.contains(&key.replace("name", unused).as_str()) {
                table.remove(unused);
            }
        }
        table.insert(name.to_owned(), given);

        let parse = |root: &toml::Table| {
            let config = root.clone().try_into();
            config.map_err(|error: toml::de::Error| error.message().to_owned())
        };
        let changed = parse(&root);
        let is_unknown = |why: &String| why.starts_with("unknown field");
        if !value.is_empty() || changed.as_ref().is_err_and(is_unknown) {
            return changed;
        }
        let (table, name) = place(&mut root, key)?;
        table.remove(name);
        parse(&root)
    }
}

/// The key of `KEY=VALUE`.
pub(super) fn key_of(assignment: &str) -> &str {
    assignment.split_once('=').map_or(assignment, |(key, _)| key).trim()
}

/// The section of a key such as `optimizer.name`, and the key's name in it.
fn place<'a>(
    root: &'a mut toml::Table,
    key: &'a str,
) -> Result<(&'a mut toml::Table, &'a str), String> {
    let Some((sections, name)) = key.rsplit_once('.') else { return Ok((root, key)) };
    let mut table = root;
    for section in sections.split('.') {
        let entry = table.entry(section).or_insert_with(|| toml::Table::new().into());
        table =
            entry.as_table_mut().ok_or_else(|| format!("`{section}` is a value, not a section"))?;
    }
    Ok((table, name))
}

/// The keys that a choice such as `optimizer.name` does not use; none if the choice is not valid.
fn unused<N: DeserializeOwned + Copy>(
    name: &toml::Value,
    keys: &[&'static str],
    has: fn(N, &str) -> bool,
) -> Vec<&'static str> {
    let Ok(name) = name.clone().try_into::<N>() else { return Vec::new() };
    keys.iter().copied().filter(|key| !has(name, key)).collect()
}

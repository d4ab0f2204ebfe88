//! The command `config`: lists the keys of a config.

use clap::Args;
use serde_json::Value;

use crate::{config::schema, output::say};

/// How to print the keys.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Prints a JSON schema, with which an editor checks and completes configs.
    #[arg(long)]
    pub schema: bool,
}

/// Prints every key of a config, with its values, its default and its meaning.
pub(crate) fn config(args: &ConfigArgs) {
    let schema = schema();
    if args.schema {
        say(format_args!("{schema:#}"))
    } else {
        keys("", &schema).iter().for_each(|key| say(format_args!("{key}")))
    }
}

/// The keys of a section of the schema: first those without subsections, as in a file.
fn keys(section: &str, schema: &Value) -> Vec<String> {
    let mut keys = Vec::new();
    let mut sections = Vec::new();
    let required = schema["required"].as_array();
    for (name, outer) in schema["properties"].as_object().into_iter().flatten() {
        let is_required = required.is_some_and(|required| required.iter().any(|it| it == name));
        let inner = without_null(outer);
        let of_either = |what: &str| outer.get(what).or(inner.get(what));
        let meaning = of_either("description").and_then(Value::as_str).unwrap_or_default();
        let meaning = meaning.replace('\n', " ");
        let name = format!("{section}{name}");
        if inner["properties"].is_object() {
            sections.push(format!("\n[{name}] {meaning}"));
            sections.extend(self::keys(&format!("{name}."), inner));
        } else {
            let default = match of_either("default") {
                Some(default) if !default.is_null() => format!("default {default}"),
                _ if is_required => "required".to_owned(),
                _ => "not set by default".to_owned(),
            };
            keys.push(format!("{name}: {}; {default}\n    {meaning}", values(inner)));
        }
    }
    keys.extend(sections);
    keys
}

/// The schema of an optional key, without the alternative that it is missing.
fn without_null(key: &Value) -> &Value {
    let any = key["anyOf"].as_array().into_iter().flatten();
    any.into_iter().find(|key| key["type"] != "null").unwrap_or(key)
}

/// The values of a key, in words.
fn values(key: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
    if let Some(names) = key["enum"].as_array() {
        return names.iter().map(text).collect::<Vec<_>>().join(", ");
    }
    if let Some(variants) = key["oneOf"].as_array() {
        let names = variants.iter().map(|variant| text(&variant["const"]));
        return names.collect::<Vec<_>>().join(", ");
    }
    let kind = match &key["type"] {
        Value::Array(kinds) => kinds.iter().map(text).find(|kind| kind != "null"),
        kind => kind.as_str().map(str::to_owned),
    };
    match kind.as_deref() {
        Some("boolean") => "true or false".to_owned(),
        Some("array") => format!("list of {}", values(&key["items"])),
        Some(kind @ ("number" | "integer")) => {
            let ends = [
                ("minimum", "from"),
                ("exclusiveMinimum", "above"),
                ("maximum", "to"),
                ("exclusiveMaximum", "to below"),
            ];
            let ends = ends.iter().filter_map(|(end, word)| Some((word, key[*end].as_f64()?)));
            ends.fold(kind.to_owned(), |words, (word, end)| format!("{words} {word} {end}"))
        }
        kind => kind.unwrap_or("value").to_owned(),
    }
}

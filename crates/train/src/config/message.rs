//! Messages about a config that is not valid.

use std::path::Path;

/// Formats an error in the file as `FILE:LINE: message`, with the line.
pub(super) fn locate(file: &Path, text: &str, error: &toml::de::Error) -> String {
    let file = file.display();
    let message = readable(error.message());
    // A key that is missing at the top level has no line.
    let missing = |start| start == 0 && message.starts_with("missing");
    let Some(span) = error.span().filter(|span| !missing(span.start)) else {
        return format!("{file}: {message}");
    };
    let before = &text[..span.start.min(text.len())];
    let number = before.lines().count().max(1) + usize::from(before.ends_with('\n'));
    let line = text.lines().nth(number - 1).unwrap_or_default();
    format!("{file}:{number}: {message}\n    {}", line.trim())
}

/// Keys of older configs, such as those of interrupted runs, and what they are now.
const RENAMED: [(&str, &str); 4] = [
    (
        "batch_norm",
        "the key is `kernels` now, with `winograd` for `kernel` and `burn` for `reference`",
    ),
    ("average", "the section is `[ema]` now"),
    ("initial", "the section is `[pretrained]` now"),
    ("grey_images", "the key is `grayscale` now"),
];

/// Makes serde's message readable without knowledge of Rust's types, and adds the valid name
/// nearest to a wrong one. serde and this crate quote names in backticks: first the wrong one, then
/// those expected.
pub(crate) fn readable(message: &str) -> String {
    let is_old = |key: &str| message.starts_with(&format!("unknown field `{key}`"));
    if let Some((key, now)) = RENAMED.into_iter().find(|(key, _)| is_old(key)) {
        return format!("unknown field `{key}`: {now}");
    }
    let message = message.replace("a nonzero usize", "a whole number above 0");
    let mut names = message.split('`').skip(1).step_by(2);
    // A longer text is not similar to any name, and the comparison would take long.
    let is_name = |wrong: &&str| message.starts_with("unknown") && wrong.len() < 100;
    let nearest = names.next().filter(is_name).and_then(|wrong| {
        let similarity = |name: &&str| strsim::jaro_winkler(wrong, name);
        names
            .filter(|name| similarity(name) > 0.7)
            .max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
    });
    match nearest {
        Some(name) => format!("{message}; did you mean `{name}`?"),
        None => message.clone(),
    }
}

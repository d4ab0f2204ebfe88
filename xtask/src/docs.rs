//! Writes the parts of the documents that come from the code and from runs: the drawings of the
//! networks, and the excerpts and results in the notes.

use std::{fs, path::PathBuf};

use burn::tensor::Device;
use models::{Architecture, ConvNet, Preset};
use train::{Error, diagram, run::RunFiles};

use crate::assets::{self, root};

/// Writes them all; files that do not change are left alone.
///
/// # Errors
///
/// If a document has an excerpt that is not in the code, or a file cannot be read or written.
pub fn run() -> Result<(), Error> {
    for (path, content) in documents()? {
        if fs::read_to_string(&path).is_ok_and(|old| old == content) {
            continue;
        }
        assets::write(&path, &content)?;
    }
    Ok(())
}

/// The files and what they should contain.
fn documents() -> Result<Vec<(PathBuf, String)>, Error> {
    let mut documents = Vec::new();
    for network in Architecture::ALL {
        let preset = network.presets().next().expect("every network has a preset");
        let path = assets::folder().join("diagrams").join(format!("{network}.svg"));
        documents.push((path, drawing(network, preset)));
    }
    for language in ["en", "zh"] {
        let folder = assets::folder().join("notes").join(language);
        let unreadable = |error| Error::Usage(format!("{}: {error}", folder.display()));
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let text = fs::read_to_string(&path).map_err(unreadable)?;
            let named = |why| Error::Usage(format!("{}: {why}", path.display()));
            let text = with_excerpts(&text).map_err(named)?;
            let text = with_result(&text, language == "zh").map_err(named)?;
            documents.push((path, text));
        }
    }
    Ok(documents)
}

/// A network with its preset's image.
fn drawing(network: Architecture, preset: Preset) -> String {
    let image = network.image(preset).expect("the network has this preset");
    let config = network.config(preset).expect("the network has this preset");
    let network_of = config.with_channels(image[0]).init(&Device::flex());
    let summary = network_of.summary(image).expect("a network takes the image of its preset");
    diagram(&format!("{network} ({preset})"), &summary)
}

/// The text with its excerpts as they are in the code. An excerpt is between
/// ``<!-- code FILE `START` -->`` and `<!-- /code -->`: the item of the file whose first line
/// contains the start.
fn with_excerpts(text: &str) -> Result<String, String> {
    const END: &str = "<!-- /code -->";
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<!-- code ") {
        let (marker, after) = after.split_once(" -->").ok_or("an unfinished marker")?;
        let (_, after) = after.split_once(END).ok_or(format!("{marker}: no {END}"))?;
        let (file, start) = marker
            .split_once(" `")
            .and_then(|(file, start)| Some((file, start.strip_suffix('`')?)))
            .ok_or(format!("{marker}: expected FILE `START`"))?;
        let code =
            fs::read_to_string(root().join(file)).map_err(|error| format!("{file}: {error}"))?;
        let item = item(&code, start).map_err(|why| format!("{file}: {why}"))?;
        result += &format!("{before}<!-- code {marker} -->\n```rust\n{item}```\n{END}");
        rest = after;
    }
    Ok(result + rest)
}

/// The text with the result of a run in `assets/runs` between `<!-- result RUN -->` and
/// `<!-- /result -->`, if it has such a place.
fn with_result(text: &str, chinese: bool) -> Result<String, String> {
    const END: &str = "<!-- /result -->";
    let Some((before, after)) = text.split_once("<!-- result ") else { return Ok(text.to_owned()) };
    let (run, after) = after.split_once(" -->").ok_or("an unfinished marker")?;
    let (_, after) = after.split_once(END).ok_or(format!("{run}: no {END}"))?;
    let folder = assets::folder().join("runs").join(run);
    let result = match folder.exists() {
        true => result(&RunFiles::read(&folder).map_err(|error| error.to_string())?, chinese),
        false if chinese => "这份配置还没有训练过。\n".to_owned(),
        false => "This recipe has not been trained yet.\n".to_owned(),
    };
    Ok(format!("{before}<!-- result {run} -->\n{result}{END}{after}"))
}

/// The epochs of a run as a table, and what its test gave.
fn result(run: &RunFiles, chinese: bool) -> String {
    let mut text = String::from(if chinese {
        "| 轮 | 训练损失 | 训练精度 | 验证损失 | 验证精度 |\n"
    } else {
        "| epoch | train loss | train accuracy | validation loss | validation accuracy |\n"
    });
    text += "|---|---|---|---|---|\n";
    for it in &run.epochs {
        text += &format!(
            "| {} | {:.4} | {:.4} | {:.4} | {:.4} |\n",
            it.epoch, it.train_loss, it.train_accuracy, it.validation_loss, it.validation_accuracy
        );
    }
    text += "\n";
    let synthetic = match (run.is_synthetic(), chinese) {
        (false, _) => "",
        (true, false) => ", on SYNTHETIC images",
        (true, true) => "，合成的图像",
    };
    let tested = run.result.as_ref().and_then(|it| Some((it, it.test_accuracy?)));
    text += &match (tested, chinese) {
        (Some((it, accuracy)), false) => format!(
            "Test accuracy {accuracy:.4}, with the weights of epoch {} (seed {}, on `{}`{synthetic}).\n",
            it.tested_epoch, it.seed, it.device
        ),
        (Some((it, accuracy)), true) => format!(
            "测试精度 {accuracy:.4}，用第 {} 轮的权重（随机种子 {}，设备 `{}`{synthetic}）。\n",
            it.tested_epoch, it.seed, it.device
        ),
        (None, false) => "The run has not ended.\n".to_owned(),
        (None, true) => "这次训练还没有结束。\n".to_owned(),
    };
    text
}

/// The item whose first line contains `start`, without indentation.
fn item(code: &str, start: &str) -> Result<String, String> {
    let lines: Vec<_> = code.lines().collect();
    let found: Vec<_> = (0..lines.len()).filter(|&line| lines[line].contains(start)).collect();
    let [first] = found[..] else {
        return Err(format!("`{start}` is in {} lines, not in one", found.len()));
    };
    let indent = lines[first].len() - lines[first].trim_start().len();
    let ends =
        |line: &&str| line.len() >= indent && matches!(&line[indent..], "}" | "};" | "]" | "];");
    let length = if lines[first].ends_with(';') || lines[first].ends_with("{}") {
        1
    } else {
        let last = lines[first..].iter().position(|line| ends(line));
        last.ok_or(format!("`{start}` does not end"))? + 1
    };
    let dedented = lines[first..first + length]
        .iter()
        .map(|line| format!("{}\n", line.get(indent..).unwrap_or_default()));
    Ok(dedented.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_are_as_the_code() {
        for (path, content) in documents().unwrap() {
            let found = fs::read_to_string(&path).unwrap_or_default();
            let path = path.strip_prefix(root()).unwrap().display();
            assert!(found == content, "{path} is not current: `cargo xtask docs` writes it");
        }
    }

    #[test]
    fn an_excerpt_is_one_item() {
        let code = "impl A {\n    /// B.\n    fn b() {\n        c();\n    }\n\n    fn d() {}\n}\n";
        assert_eq!(item(code, "fn b").unwrap(), "fn b() {\n    c();\n}\n");
        assert!(item(code, "fn").unwrap_err().contains("2 lines"));
        assert!(item(code, "fn e").unwrap_err().contains("0 lines"));
        let text = "A\n<!-- code xtask/src/docs.rs `fn nowhere()` -->\n<!-- /code -->\n";
        assert!(with_excerpts(text).is_err());
    }
}

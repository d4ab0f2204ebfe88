//! Writes the parts of the documents that come from the code and from runs: the drawings of the
//! networks, and the excerpts and results in the notes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use models::{Architecture, ConvNet, Preset};
use train::{
    Error, diagram,
    run::{RunFiles, record::RunResult},
};

use crate::assets::{self, root};

/// Writes the documents; files that do not change are left alone.
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
        // The networks of the notes; `batch-norm.svg` beside them is drawn by hand.
        if let Ok(config) = network.config(Preset::D2l) {
            let image = network.image(Preset::D2l).expect("the network has this preset");
            let summary = config.init(&Device::flex()).summary(image);
            let summary = summary.expect("a network takes the image of its preset");
            let path = assets::folder().join("diagrams").join(format!("{network}.svg"));
            documents.push((path, diagram(&format!("{network} ({})", Preset::D2l), &summary)));
        }
    }
    for language in ["en", "zh"] {
        let folder = assets::folder().join("notes").join(language);
        let unreadable = |error| Error::Usage(format!("{}: {error}", folder.display()));
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            let named = |why: String| Error::Usage(format!("{}: {why}", path.display()));
            let text = fs::read_to_string(&path).map_err(|error| named(error.to_string()))?;
            let text = with_excerpts(&text).map_err(named)?;
            let text =
                with_result(&text, &assets::folder().join("runs"), language).map_err(named)?;
            documents.push((path, text));
        }
    }
    Ok(documents)
}

/// The text with its excerpts as they are in the code. An excerpt is between
/// ``<!-- code FILE `PART` -->`` and `<!-- /code -->`: the item of the file whose first line
/// contains the part.
fn with_excerpts(text: &str) -> Result<String, String> {
    const END: &str = "<!-- /code -->";
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<!-- code ") {
        let (marker, after) = after.split_once(" -->").ok_or("an unfinished marker")?;
        let (_, after) = after.split_once(END).ok_or(format!("{marker}: no {END}"))?;
        let (file, part) = marker
            .split_once(" `")
            .and_then(|(file, part)| Some((file, part.strip_suffix('`')?)))
            .ok_or(format!("{marker}: expected FILE `PART`"))?;
        let code =
            fs::read_to_string(root().join(file)).map_err(|error| format!("{file}: {error}"))?;
        let item = item(&code, part).map_err(|why| format!("{file}: {why}"))?;
        result += &format!("{before}<!-- code {marker} -->\n```rust\n{item}```\n{END}");
        rest = after;
    }
    Ok(result + rest)
}

/// The text with the result of a run, a folder in `runs`, between `<!-- result RUN -->` and
/// `<!-- /result -->`, if it has such a place.
fn with_result(text: &str, runs: &Path, language: &str) -> Result<String, String> {
    const END: &str = "<!-- /result -->";
    let Some((before, after)) = text.split_once("<!-- result ") else { return Ok(text.to_owned()) };
    let (run, after) = after.split_once(" -->").ok_or("an unfinished marker")?;
    let (_, after) = after.split_once(END).ok_or(format!("{run}: no {END}"))?;
    if after.contains("<!-- result ") {
        return Err("more than one result".to_owned());
    }
    let words = if language == "zh" { &CHINESE } else { &ENGLISH };
    let folder = runs.join(run);
    let result = if folder.exists() {
        words.result(&RunFiles::read(&folder).map_err(|error| error.to_string())?)
    } else {
        words.no_run.to_owned()
    };
    Ok(format!("{before}<!-- result {run} -->\n{result}\n{END}{after}"))
}

/// The words about a result, in a language.
struct Words {
    no_run: &'static str,
    head: &'static str,
    not_ended: &'static str,
    not_tested: &'static str,
    synthetic: &'static str,
    /// With the places ACCURACY, EPOCH, SEED and DEVICE.
    tested: &'static str,
}

const ENGLISH: Words = Words {
    no_run: "This recipe has not been trained yet.",
    head: "| epoch | train loss | train accuracy | validation loss | validation accuracy |",
    not_ended: "The run has not ended.",
    not_tested: "The run was not tested.",
    synthetic: "The images are SYNTHETIC, not Fashion-MNIST. ",
    tested: "Test accuracy ACCURACY, with the weights of epoch EPOCH (seed SEED, on `DEVICE`).",
};

const CHINESE: Words = Words {
    no_run: "这份配置还没有训练过。",
    head: "| 轮 | 训练损失 | 训练精度 | 验证损失 | 验证精度 |",
    not_ended: "这次训练还没有结束。",
    not_tested: "这次训练没有测试。",
    synthetic: "图像是合成的，不是 Fashion-MNIST。",
    tested: "测试精度 ACCURACY，用第 EPOCH 轮的权重（随机种子 SEED，设备 `DEVICE`）。",
};

impl Words {
    /// The epochs of a run as a table, and its test accuracy.
    fn result(&self, run: &RunFiles) -> String {
        let mut text = format!("{}\n|---|---|---|---|---|\n", self.head);
        for it in &run.epochs {
            text += &format!(
                "| {} | {:.4} | {:.4} | {:.4} | {:.4} |\n",
                it.epoch,
                it.train_loss,
                it.train_accuracy,
                it.validation_loss,
                it.validation_accuracy
            );
        }
        text += "\n";
        if run.is_synthetic() {
            text += self.synthetic;
        }
        text += &match &run.result {
            None => self.not_ended.to_owned(),
            Some(RunResult { test_accuracy: None, .. }) => self.not_tested.to_owned(),
            Some(RunResult {
                test_accuracy: Some(accuracy), tested_epoch, seed, device, ..
            }) => {
                let tested = self.tested.replace("ACCURACY", &format!("{accuracy:.4}"));
                let tested = tested.replace("EPOCH", &tested_epoch.to_string());
                tested.replace("SEED", &seed.to_string()).replace("DEVICE", device)
            }
        };
        text
    }
}

/// The item whose first line contains `part`, without indentation.
fn item(code: &str, part: &str) -> Result<String, String> {
    let lines: Vec<_> = code.lines().collect();
    let found: Vec<_> = (0..lines.len()).filter(|&line| lines[line].contains(part)).collect();
    let [first] = found[..] else {
        return Err(format!("`{part}` is in {} lines, not in one", found.len()));
    };
    let indent = lines[first].len() - lines[first].trim_start().len();
    let ends =
        |line: &&str| line.get(indent..).is_some_and(|end| matches!(end, "}" | "};" | "]" | "];"));
    let length = if lines[first].ends_with([';', '}']) {
        1
    } else {
        let last = lines[first..].iter().position(ends);
        last.ok_or(format!("`{part}` does not end"))? + 1
    };
    let dedented = lines[first..first + length]
        .iter()
        .map(|line| format!("{}\n", line.get(indent..).unwrap_or_default()));
    Ok(dedented.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::tests::published;

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
        assert_eq!(item(code, "fn d").unwrap(), "fn d() {}\n");
        assert!(item(code, "fn").unwrap_err().contains("2 lines"));
        assert!(item(code, "fn e").unwrap_err().contains("0 lines"));
        let text = "A\n<!-- code Cargo.toml `no such line` -->\n<!-- /code -->\n";
        assert!(with_excerpts(text).unwrap_err().contains("0 lines"));
    }

    #[test]
    fn a_result_is_told_in_both_languages() {
        let runs = tempfile::tempdir().unwrap();
        published(runs.path(), "d2l-nin", Some(0.8437));
        published(runs.path(), "d2l-vgg11", None);
        let result = |run: &str, language: &str| {
            let text = format!("A\n<!-- result {run} -->\nold\n<!-- /result -->\nB");
            with_result(&text, runs.path(), language).unwrap()
        };
        let english = result("d2l-nin", "en");
        assert!(english.starts_with("A\n<!-- result d2l-nin -->\n| epoch |"), "{english}");
        assert!(english.contains("\n| 1 | 0.5000 | 0.8000 | 0.4000 | 0.7500 |\n"), "{english}");
        assert!(english.contains("Test accuracy 0.8437, with the weights of epoch 1"), "{english}");
        assert!(english.ends_with("<!-- /result -->\nB") && !english.contains("old"), "{english}");
        assert!(result("d2l-nin", "zh").contains("测试精度 0.8437，用第 1 轮的权重"));
        assert!(result("d2l-vgg11", "en").contains("The run has not ended."));
        assert!(result("d2l-vgg11", "zh").contains("还没有结束"));
        assert!(result("d2l-alexnet", "en").contains("has not been trained yet"));
        let twice = "<!-- result a --><!-- /result --><!-- result b --><!-- /result -->";
        assert!(with_result(twice, runs.path(), "en").is_err());
        assert_eq!(with_result("A", runs.path(), "en").unwrap(), "A");
    }
}

//! The commands in the documents, as they are written there, but on little synthetic data.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use image::{ImageFormat, RgbImage};
use tempfile::TempDir;

use super::train;

/// The changes that shorten a training to one step.
const SHORT: [&str; 8] = [
    "device=flex",
    "data.source=synthetic",
    "data.limit=16",
    "data.validation=16",
    "batch_size=16",
    "epochs=1",
    "test=false",
    "schedule.warmup=",
];

/// Names the folder of the real images.
const IMAGES: &str = "FASHION_MNIST_DIR";

/// Commands that this test does not run, and why.
const NOT_RUN: [(&str, &str); 10] = [
    ("cargo test", "this is one of its tests"),
    ("cargo install", "downloads a program"),
    ("rustup", "installs a target of the compiler"),
    ("cargo xtask", "developer tasks: measurements, and training for hours"),
    ("cargo run -p xtask", "a measurement, with other features"),
    ("python", "PyTorch's side of a measurement"),
    ("--features", "a build with other features; CI has one"),
    ("--network resnet50", "needs weights of torchvision"),
    ("resume", "`resume.rs` tests interrupted runs"),
    ("watch", "`watch.rs` tests it"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// The documents that show commands.
fn documents() -> Vec<PathBuf> {
    let markdown = |folder: PathBuf| {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|it| it == "md")).collect::<Vec<_>>()
    };
    let folders = ["", "assets", "assets/weights", "assets/notes/en", "assets/notes/zh"]
        .map(|it| root().join(it));
    let crates = fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = folders.into_iter().chain(crates).flat_map(markdown).collect();
    all.sort();
    all
}

/// The lines of the blocks of `sh`, without comments, each with its document.
fn commands() -> Vec<(String, String)> {
    let mut commands = Vec::new();
    for path in documents() {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let text = fs::read_to_string(&path).unwrap().replace("\\\n", " ");
        let mut inside = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("```") {
                inside = line == "```sh";
            } else if inside {
                let command = line.split(" #").next().unwrap().trim();
                let words: Vec<_> = command.split_whitespace().collect();
                if !words.is_empty() {
                    commands.push((name.clone(), words.join(" ")));
                }
            }
        }
    }
    commands
}

/// The arguments of a short training in place of those of a long one.
fn shortened(arguments: &[String]) -> Vec<String> {
    let changes: Vec<_> = SHORT.iter().map(|change| change.split_once('=').unwrap().0).collect();
    let mut short = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match &argument[..] {
            "--epochs" | "--device" => drop(rest.next()),
            "--set" => {
                let set = rest.next().unwrap();
                if !changes.contains(&set.split('=').next().unwrap()) {
                    short.extend(["--set".to_owned(), set.clone()]);
                }
            }
            other => short.push(other.to_owned()),
        }
    }
    short.extend(SHORT.iter().flat_map(|change| ["--set".to_owned(), (*change).to_owned()]));
    short
}

/// Removes all runs but those that the commands name: large networks leave much behind.
fn remove_other_runs(folder: &Path) {
    for entry in fs::read_dir(folder.join("runs")).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("lenet_bn-1") && !path.ends_with("lenet_bn-2") {
            fs::remove_dir_all(path).unwrap();
        }
    }
}

/// Every command of the documents is run, trainings shortened, or is of a kind that is listed above.
#[test]
fn the_commands_in_the_documents_work() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path();
    for set in ["", "best", "cpu", "d2l"] {
        let to = folder.join("configs").join(set);
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(root().join("configs").join(set)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    let (weights, to) = (root().join("assets/weights"), folder.join("assets/weights"));
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(weights).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    RgbImage::new(40, 50).save_with_format(folder.join("photo.jpg"), ImageFormat::Jpeg).unwrap();
    let images = std::env::var_os(IMAGES);
    if images.is_none() {
        eprintln!("{IMAGES} is not set: commands that predict a test image are not run");
    }
    let succeeds = |arguments: &[String], command: &str| {
        let arguments: Vec<_> = arguments.iter().map(|it| &it[..]).collect();
        let mut program = train(&arguments);
        program.current_dir(folder);
        if let Some(images) = &images {
            program.env(IMAGES, images);
        }
        let output = program.output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command}\n{arguments:?}\n{message}");
    };
    // The runs that the commands name.
    for number in ["1", "2"] {
        let run = format!("runs/lenet_bn-{number}");
        succeeds(&shortened(&["--run-dir".to_owned(), run]), "the runs of the documents");
    }

    let (mut run, mut skipped) = (BTreeSet::new(), BTreeSet::new());
    for (document, command) in commands() {
        if let Some((kind, _)) = NOT_RUN.iter().find(|(part, _)| command.contains(part)) {
            skipped.insert(*kind);
            continue;
        }
        let arguments = command.strip_prefix("cargo run -p train").unwrap_or_else(|| {
            panic!("{document}: `{command}` is of no kind that this test knows")
        });
        let words = shlex::split(arguments.trim_start().trim_start_matches("--")).unwrap();
        let needs_images = words.iter().any(|word| word.parse::<usize>().is_ok())
            || words.iter().any(|word| word == "evaluate")
                && words.iter().any(|word| word == "--weights");
        if needs_images && images.is_none() || !run.insert(words.clone()) {
            continue;
        }
        let first = words.first().map_or("", |word| &word[..]);
        let trains = first.is_empty() || first.starts_with("--set") || first.ends_with(".toml");
        let arguments = if trains || first == "sweep" { shortened(&words) } else { words.clone() };
        succeeds(&arguments, &format!("{document}: {command}"));
        if trains || first == "sweep" {
            remove_other_runs(folder);
        }
    }
    assert!(run.len() >= 25, "{run:#?}");
    let kinds = NOT_RUN.iter().map(|(kind, _)| *kind).collect::<BTreeSet<_>>();
    assert_eq!(skipped, kinds, "kinds of commands that no document has");
}

/// The READMEs show a program of the crate's README, whose examples are doc tests.
#[test]
fn the_readmes_show_a_program_that_compiles() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let compiled = read("crates/models/README.md");
    for name in ["README.md", "README.zh-CN.md"] {
        let text = read(name);
        let program = text.split("```rust\n").nth(1).unwrap().split("```").next().unwrap();
        assert!(compiled.contains(&format!("```rust,no_run\n{program}```")), "{name}: {program}");
    }
}

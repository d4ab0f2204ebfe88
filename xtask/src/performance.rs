//! Writes `assets/performance.md` and its chart from the output of `bench train --json`.

use std::{
    env,
    fmt::Write as _,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use clap::Args;
use plotters::prelude::*;
use train::Error;

use crate::{
    assets::{self, cannot_write, grouped},
    bench::train::{Comparison, Measured, Row},
};

/// The command's arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Measures everything again, compared with the PyTorch of this Python interpreter. Takes most
    /// of an hour and needs an otherwise idle machine.
    #[arg(long, value_name = "PYTHON")]
    against: Option<PathBuf>,
}

/// A table of the page.
struct Section {
    title: &'static str,
    /// Whether both sides are limited to AVX2.
    avx2: bool,
    measurements: &'static [Measurement],
}

/// One call of `cargo xtask bench train`.
struct Measurement {
    /// The file's name in `assets/performance`, without the extension.
    name: &'static str,
    arguments: &'static str,
}

const fn measurement(name: &'static str, arguments: &'static str) -> Measurement {
    Measurement { name, arguments }
}

const SECTIONS: [Section; 3] = [
    Section {
        title: "Training",
        avx2: false,
        measurements: &[
            measurement("training-d2l", "--work training --preset d2l --compile"),
            measurement("training-small", "--work training --preset small"),
        ],
    },
    Section {
        title: "Prediction",
        avx2: false,
        measurements: &[
            measurement("prediction-d2l", "--work prediction --preset d2l"),
            measurement("prediction-small", "--work prediction --preset small"),
            measurement(
                "prediction-resnet50",
                "--work prediction --network resnet50 --preset imagenet",
            ),
        ],
    },
    Section {
        title: "With AVX2 on both sides",
        avx2: true,
        measurements: &[
            measurement("training-d2l-avx2", "--work training --preset d2l"),
            measurement("training-small-avx2", "--work training --preset small"),
            measurement(
                "prediction-resnet50-avx2",
                "--work prediction --network resnet50 --preset imagenet",
            ),
        ],
    },
];

/// The arguments of every measurement.
const ROUNDS: &str = "--device flex --rounds 3 --seconds 0.8";

/// The environment variables that limit both sides to AVX2.
const AVX2: [(&str, &str); 2] = [("CONVOLUTION_MAX_ISA", "avx2"), ("ONEDNN_MAX_CPU_ISA", "AVX2")];

/// Writes the page, after new measurements if `against` is given.
pub fn run(Arguments { against }: &Arguments) -> Result<(), Error> {
    if let Some(python) = against {
        for section in &SECTIONS {
            for measurement in section.measurements {
                measure(section, measurement, python)?;
            }
        }
    }
    let tables = read()?;
    for (name, content) in
        [("performance.md", page(&tables)), ("performance.svg", chart(&tables[0]))]
    {
        assets::write(&assets::folder().join(name), &content)?;
    }
    Ok(())
}

fn path(measurement: &Measurement) -> PathBuf {
    assets::folder().join("performance").join(measurement.name).with_extension("json")
}

fn measure(section: &Section, measurement: &Measurement, python: &Path) -> Result<(), Error> {
    let path = path(measurement);
    println!("measuring {}", path.display());
    let program = env::current_exe().map_err(|error| Error::Usage(error.to_string()))?;
    // A separate file: the old measurement stays until the new one is complete.
    let partial = path.with_extension("partial");
    let file = File::create(&partial).map_err(|source| cannot_write(&partial, source))?;
    let mut command = Command::new(program);
    command.args(["bench", "train", "--json"]).args(ROUNDS.split(' '));
    command.args(measurement.arguments.split(' ')).arg("--against").arg(python).stdout(file);
    if section.avx2 {
        command.envs(AVX2);
    }
    let failed = |why: String| Error::Training(format!("{}: {why}", measurement.name));
    let status = command.status().map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(failed("the measurement failed, for the reason above".to_owned()));
    }
    fs::rename(&partial, &path).map_err(|source| cannot_write(&path, source))
}

/// The rows of each section.
fn read() -> Result<Vec<Vec<Row>>, Error> {
    let section = |section: &Section| -> Result<Vec<Row>, Error> {
        let files = section.measurements.iter().map(|measurement| read_file(&path(measurement)));
        Ok(files.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    };
    SECTIONS.iter().map(section).collect()
}

fn read_file(path: &Path) -> Result<Vec<Row>, Error> {
    let usage = |why: &dyn std::fmt::Display| {
        Error::Usage(format!(
            "{}: {why}; `cargo xtask performance --against PYTHON` measures it",
            path.display()
        ))
    };
    let text = fs::read_to_string(path).map_err(|error| usage(&error))?;
    serde_json::from_str(&text).map_err(|error| usage(&error))
}

fn page(tables: &[Vec<Row>]) -> String {
    let mut text = String::from(
        "# Speed on the CPU, compared with PyTorch\n\n\
         Images per second of a training step (forward, cross entropy, backward, SGD with \
         momentum) and of prediction (batch normalization folded, in PyTorch by `torch.fx`'s \
         `fuse`), in f32, best of three rounds. Both sides take turns on an otherwise idle machine. \
         *Ratio* is how many times as fast this project is as PyTorch's faster memory layout, with \
         the lowest and the highest of the rounds in parentheses. *To compiled* is the same ratio \
         for `torch.compile`, without its compile time. *Memory* is the peak memory of each process \
         in MiB, for PyTorch with its faster layout. `cargo xtask performance` writes this page from \
         the files in [`performance`](performance); `cargo xtask performance --against PYTHON` \
         measures again.\n\n",
    );
    if let Some(row) = tables.iter().flatten().next() {
        text += &machine(row);
    }
    text += "\n![Training speed, compared with PyTorch](performance.svg)\n";
    for (section, rows) in SECTIONS.iter().zip(tables) {
        write!(text, "\n## {}\n\n", section.title).expect("a string");
        text += &table(rows);
        text += "\n```sh\n";
        for Measurement { name, arguments } in section.measurements {
            if section.avx2 {
                AVX2.iter().for_each(|(key, value)| text += &format!("{key}={value} "));
            }
            let file = format!("assets/performance/{name}.json");
            writeln!(
                text,
                "cargo xtask bench train {ROUNDS} {arguments} --against PYTHON --json > {file}"
            )
            .expect("a string");
        }
        text += "```\n";
    }
    text
}

/// The machine and the versions of both sides.
fn machine(row: &Row) -> String {
    let side = |Measured { introduction, .. }: &Measured| {
        let versions =
            introduction.versions.iter().map(|(what, version)| format!("{what} {version}"));
        versions.collect::<Vec<_>>().join(", ")
    };
    let ours = &row.measured.introduction;
    let model = ours.model.as_deref().unwrap_or(&ours.device);
    let mut text = format!("{model}, {} threads. {}", ours.threads, side(&row.measured));
    if let Some(other) = row.against.first() {
        write!(text, "; {}", side(&other.measured)).expect("a string");
    }
    text + ".\n"
}

/// The comparisons with `torch.compile` if `compiled`, else those without it.
fn comparisons(row: &Row, compiled: bool) -> impl Iterator<Item = &Comparison> + Clone {
    row.against.iter().filter(move |it| it.measured.program.contains("compiled") == compiled)
}

/// The comparison with the fastest variant of PyTorch.
fn fastest(row: &Row, compiled: bool) -> Option<&Comparison> {
    let best = |it: &&Comparison| it.measured.images_per_second.best;
    comparisons(row, compiled).max_by(|a, b| best(a).total_cmp(&best(b)))
}

fn table(rows: &[Row]) -> String {
    let is_compiled = rows.iter().any(|row| fastest(row, true).is_some());
    let mut text = String::from(
        "| network | pixels | batch | this project | PyTorch | PyTorch, channels last | ratio | memory |",
    );
    if is_compiled {
        text += " compiled | to compiled |";
    }
    text += "\n|---|---|---|---|---|---|---|---|";
    if is_compiled {
        text += "---|---|";
    }
    text += "\n";
    let ratio = |Comparison { ratio, ratios: [lowest, highest], .. }: &Comparison| {
        format!("**{ratio:.2}** ({lowest:.2} to {highest:.2})")
    };
    let is_mixed = rows.iter().any(|row| row.work != rows[0].work);
    for row in rows {
        let work = if is_mixed { format!(", {}", row.work.name()) } else { String::new() };
        let mut cells = vec![
            format!("{} `{}`{work}", row.network, row.preset),
            row.size.to_string(),
            row.batch.to_string(),
            rate(&row.measured),
        ];
        for is_last in [false, true] {
            let mut eager = comparisons(row, false);
            let found = eager.find(|it| it.measured.program.contains("channels last") == is_last);
            cells.push(found.map(|it| rate(&it.measured)).unwrap_or_default());
        }
        let eager = fastest(row, false);
        cells.push(eager.map(ratio).unwrap_or_default());
        let memory = |it: Option<&Measured>| {
            it.and_then(|it| it.peak_memory_mib).map_or("-".to_owned(), |mib| format!("{mib:.0}"))
        };
        let theirs = eager.map(|it| &it.measured);
        cells.push(format!("{} / {}", memory(Some(&row.measured)), memory(theirs)));
        if is_compiled {
            let compiled = fastest(row, true);
            cells.push(compiled.map(|it| rate(&it.measured)).unwrap_or_default());
            cells.push(compiled.map(ratio).unwrap_or_default());
        }
        writeln!(text, "| {} |", cells.join(" | ")).expect("a string");
    }
    text
}

fn rate(measured: &Measured) -> String {
    let best = measured.images_per_second.best;
    if best < 1000.0 { format!("{best:.1}") } else { grouped(best) }
}

const WIDTH: u32 = 960;
const LEFT: i32 = 190;
const ROW: i32 = 40;
const BAR: i32 = 14;
const TOP: i32 = 56;

/// Two bars for each network; PyTorch's faster layout is 1.
fn chart(rows: &[Row]) -> String {
    let height = TOP + ROW * rows.len() as i32 + 16;
    let ratios = rows.iter().filter_map(|row| fastest(row, false)).map(|it| it.ratio);
    let most = ratios.fold(1.0, f64::max) * 1.1;
    let x = |ratio: f64| LEFT + (ratio / most * f64::from(WIDTH as i32 - LEFT - 60)) as i32;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height as u32)).into_drawing_area();
        let draw = || -> Result<(), Box<dyn std::error::Error>> {
            area.fill(&WHITE)?;
            let text = |text: String, at: (i32, i32), size: f64| {
                area.draw(&Text::new(text, at, ("sans-serif", size)))
            };
            let bar = |from: i32, to: f64, color: &RGBColor| {
                area.draw(&Rectangle::new([(LEFT, from), (x(to), from + BAR)], color.filled()))
            };
            text(
                "Training steps: images per second, PyTorch's faster layout = 1".to_owned(),
                (16, 10),
                18.0,
            )?;
            for (color, label, at) in
                [(OURS, "this project", LEFT), (THEIRS, "PyTorch, eager", LEFT + 140)]
            {
                area.draw(&Rectangle::new([(at, 36), (at + 12, 48)], color.filled()))?;
                text(label.to_owned(), (at + 18, 34), 14.0)?;
            }
            for (index, row) in rows.iter().enumerate() {
                let Some(eager) = fastest(row, false) else { continue };
                let y = TOP + ROW * index as i32 + 4;
                text(format!("{} {}", row.network, row.preset), (16, y + 6), 15.0)?;
                bar(y, eager.ratio, &OURS)?;
                bar(y + BAR + 1, 1.0, &THEIRS)?;
                text(format!("{:.2}", eager.ratio), (x(eager.ratio) + 6, y), 14.0)?;
            }
            area.present()?;
            Ok(())
        };
        draw().expect("a string takes every drawing");
    }
    svg
}

const OURS: RGBColor = RGBColor(0x00, 0x72, 0xb2);
const THEIRS: RGBColor = RGBColor(0xbb, 0xbb, 0xbb);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_its_files_say() {
        let tables = read().unwrap();
        let written = |name| fs::read_to_string(assets::folder().join(name)).unwrap();
        assert_eq!(page(&tables), written("performance.md"));
        assert_eq!(chart(&tables[0]), written("performance.svg"));
    }
}

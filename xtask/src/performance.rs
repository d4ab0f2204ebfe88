//! Writes `assets/performance.md` and its chart from the output of `bench train --json`. Each folder
//! of `assets/performance` has the figures of one machine.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use plotters::prelude::*;
use train::Error;

use crate::{
    assets::{self, cannot_write, grouped},
    bench::train::{Comparison, Measured, Row},
    child,
};

/// The command's arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Measures everything again, compared with the PyTorch of this Python interpreter. Takes most
    /// of an hour and needs an otherwise idle machine.
    #[arg(long, value_name = "PYTHON", requires = "machine")]
    against: Option<PathBuf>,

    /// The folder in assets/performance for the figures of this machine.
    #[arg(long, value_name = "NAME", requires = "against")]
    machine: Option<String>,
}

/// The figures of one machine.
struct Machine {
    /// The name of its folder.
    name: String,
    /// The rows of each section; none if it was not measured.
    tables: Vec<Vec<Row>>,
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
pub fn run(Arguments { against, machine }: &Arguments) -> Result<(), Error> {
    if let (Some(python), Some(machine)) = (against, machine) {
        let folder = folder().join(machine);
        fs::create_dir_all(&folder).map_err(|source| cannot_write(&folder, source))?;
        for section in &SECTIONS {
            for measurement in section.measurements {
                measure(section, measurement, python, &folder)?;
            }
        }
    }
    let machines = read()?;
    for (name, content) in
        [("performance.md", page(&machines)), ("performance.svg", chart(&machines))]
    {
        assets::write(&assets::folder().join(name), &content)?;
    }
    Ok(())
}

/// The folder of all machines.
fn folder() -> PathBuf {
    assets::folder().join("performance")
}

fn measure(
    section: &Section,
    measurement: &Measurement,
    python: &Path,
    folder: &Path,
) -> Result<(), Error> {
    let path = folder.join(measurement.name).with_extension("json");
    println!("measuring {}", path.display());
    let arguments = ["bench", "train", "--json"].into_iter();
    let arguments = arguments.chain(ROUNDS.split(' ')).chain(measurement.arguments.split(' '));
    let mut arguments: Vec<String> = arguments.map(str::to_owned).collect();
    arguments.extend(["--against".to_owned(), python.display().to_string()]);
    let environment = if section.avx2 { &AVX2[..] } else { &[] };
    child::write_output(&arguments, environment, &path, None)
        .map_err(|why| Error::Training(format!("{}: {why}", measurement.name)))
}

/// Reads the figures of all machines.
fn read() -> Result<Vec<Machine>, Error> {
    let folder = folder();
    let entries = fs::read_dir(&folder).map_err(|error| unreadable(&folder, &error))?;
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders.iter().map(|folder| Machine::read(folder)).collect()
}

impl Machine {
    fn read(folder: &Path) -> Result<Self, Error> {
        let table = |section: &Section| -> Result<Vec<Row>, Error> {
            let paths = section.measurements.iter();
            let paths = paths.map(|it| folder.join(it.name).with_extension("json"));
            let files = paths.filter(|path| path.exists()).map(|path| read_file(&path));
            Ok(files.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        };
        let tables = SECTIONS.iter().map(table).collect::<Result<_, _>>()?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, tables })
    }

    /// The processor and its threads.
    fn title(&self) -> String {
        let Some(row) = self.tables.iter().flatten().next() else { return self.name.clone() };
        let ours = &row.measured.introduction;
        let model = ours.model.as_deref().unwrap_or(&ours.device);
        format!("{model}, {} threads", ours.threads)
    }
}

fn read_file(path: &Path) -> Result<Vec<Row>, Error> {
    let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    serde_json::from_str(&text).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::Usage(format!(
        "{}: {why}; `cargo xtask performance --against PYTHON --machine NAME` measures it",
        path.display()
    ))
}

fn page(machines: &[Machine]) -> String {
    let mut text = String::from(
        "# Speed on the CPU, compared with PyTorch\n\n\
         Images per second of a training step (forward, cross entropy, backward, SGD with \
         momentum) and of prediction (batch normalization folded, in PyTorch by `torch.fx`'s \
         `fuse`), in f32, best of three rounds. Both sides take turns on an otherwise idle machine. \
         *Ratio* is how many times as fast this project is as PyTorch's faster memory layout, with \
         the lowest and the highest of the rounds in parentheses. *To compiled* is the same ratio \
         for `torch.compile`, without its compile time. *Memory* is the peak memory of each process \
         in MiB, for PyTorch with its faster layout. `cargo xtask performance` writes this page from \
         the files in [`performance`](performance), in which each machine has a folder; `cargo xtask \
         performance --against PYTHON --machine NAME` measures again.\n\n\
         ![Training speed, compared with PyTorch](performance.svg)\n",
    );
    for machine in machines {
        let Some(row) = machine.tables.iter().flatten().next() else { continue };
        write!(text, "\n## {}\n\n{}", machine.title(), versions(row)).expect("a string");
        for (section, rows) in SECTIONS.iter().zip(&machine.tables) {
            if rows.is_empty() {
                continue;
            }
            write!(text, "\n### {}\n\n", section.title).expect("a string");
            text += &table(rows);
        }
    }
    text += "\n## The commands\n\n```sh\n";
    for section in &SECTIONS {
        for Measurement { name, arguments } in section.measurements {
            if section.avx2 {
                AVX2.iter().for_each(|(key, value)| text += &format!("{key}={value} "));
            }
            writeln!(
                text,
                "cargo xtask bench train {ROUNDS} {arguments} --against PYTHON --json > {name}.json"
            )
            .expect("a string");
        }
    }
    text + "```\n"
}

/// The versions of both sides.
pub fn versions(row: &Row) -> String {
    let side = |Measured { introduction, .. }: &Measured| {
        let versions =
            introduction.versions.iter().map(|(what, version)| format!("{what} {version}"));
        versions.collect::<Vec<_>>().join(", ")
    };
    let mut text = side(&row.measured);
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

/// The figures of several networks, in Markdown.
pub fn table(rows: &[Row]) -> String {
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
const BAR: i32 = 14;
const TOP: i32 = 56;

/// For each network a bar for each machine; PyTorch's faster layout on the same machine is 1.
fn chart(machines: &[Machine]) -> String {
    let mut networks: Vec<String> = Vec::new();
    let label = |row: &Row| format!("{} {}", row.network, row.preset);
    for row in machines.iter().flat_map(|machine| &machine.tables[0]) {
        if !networks.contains(&label(row)) {
            networks.push(label(row));
        }
    }
    let ratio = |machine: &Machine, network: &str| {
        let row = machine.tables[0].iter().find(|row| label(row) == network)?;
        Some(fastest(row, false)?.ratio)
    };
    let measured = || machines.iter().filter(|machine| !machine.tables[0].is_empty()).zip(COLORS);
    let all = measured().flat_map(|(machine, _)| networks.iter().map(|it| ratio(machine, it)));
    let most = all.flatten().fold(1.0, f64::max) * 1.1;
    let x = |ratio: f64| LEFT + (ratio / most * f64::from(WIDTH as i32 - LEFT - 60)) as i32;
    let row_height = BAR * (measured().count() as i32 + 1) + 12;
    let height = TOP + row_height * networks.len() as i32 + 16;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height as u32)).into_drawing_area();
        let draw = || -> Result<(), Box<dyn std::error::Error>> {
            area.fill(&WHITE)?;
            let text = |text: String, at: (i32, i32), size: f64| {
                area.draw(&Text::new(text, at, ("sans-serif", size)))
            };
            let bar = |from: i32, to: f64, color: &RGBColor| {
                let corners = [(LEFT, from), (x(to), from + BAR - 1)];
                area.draw(&Rectangle::new(corners, color.filled()))
            };
            text(
                "Training steps: images per second, PyTorch's faster layout = 1".to_owned(),
                (16, 10),
                18.0,
            )?;
            let labels = measured().map(|(machine, color)| (machine.title(), color));
            for (index, (label, color)) in
                labels.chain([("PyTorch, eager".to_owned(), THEIRS)]).enumerate()
            {
                let at = LEFT + 250 * index as i32;
                area.draw(&Rectangle::new([(at, 36), (at + 12, 48)], color.filled()))?;
                text(label, (at + 18, 34), 14.0)?;
            }
            for (index, network) in networks.iter().enumerate() {
                let mut y = TOP + row_height * index as i32 + 4;
                text(network.clone(), (16, y + 6), 15.0)?;
                for (machine, color) in measured() {
                    if let Some(ratio) = ratio(machine, network) {
                        bar(y, ratio, &color)?;
                        text(format!("{ratio:.2}"), (x(ratio) + 6, y - 1), 14.0)?;
                    }
                    y += BAR;
                }
                bar(y, 1.0, &THEIRS)?;
            }
            area.present()?;
            Ok(())
        };
        draw().expect("a string takes every drawing");
    }
    svg
}

/// The bars of the machines, and of PyTorch.
const COLORS: [RGBColor; 3] =
    [RGBColor(0x00, 0x72, 0xb2), RGBColor(0xd5, 0x5e, 0x00), RGBColor(0x00, 0x85, 0x5f)];
const THEIRS: RGBColor = RGBColor(0xbb, 0xbb, 0xbb);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_its_files_say() {
        let machines = read().unwrap();
        assert!(!machines.is_empty());
        let written = |name| fs::read_to_string(assets::folder().join(name)).unwrap();
        assert_eq!(page(&machines), written("performance.md"));
        assert_eq!(chart(&machines), written("performance.svg"));
    }
}

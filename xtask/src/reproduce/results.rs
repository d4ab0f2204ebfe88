//! The results of the runs: a table in Markdown, and a chart.

use std::{collections::BTreeMap, error, fmt::Write, path::Path};

use fashion_mnist::Source;
use plotters::{coord::Shift, prelude::*};
use train::{
    Error,
    run::{RunFiles, record::RunResult},
};

use super::experiment::{D2L, Experiment, Run, ZALANDO};
use crate::assets::{self, grouped};

/// Size of the chart in pixels.
const SIZE: (u32, u32) = (960, 600);

/// Lower validation accuracies are not drawn: they would compress the scale of all others.
const LOWEST: f64 = 0.7;

/// Distinct from each other and readable on white; as many as the larger set has configs.
const COLORS: [RGBColor; 8] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x85, 0x5f),
    RGBColor(0xc2, 0x64, 0x9a),
    RGBColor(0x8a, 0x6d, 0x00),
    RGBColor(0x3c, 0x3c, 0x3c),
    RGBColor(0x3a, 0x93, 0xd0),
    RGBColor(0x7b, 0x3f, 0xb5),
];

/// An experiment and the contents of its run's folder.
type Row<'a> = (&'a Experiment, Run);

/// Writes `reproduce.md` and, if an epoch was trained, `reproduce.svg`, from the folders of the
/// experiments' runs in `runs`.
pub fn write(experiments: &[Experiment], runs: &Path, folder: &Path) -> Result<(), Error> {
    let read = |it| Ok((it, Run::read(&runs.join(Experiment::name(it)), &it.config)?));
    let rows = experiments.iter().map(read).collect::<Result<Vec<Row>, Error>>()?;

    let mut markdown = table(&rows);
    let chart = chart(&rows).map(|svg| ("reproduce.svg", svg));
    if chart.is_some() {
        write!(
            markdown,
            "\n![Validation accuracy by epoch](reproduce.svg)\n\n\
             Validation accuracy by epoch, from {LOWEST} on; thin lines are those of `d2l`, thick \
             ones this project's own recipes.\n"
        )
        .expect("a string");
    }
    for (name, content) in [("reproduce.md", markdown)].into_iter().chain(chart) {
        assets::write(&folder.join(name), &content)?;
    }
    Ok(())
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "# Reproduction\n\n\
         Written by `cargo xtask reproduce`. `d2l` are the recipes of Dive into Deep Learning \
         ([`configs/d2l`](../configs/d2l)). This project's own are `cpu`, for a few minutes of a CPU \
         ([`configs/cpu`](../configs/cpu)), and `best` ([`configs/best`](../configs/best)). The \
         cheapest comes first. Each trains on 55,000 images \
         of Fashion-MNIST, with 5,000 held out for validation, and is tested once on the 10,000 test \
         images.\n\n\
         | set | network | parameters | epochs | test accuracy | to beat | images/s | minutes \
         | device | images |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        text += &line(row);
    }
    write!(
        text,
        "\nAn accuracy in bold is above the figure to beat. {D2L}: Dive into Deep Learning, median of \
         its notebooks' accuracies. {ZALANDO}: Zalando's table, submitted, not verified there. \
         Images/s are those of the training alone; minutes are of training, validation and test. \
         Both are lower than the machine's where other programs ran at the same time; \
         [performance.md](performance.md) has the speed of each network. The runs are in \
         [`runs`](runs): config, epochs and result. `cargo xtask reproduce --network NAME` trains \
         a network, on a GPU if there is one.\n"
    )
    .expect("a string");
    text
}

/// A row of the table.
fn line((experiment, run): &Row) -> String {
    let Experiment { set, config, epochs, .. } = experiment;
    let result = run.result();
    let to_beat = experiment.to_beat();

    let accuracy = match result {
        None if run.files.is_none() => "not trained yet".to_owned(),
        None => format!("not finished: {} of {epochs} epochs", run.epochs().len()),
        Some(RunResult { test_accuracy: None, .. }) => "not tested".to_owned(),
        Some(RunResult { test_accuracy: Some(tested), .. }) => {
            let accuracy = share(*tested, 4);
            let beats = to_beat.is_some_and(|(figure, _)| *tested > figure);
            if beats && !run.is_synthetic() { format!("**{accuracy}**") } else { accuracy }
        }
    };
    let epochs = match result {
        Some(result) if result.epochs != *epochs => format!("{} of {epochs}", result.epochs),
        _ => epochs.to_string(),
    };
    let cells = [
        (*set).to_owned(),
        config.network.to_string(),
        grouped(experiment.parameters as f64),
        epochs,
        accuracy + run.remark(),
        to_beat
            .map(|(figure, source)| format!("{} ({source})", share(figure, 3)))
            .unwrap_or_default(),
        result.map(|result| grouped(result.train_images_per_second)).unwrap_or_default(),
        result.map(|result| format!("{:.1}", result.seconds / 60.0)).unwrap_or_default(),
        match run.files.as_ref().and_then(RunFiles::device) {
            Some((name, Some(model))) => format!("{name} ({model})"),
            Some((name, None)) => name.to_owned(),
            None => String::new(),
        },
        match run.files.as_ref().and_then(RunFiles::data_source) {
            Some(Source::Synthetic) => "SYNTHETIC".to_owned(),
            // Without the path, which is local to this machine.
            Some(Source::FashionMnist(_)) => "Fashion-MNIST".to_owned(),
            None => String::new(),
        },
    ];
    format!("| {} |\n", cells.join(" | "))
}

/// Formats a share from 0 to 1 as the papers do: `.881`.
fn share(share: f64, decimals: usize) -> String {
    format!("{share:.decimals$}").trim_start_matches('0').to_owned()
}

/// Draws the validation accuracy of each run as SVG; returns `None` if no epoch was trained.
fn chart(rows: &[Row]) -> Option<String> {
    let epochs = rows.iter().flat_map(|(_, run)| run.epochs());
    let last = epochs.map(|epoch| epoch.epoch).max()?;
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    draw(&area, rows, last as f64).expect("a string takes every drawing");
    drop(area);
    Some(svg)
}

fn draw(
    area: &DrawingArea<SVGBackend, Shift>,
    rows: &[Row],
    last: f64,
) -> Result<(), Box<dyn error::Error>> {
    area.fill(&WHITE)?;
    // A logarithmic axis, because runs have between ten and two hundred epochs.
    let ticks = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0];
    let last = last.max(10.0);
    let ticks = ticks.into_iter().filter(|tick| *tick <= last).collect();
    let epochs = (1.0..last).log_scale().with_key_points(ticks);
    let mut chart = ChartBuilder::on(area)
        .margin(20)
        .x_label_area_size(50)
        .y_label_area_size(60)
        .build_cartesian_2d(epochs, LOWEST..1.0)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(0xdd, 0xdd, 0xdd))
        .label_style(("sans-serif", 18))
        .x_desc("epoch")
        .y_labels(7)
        .x_label_formatter(&|epoch| format!("{epoch:.0}"))
        .y_label_formatter(&|accuracy| share(*accuracy, 2))
        .draw()?;

    // Each config of a set has its own color, even if it did not run.
    let mut numbers = BTreeMap::<_, usize>::new();
    for (experiment, run) in rows {
        let number = numbers.entry(experiment.set).or_default();
        let width = if experiment.set == "d2l" { 2 } else { 4 };
        let style = COLORS[*number % COLORS.len()].stroke_width(width);
        *number += 1;

        let points = run.epochs().iter().map(|it| (it.epoch as f64, it.validation_accuracy));
        let points: Vec<_> = points.filter(|(_, accuracy)| *accuracy >= LOWEST).collect();
        if run.epochs().is_empty() {
            continue;
        }
        let marks = match (run.result(), run.is_synthetic()) {
            (None, false) => ", not finished",
            (None, true) => ", not finished, SYNTHETIC",
            (Some(_), false) => "",
            (Some(_), true) => ", SYNTHETIC",
        };
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(format!("{} {}{marks}", experiment.set, experiment.config.network))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .margin(10)
        .background_style(WHITE)
        .border_style(RGBColor(0xdd, 0xdd, 0xdd))
        .label_font(("sans-serif", 16))
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use std::fs;

    use train::{
        run::record::Environment,
        training::{Epoch, Seconds},
    };

    use super::*;
    use crate::reproduce::experiment::experiments;

    pub fn epoch(epoch: usize, validation_accuracy: f64) -> Epoch {
        Epoch {
            epoch,
            step: 430 * epoch,
            train_loss: 0.5,
            train_accuracy: 0.8,
            validation_loss: 0.4,
            validation_accuracy,
            learning_rate: 0.1,
            gradient_norm: 1.0,
            weight_norm: 10.0,
            images_per_second: 5000.0,
            seconds: Seconds::default(),
            resident_memory: None,
        }
    }

    pub fn environment(device: &str, model: Option<&str>, data_source: Source) -> Environment {
        Environment {
            train: "0.1.0".to_owned(),
            burn: "0.22.1".to_owned(),
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            threads: 2,
            device: device.to_owned(),
            backend: "flex".to_owned(),
            device_model: model.map(str::to_owned),
            data_source,
        }
    }

    pub fn result(environment: &Environment, epochs: usize, test_accuracy: f64) -> RunResult {
        RunResult {
            network: "lenet_bn".to_owned(),
            preset: "d2l".to_owned(),
            parameters: 44_878,
            device: environment.device.clone(),
            backend: environment.backend.clone(),
            device_model: environment.device_model.clone(),
            data_source: environment.data_source.clone(),
            epochs,
            stopped: None,
            seed: 0,
            tested_epoch: epochs,
            validation_accuracy: test_accuracy,
            validation_loss: 0.3,
            test_accuracy: Some(test_accuracy),
            test_loss: Some(0.3),
            train_images_per_second: 5432.1,
            seconds: 330.0,
        }
    }

    /// Writes a folder like that of a `train` run with this config.
    pub fn fabricate(
        runs: &Path,
        experiment: &Experiment,
        environment: &Environment,
        accuracies: &[f64],
        result: Option<RunResult>,
    ) {
        let dir = runs.join(experiment.name());
        fs::create_dir(&dir).unwrap();
        fs::copy(&experiment.path, dir.join("config.toml")).unwrap();
        let json = |value: &Environment| serde_json::to_string_pretty(value).unwrap();
        fs::write(dir.join("environment.json"), json(environment)).unwrap();
        let mut lines = String::new();
        for (index, accuracy) in accuracies.iter().enumerate() {
            lines += &serde_json::to_string(&epoch(index + 1, *accuracy)).unwrap();
            lines += "\n";
        }
        // The run was interrupted while it wrote a line.
        lines += "{\"epoch\":";
        fs::write(dir.join("metrics.jsonl"), lines).unwrap();
        if let Some(result) = result {
            fs::write(dir.join("result.json"), serde_json::to_string_pretty(&result).unwrap())
                .unwrap();
        }
    }

    /// Parameters and figures to beat come from the papers and the book.
    #[test]
    fn the_table_tells_what_ended_what_did_not_and_what_did_not_run() {
        let all = experiments().unwrap();
        let find = |name: &str| all.iter().find(|it| it.name() == name).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path();

        let real = environment("flex", None, Source::FashionMnist("/somewhere/synthetic".into()));
        let best = find("best-lenet_bn");
        fabricate(runs, best, &real, &[0.8; 3], Some(result(&real, best.epochs, 0.90012)));
        let gpu = environment("wgpu:0", Some("Some GPU"), Source::Synthetic);
        fabricate(runs, find("d2l-resnet18"), &gpu, &[0.75, 0.85], None);
        // Another experiment's config, as if the config had changed.
        fabricate(runs, find("d2l-lenet"), &gpu, &[0.99], Some(result(&gpu, 7, 0.99)));
        fs::copy(&best.path, runs.join("d2l-lenet/config.toml")).unwrap();

        write(&all, runs, runs).unwrap();
        let markdown = fs::read_to_string(runs.join("reproduce.md")).unwrap();
        let row = |start: &str| markdown.lines().find(|line| line.starts_with(start)).unwrap();
        assert_eq!(
            row("| best | lenet_bn |"),
            format!(
                "| best | lenet_bn | 44,878 | {} | **.9001** | .843 (D2L) | 5,432 | 5.5 | flex | \
                 Fashion-MNIST |",
                best.epochs
            )
        );
        assert_eq!(
            row("| d2l | resnet18 |"),
            "| d2l | resnet18 | 11,178,378 | 10 | not finished: 2 of 10 epochs | .913 (D2L) |  |  | \
             wgpu:0 (Some GPU) | SYNTHETIC |"
        );
        assert_eq!(
            row("| d2l | lenet |"),
            "| d2l | lenet | 61,706 | 7 of 10 | .9900, with a config that has changed since |  | \
             5,432 | 5.5 | wgpu:0 (Some GPU) | SYNTHETIC |"
        );
        assert_eq!(
            row("| d2l | nin |"),
            "| d2l | nin | 1,992,166 | 10 | not trained yet | .844 (D2L) |  |  |  |  |"
        );
        let rows = markdown.lines().filter(|line| line.starts_with("| d2l |"));
        assert_eq!(rows.count(), 8);
        assert!(!markdown.contains("/somewhere"));

        let svg = fs::read_to_string(runs.join("reproduce.svg")).unwrap();
        for legend in
            ["best lenet_bn\n", "d2l lenet, SYNTHETIC\n", "d2l resnet18, not finished, SYNTHETIC\n"]
        {
            assert!(svg.contains(legend), "{legend}");
        }
        assert!(!svg.contains("nin"));
    }

    #[test]
    fn without_a_run_there_is_no_chart() {
        let folder = tempfile::tempdir().unwrap();
        write(&experiments().unwrap(), &folder.path().join("runs"), folder.path()).unwrap();
        let markdown = fs::read_to_string(folder.path().join("reproduce.md")).unwrap();
        assert_eq!(markdown.matches("not trained yet").count(), 17);
        assert!(!markdown.contains("reproduce.svg"));
        assert!(!folder.path().join("reproduce.svg").exists());
    }
}

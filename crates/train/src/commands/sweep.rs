use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{report::write_comparison, train::start};
use crate::{
    Config, Error,
    cli::{SweepArgs, describe},
    progress::say,
    record::RunResult,
    run_dir::cannot_write,
    stop::Stop,
};

/// Trains with every combination of some values, one run after the other.
pub(crate) fn sweep(args: &SweepArgs) -> Result<(), Error> {
    let axes = args.overrides.iter().map(|set| axis(set)).collect::<Result<Vec<_>, _>>()?;
    // All configs are read before the first run begins.
    let configs = combinations(&axes).into_iter().map(|set| {
        let overrides: Vec<_> =
            set.iter().map(|set| (format!("--set {set}"), set.clone())).collect();
        Config::load(Some(&args.config), &overrides).map(|config| (set, config))
    });
    let configs = configs.collect::<Result<Vec<_>, Error>>()?;
    let folder = folder(args.out.as_deref())?;
    let stop = Stop::at_ctrl_c();

    let mut rows: Vec<(Vec<String>, PathBuf, Result<RunResult, Error>)> = Vec::new();
    for (number, (set, config)) in configs.iter().enumerate() {
        say(format_args!("run {} of {}: {}", number + 1, configs.len(), set.join(" ")));
        let run = folder.join(format!("{}", number + 1));
        // A device without memory panics; the next run may take less.
        let start = || start(config, Some(&run), args.data_dir.as_deref(), &stop);
        let result =
            catch_unwind(AssertUnwindSafe(start)).unwrap_or_else(|panic| Err(describe(&*panic)));
        match &result {
            // Told at the end.
            Err(Error::Stopped(_)) => {}
            Err(error) => eprintln!("error: {error}\n"),
            Ok(_) => say(format_args!("")),
        }
        // It would be the same for all that follow.
        let over = matches!(result, Err(Error::Stopped(_) | Error::Data(_)));
        rows.push((set.clone(), run, result));
        if over {
            break;
        }
    }

    write(&folder, &rows)?;
    say(format_args!("{:>4}  {:>8}  {:>8}  {:>7}  values", "run", "accuracy", "loss", "seconds"));
    for (number, (set, _, result)) in rows.iter().enumerate() {
        let [accuracy, loss, seconds] = match result {
            Ok(result) => [
                format!("{:.4}", result.test_accuracy),
                format!("{:.4}", result.test_loss),
                format!("{:.0}", result.seconds),
            ],
            Err(_) => ["failed", "", ""].map(str::to_owned),
        };
        let number = number + 1;
        say(format_args!("{number:>4}  {accuracy:>8}  {loss:>8}  {seconds:>7}  {}", set.join(" ")));
    }
    say(format_args!("all of it in {}", folder.join("report.html").display()));
    let failed = rows.iter().filter(|(.., result)| result.is_err()).count();
    match rows.into_iter().find_map(|(.., result)| match result {
        Err(error @ Error::Stopped(_)) => Some(error),
        _ => None,
    }) {
        Some(stopped) => Err(stopped),
        None if failed > 0 => {
            Err(Error::Training(format!("{failed} of {} runs failed", configs.len())))
        }
        None => Ok(()),
    }
}

/// `sweep.json`, and the page that compares the runs.
fn write(
    folder: &Path,
    rows: &[(Vec<String>, PathBuf, Result<RunResult, Error>)],
) -> Result<(), Error> {
    let values = rows.iter().map(|(set, run, result)| {
        json!({
            "run": run.file_name().map(|name| name.to_string_lossy().into_owned()),
            "set": set,
            "result": result.as_ref().ok(),
            "error": result.as_ref().err().map(ToString::to_string),
        })
    });
    let path = folder.join("sweep.json");
    let text = format!("{:#}\n", values.collect::<serde_json::Value>());
    fs::write(&path, text).map_err(|source| cannot_write(&path, source))?;
    let runs: Vec<PathBuf> = rows.iter().map(|(_, run, _)| run.clone()).collect();
    let runs: Vec<PathBuf> =
        runs.into_iter().filter(|run| run.join("config.toml").exists()).collect();
    write_comparison(&runs, &folder.join("report.html"))
}

fn folder(out: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(out) = out {
        if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
            let why = format!("the folder {} is not empty: choose a new one", out.display());
            return Err(Error::Usage(why));
        }
        fs::create_dir_all(out).map_err(|source| cannot_write(out, source))?;
        return Ok(out.to_owned());
    }
    let runs = Path::new("runs");
    fs::create_dir_all(runs).map_err(|source| cannot_write(runs, source))?;
    let mut paths = (1..).map(|number| runs.join(format!("sweep-{number}")));
    let path = paths.find(|path| !path.exists()).expect("there is always a next number");
    fs::create_dir(&path).map_err(|source| cannot_write(&path, source))?;
    Ok(path)
}

/// `KEY=A,B` as its assignments, `KEY=A` and `KEY=B`. Commas within brackets or quotes belong to a
/// value.
fn axis(set: &str) -> Result<Vec<String>, Error> {
    let (key, values) = set.split_once('=').ok_or_else(|| {
        Error::Usage(format!("--set {set}: expected KEY=VALUE,VALUE,... such as seed=0,1,2"))
    })?;
    let (mut depth, mut quoted) = (0usize, false);
    let parts = values.split(|character| {
        match character {
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0 && !quoted
    });
    Ok(parts.map(|value| format!("{key}={}", value.trim())).collect())
}

/// One of each axis, in all ways; the last axis changes fastest.
fn combinations(axes: &[Vec<String>]) -> Vec<Vec<String>> {
    axes.iter().fold(vec![Vec::new()], |all, axis| {
        let with =
            |set: &Vec<String>, value: &String| [&set[..], std::slice::from_ref(value)].concat();
        all.iter()
            .flat_map(|set| axis.iter().map(|value| with(set, value)).collect::<Vec<_>>())
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_is_trained_once() {
        let axes = [axis("seed=0,1").unwrap(), axis("schedule.milestones=[0.5, 0.75],[]").unwrap()];
        let expected = [
            ["seed=0", "schedule.milestones=[0.5, 0.75]"],
            ["seed=0", "schedule.milestones=[]"],
            ["seed=1", "schedule.milestones=[0.5, 0.75]"],
            ["seed=1", "schedule.milestones=[]"],
        ];
        assert_eq!(combinations(&axes), expected);
        assert!(axis("seed").unwrap_err().to_string().contains("seed=0,1,2"));
    }
}

//! The command `sweep`: trains with every combination of some values.

use std::{
    fs::{self, File},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use clap::Args;

use crate::{
    Error,
    output::say,
    report,
    run::{
        execute::{Ended, resume, start},
        files::{self, is_run},
        folder::{LOCK, RunDir, cannot_write, holds_other_than, lock, write_whole},
        record::RunResult,
    },
    stop::Stop,
    sweep::{About, Mean, Plan, Planned, Record, Row, Spread},
    training::describe,
};

/// What to train, and what to vary.
#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// The config file.
    pub config: PathBuf,

    /// The values of one key, such as optimizer.learning_rate=0.1,0.5 or seed=0,1,2; an empty value
    /// removes the key. A value may be a section, for example to give each optimizer its own
    /// learning rate:
    /// 'optimizer={name="sgd",learning_rate=0.1},{name="adamw",learning_rate=0.002}'. May be
    /// repeated.
    #[arg(long = "set", value_name = "KEY=VALUE,...", required = true)]
    pub overrides: Vec<String>,

    /// The folder for the runs: a new one, or that of this sweep to resume it [default:
    /// runs/sweep-NUMBER].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Tests the setting with the best validation accuracy, with all of its seeds; otherwise
    /// nothing is tested.
    #[arg(long)]
    pub test_best: bool,

    /// The folder of Fashion-MNIST's four files [default: FASHION_MNIST_DIR, or the user's cache].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// The file with the definition of the sweep, and the results of its runs so far.
const RECORD: &str = "sweep.json";

/// Trains with every combination of some values, one run after the other, or resumes an interrupted
/// sweep.
pub(crate) fn sweep(args: &SweepArgs) -> Result<(), Error> {
    let stop = Stop::at_ctrl_c();
    // All configs are read before the first run begins.
    let plan = Plan::new(&args.config, &args.overrides)?;
    let (folder, _held) = open(args.out.as_deref(), &plan.about)?;
    stop.set_way_on(WAY_ON.to_owned());
    let mut sweep = Sweep::read(&plan, folder)?;
    sweep.write()?;

    let data_dir = args.data_dir.as_deref();
    for (number, run) in plan.runs.iter().enumerate() {
        let ended = if sweep.rows[number].result.is_some() { " has already ended" } else { "" };
        say(format_args!("run {} of {}: {}{ended}", number + 1, plan.runs.len(), run.name));
        if ended.is_empty() {
            let path = sweep.path(run);
            let over = sweep.run(number, || {
                if is_run(&path) {
                    resume(RunDir::open(&path)?, &[], data_dir, &stop)
                } else {
                    start(&run.config, Some(&path), data_dir, &stop)
                }
            })?;
            if let Some(error) = over {
                return Err(error);
            }
        }
    }

    let means = plan.means(&sweep.rows);
    let best = plan.best(&means);
    if let Some(best) = best.filter(|best| args.test_best && best.test_accuracy.is_none()) {
        for (number, run) in plan.runs.iter().enumerate() {
            let tested = |result: &RunResult| result.test_accuracy.is_some();
            if run.group != best.name || sweep.rows[number].result.as_ref().is_some_and(tested) {
                continue;
            }
            say(format_args!("testing {}", run.name));
            let test = [("--test-best".to_owned(), "test=true".to_owned())];
            let path = sweep.path(run);
            let test = || resume(RunDir::open(&path)?, &test, data_dir, &stop);
            if let Some(error) = sweep.run(number, test)? {
                return Err(error);
            }
        }
    }
    sweep.print();
    match sweep.rows.iter().filter(|row| row.result.is_none() || row.error.is_some()).count() {
        0 => Ok(()),
        failed => {
            let of = plan.runs.len();
            Err(Error::Training(format!("{failed} of {of} runs failed; {WAY_ON}")))
        }
    }
}

const WAY_ON: &str = "the same command resumes the sweep";

/// A running sweep.
struct Sweep<'a> {
    plan: &'a Plan,
    folder: PathBuf,
    rows: Vec<Row>,
}

impl<'a> Sweep<'a> {
    /// Reads the results of the runs in the folder.
    fn read(plan: &'a Plan, folder: PathBuf) -> Result<Self, Error> {
        let row = |run: &Planned| {
            let result = files::result(&folder.join(&run.name))?;
            Ok(Row { name: run.name.clone(), set: run.set.clone(), result, error: None })
        };
        let rows = plan.runs.iter().map(row).collect::<Result<_, Error>>()?;
        Ok(Self { plan, folder, rows })
    }

    fn path(&self, run: &Planned) -> PathBuf {
        self.folder.join(&run.name)
    }

    /// Does some work on one of the runs, and writes the result. Returns an error if it ends the
    /// sweep: a requested stop, or one that all later runs would have too.
    fn run(
        &mut self,
        number: usize,
        work: impl FnOnce() -> Result<Ended, Error>,
    ) -> Result<Option<Error>, Error> {
        // A device that runs out of memory panics; the next run may need less.
        let path = self.folder.join(&self.rows[number].name);
        let work = || work().and_then(|run| report::finish(&run));
        let done = catch_unwind(AssertUnwindSafe(work));
        let done = done.unwrap_or_else(|panic| Err(describe(&*panic)));
        let row = &mut self.rows[number];
        // Read from the file, so that a resumed sweep has the same values to the last bit.
        row.result = files::result(&path)?;
        row.error = done.as_ref().err().map(ToString::to_string);
        self.write()?;
        match done {
            Ok(()) => say(format_args!("")),
            Err(Error::Stopped(why)) => {
                return Ok(Some(Error::Stopped(format!("{why}\n{WAY_ON}"))));
            }
            Err(error @ Error::Data(_)) => return Ok(Some(error)),
            Err(error) => eprintln!("error: {error}\n"),
        }
        Ok(None)
    }

    /// The means over seeds, if these are varied.
    fn means(&self) -> Vec<Mean> {
        if self.plan.varies_seed { self.plan.means(&self.rows) } else { Vec::new() }
    }

    /// Writes `sweep.json` and the page that compares the runs.
    fn write(&self) -> Result<(), Error> {
        let means = self.means();
        let record = Record { about: &self.plan.about, runs: &self.rows, means: &means };
        let text = serde_json::to_string_pretty(&record).expect("plain values are JSON") + "\n";
        write_whole(&self.folder.join(RECORD), text.as_bytes())?;
        let begun: Vec<PathBuf> = self.plan.runs.iter().map(|run| self.path(run)).collect();
        let begun: Vec<PathBuf> = begun.into_iter().filter(|run| is_run(run)).collect();
        if begun.is_empty() {
            Ok(())
        } else {
            report::write_comparison(&begun, &means, &self.folder.join("report.html"))
        }
    }

    fn print(&self) {
        let tested = self.rows.iter().flat_map(|row| &row.result).any(|it| it.test_loss.is_some());
        let line = |name: &str, columns: [String; 4], seconds: &str| {
            let [accuracy, loss, test_accuracy, test_loss] = columns;
            let test = if tested {
                format!("  {test_accuracy:>15}  {test_loss:>15}")
            } else {
                String::new()
            };
            say(format_args!("{accuracy:>15}  {loss:>15}{test}  {seconds:>7}  {name}"));
        };
        let head = ["validation", "loss", "test", "loss"].map(str::to_owned);
        line("run", head, "seconds");
        let number =
            |value: Option<f64>| value.map(|value| format!("{value:.4}")).unwrap_or_default();
        for row in &self.rows {
            match &row.result {
                Some(RunResult {
                    validation_accuracy: accuracy,
                    validation_loss: loss,
                    test_accuracy,
                    test_loss,
                    seconds,
                    ..
                }) => {
                    let columns = [Some(*accuracy), Some(*loss), *test_accuracy, *test_loss];
                    line(&row.name, columns.map(number), &format!("{seconds:.0}"));
                }
                None => line(&row.name, ["failed", "", "", ""].map(str::to_owned), ""),
            }
        }
        let means = self.means();
        if !means.is_empty() {
            say(format_args!("mean and standard deviation over seeds"));
        }
        let spread = |value: Option<Spread>| match value {
            Some(Spread { mean, deviation: Some(it) }) => format!("{mean:.4} ± {it:.4}"),
            value => number(value.map(|value| value.mean)),
        };
        for mean in &means {
            let validation = [mean.validation_accuracy, mean.validation_loss].map(Some);
            let [accuracy, loss] = validation;
            let columns = [accuracy, loss, mean.test_accuracy, mean.test_loss].map(spread);
            line(&format!("{} ({} runs)", mean.name, mean.runs), columns, "");
        }
        if let Some(best) = self.plan.best(&self.plan.means(&self.rows)) {
            say(format_args!("best     {}, by validation accuracy", best.name));
        }
        say(format_args!("all results in {}", self.folder.join("report.html").display()));
    }
}

/// Opens and locks the folder of a sweep: that of the interrupted sweep, or a new one.
fn open(out: Option<&Path>, about: &About) -> Result<(PathBuf, File), Error> {
    let path = match out {
        Some(out) => out.to_owned(),
        None => numbered(about),
    };
    match files::read::<About>(&path, RECORD)? {
        Some(before) => {
            let differences = about.differences(&before);
            if !differences.is_empty() {
                return Err(Error::Usage(format!(
                    "{} holds another sweep: choose a new folder\n    {}",
                    path.display(),
                    differences.join("\n    ")
                )));
            }
            say(format_args!("resumes the sweep in {}", path.display()));
        }
        // A sweep that was killed at its start may have left these.
        None if holds_other_than(&path, &[LOCK, "sweep.json.part"]) => {
            let why = format!("the folder {} is not empty: choose a new one", path.display());
            return Err(Error::Usage(why));
        }
        None => fs::create_dir_all(&path).map_err(|source| cannot_write(&path, source))?,
    }
    let held = lock(&path)?;
    Ok((path, held))
}

/// The folder in `runs` in which this sweep began, otherwise the first free one.
fn numbered(about: &About) -> PathBuf {
    let mut paths = (1..).map(|number| Path::new("runs").join(format!("sweep-{number}")));
    let is_same = |path: &Path| {
        let before = files::read::<About>(path, RECORD).ok().flatten();
        before.is_some_and(|before| about.differences(&before).is_empty())
    };
    let path = paths.find(|path| !path.exists() || is_same(path));
    path.expect("there is always a next number")
}

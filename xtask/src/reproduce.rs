//! Trains the configs of `configs/d2l`, `configs/cpu` and `configs/best`, and writes the results to `assets`.

use std::{
    collections::BTreeSet,
    env, fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use clap::Args;
use fashion_mnist::Source;
use train::{DeviceName, Error, run::RunFiles};

use self::experiment::{Experiment, Run, experiments};

use crate::{
    assets::{self, cannot_write, root},
    child::wait_until,
};

mod experiment;
mod results;

/// How long a run may take to stop after a request: it finishes its training step first.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to train, and for how long.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only this network, by a name that the command `networks` of `train` prints; may be repeated.
    #[arg(long = "network", value_name = "NETWORK")]
    networks: Vec<String>,

    /// Stops after this many minutes, also in the middle of a run; the next call resumes that run.
    /// With 0, only writes the results.
    #[arg(long, value_name = "MINUTES")]
    budget: Option<u64>,

    /// Which configs: the notes' recipes, this project's for a few minutes of a CPU, its best ones, or
    /// all of them.
    #[arg(long, value_parser = ["d2l", "cpu", "best", "all"], default_value = "all")]
    configs: String,

    /// Where to compute, as for `train`.
    #[arg(long, default_value = "auto")]
    device: DeviceName,

    /// The folder with Fashion-MNIST's four files, as for `train`.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Features to build `train` with, such as cuda.
    #[arg(long, value_name = "FEATURES")]
    features: Option<String>,

    /// Trains again from the start, even if there are earlier runs.
    #[arg(long)]
    fresh: bool,
}

/// Trains the chosen experiments, the cheapest first. Writes what is known of all experiments to
/// `assets/runs`, and the page about them from there: it includes runs of other machines.
///
/// # Errors
///
/// If a config or a network's name is not valid, a run fails, or the results cannot be written.
pub fn run(arguments: &Arguments) -> Result<(), Error> {
    let experiments = experiments()?;
    let chosen = arguments.choose(&experiments)?;
    let runs = root().join("runs/reproduce");
    let budget = arguments.budget.map(|minutes| Duration::from_secs(minutes.saturating_mul(60)));
    let deadline = budget.and_then(|budget| Instant::now().checked_add(budget));

    let mut failed = Vec::new();
    for (number, experiment) in chosen.iter().enumerate() {
        let (name, dir) = (experiment.name(), runs.join(experiment.name()));
        println!(
            "{} of {}: {name}, {:.1e} multiply-adds",
            number + 1,
            chosen.len(),
            experiment.work
        );
        let run = Run::read(&dir, &experiment.config)?;
        if run.result().is_some() && !arguments.fresh {
            println!("already trained{}; --fresh trains it again\n", run.remark());
        } else if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            println!("not started: the budget is used up\n");
        } else {
            if run.files.is_some() && !arguments.fresh {
                println!("resumes after epoch {}{}", run.epochs().len(), run.remark());
            }
            match arguments.train(experiment, &run, &dir, deadline)? {
                Some(status) if status.success() => println!(),
                Some(status) => {
                    eprintln!("error: {name} ended with {status}\n");
                    failed.push(name);
                }
                None => println!("stopped: the budget is used up; the next call resumes it\n"),
            }
        }
    }

    let published = assets::folder().join("runs");
    for experiment in &experiments {
        let (from, to) = (runs.join(experiment.name()), published.join(experiment.name()));
        if let Some(files) = Run::read(&from, &experiment.config)?.files {
            publish(files, &to).map_err(|source| cannot_write(&to, source))?;
        }
    }
    results::write(&experiments, &published, &assets::folder())?;
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Error::Training(format!("failed runs: {}", failed.join(", "))))
    }
}

impl Arguments {
    /// Returns the experiments that the arguments choose.
    fn choose<'a>(&self, experiments: &'a [Experiment]) -> Result<Vec<&'a Experiment>, Error> {
        let of_set = |it: &&Experiment| self.configs == "all" || self.configs == it.set;
        let of_set: Vec<_> = experiments.iter().filter(of_set).collect();
        let names: BTreeSet<_> = of_set.iter().map(|it| it.config.network.name()).collect();
        if let Some(unknown) = self.networks.iter().find(|name| !names.contains(name.as_str())) {
            let names = names.into_iter().collect::<Vec<_>>().join("`, `");
            let why = format!("--network {unknown}: these configs train `{names}`");
            return Err(Error::Usage(why));
        }
        let is_named = |it: &&Experiment| {
            self.networks.is_empty()
                || self.networks.iter().any(|name| name == it.config.network.name())
        };
        Ok(of_set.into_iter().filter(is_named).collect())
    }

    /// Trains in a separate process, or resumes an interrupted run. Returns `None` if the deadline
    /// ended the process.
    fn train(
        &self,
        experiment: &Experiment,
        run: &Run,
        dir: &Path,
        deadline: Option<Instant>,
    ) -> Result<Option<ExitStatus>, Error> {
        if self.fresh && run.files.is_some() {
            fs::remove_dir_all(dir).map_err(|source| cannot_write(dir, source))?;
        }
        let mut command = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
        command.arg("run").arg("--manifest-path").arg(root().join("Cargo.toml"));
        command.args(["--package", "train"]);
        if let Some(features) = &self.features {
            command.args(["--features", features]);
        }
        command.arg("--");
        if run.files.is_some() && !self.fresh {
            command.arg("resume").arg(dir)
        } else {
            command.arg(&experiment.path).arg("--run-dir").arg(dir)
        };
        command.args(["--device", &self.device.to_string()]);
        if let Some(data_dir) = &self.data_dir {
            command.arg("--data-dir").arg(data_dir);
        }
        let ended = command.spawn().and_then(|mut child| wait(&mut child, deadline));
        ended.map_err(|error| Error::Training(format!("cannot run {command:?}: {error}")))
    }
}

/// Writes the config, the environment, the epochs and the result of a run, in place of what is
/// published of it. An unfinished run does not replace a finished one.
fn publish(mut files: RunFiles, folder: &Path) -> io::Result<()> {
    if files.result.is_none() && folder.join(RESULT).exists() {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    // The path is local to this machine.
    let anonymize = |source: &mut Source| {
        if let Source::FashionMnist(path) = source {
            *path = "FASHION_MNIST_DIR".into();
        }
    };
    fs::create_dir_all(folder)?;
    fs::write(folder.join("config.toml"), &files.config)?;
    if let Some(environment) = &mut files.environment {
        anonymize(&mut environment.data_source);
        fs::write(folder.join("environment.json"), json(environment)?)?;
    }
    let mut epochs = String::new();
    for epoch in &files.epochs {
        epochs += &(serde_json::to_string(epoch)? + "\n");
    }
    fs::write(folder.join("metrics.jsonl"), epochs)?;
    if let Some(result) = &mut files.result {
        anonymize(&mut result.data_source);
        fs::write(folder.join(RESULT), json(result)?)?;
    }
    Ok(())
}

const RESULT: &str = "result.json";

fn json(value: &impl serde::Serialize) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Waits for a process to end, and ends it at the deadline; in that case returns `None`.
fn wait(child: &mut Child, deadline: Option<Instant>) -> io::Result<Option<ExitStatus>> {
    let status = wait_until(child, deadline)?;
    if status.is_none() {
        interrupt(child)?;
        // A shell may start its background processes with SIGINT ignored.
        if wait_until(child, Some(Instant::now() + PATIENCE))?.is_none() {
            child.kill()?;
            child.wait()?;
        }
    }
    Ok(status)
}

/// Does what Ctrl-C does. On Unix, `cargo run` replaces its own process by the program's.
#[cfg(unix)]
fn interrupt(child: &mut Child) -> io::Result<()> {
    // The shell's built-in `kill`: not every system has a program of that name.
    Command::new("sh").arg("-c").arg(format!("kill -INT {}", child.id())).status().map(drop)
}

/// Ends the process. The run resumes from its last checkpoint either way.
#[cfg(not(unix))]
fn interrupt(child: &mut Child) -> io::Result<()> {
    child.kill()
}

#[cfg(test)]
pub mod tests {
    use super::{experiment::SETS, *};
    use crate::reproduce::results::tests::{environment, epoch, fabricate, result};

    /// Publishes a run of one epoch, finished with this test accuracy or unfinished.
    pub fn published(runs: &Path, name: &str, accuracy: Option<f64>) {
        let all = experiments().unwrap();
        let experiment = all.iter().find(|it| it.name() == name).unwrap();
        let real = environment("flex", None, Source::FashionMnist("/somewhere".into()));
        let local = tempfile::tempdir().unwrap();
        let ended = accuracy.map(|accuracy| result(&real, 1, accuracy));
        fabricate(local.path(), experiment, &real, &[0.75], ended);
        let files = RunFiles::read(&local.path().join(name)).unwrap();
        publish(files, &runs.join(name)).unwrap();
    }

    #[test]
    fn what_is_published_of_a_run_is_whole_and_without_paths() {
        let runs = tempfile::tempdir().unwrap();
        let read = || RunFiles::read(&runs.path().join("d2l-nin")).unwrap();
        published(runs.path(), "d2l-nin", None);
        assert!(read().result.is_none());
        published(runs.path(), "d2l-nin", Some(0.8));
        published(runs.path(), "d2l-nin", None);
        let files = read();
        assert_eq!(files.result.unwrap().test_accuracy, Some(0.8), "the finished run stays");
        assert_eq!(files.epochs, [epoch(1, 0.75)]);
        for entry in fs::read_dir(runs.path().join("d2l-nin")).unwrap() {
            let path = entry.unwrap().path();
            assert!(!fs::read_to_string(&path).unwrap().contains("/somewhere"), "{path:?}");
        }
    }

    /// The expected multiply-adds come from PyTorch, in `crates/models/tests/reference.json`.
    #[test]
    fn experiments_are_in_the_order_of_their_work() {
        let experiments = experiments().unwrap();
        let work = |name| experiments.iter().find(|it| it.name() == name).unwrap().work;
        assert_eq!(work("d2l-lenet_bn"), 3 * 281_640 * 55_000 * 10);
        assert_eq!(work("best-resnet18"), 3 * 455_800_832 * 55_000 * 60);
        let names: Vec<_> = experiments.iter().map(Experiment::name).collect();
        assert_eq!(names[..3], ["cpu-lenet_bn", "d2l-lenet_bn", "d2l-lenet"]);
        assert_eq!(names.last().unwrap(), "best-wrn_40_4");
        assert!(experiments.is_sorted_by_key(|experiment| experiment.work));
    }

    #[test]
    fn every_config_is_an_experiment_with_a_folder_of_its_own() {
        let experiments = experiments().unwrap();
        let count = |set| experiments.iter().filter(|it| it.set == set).count();
        assert_eq!(SETS.map(count), [8, 3, 6]);
        let names: BTreeSet<_> = experiments.iter().map(Experiment::name).collect();
        assert_eq!(names.len(), experiments.len());
        for experiment in &experiments {
            // The results page states this number.
            assert_eq!(experiment.config.training_images(), 55_000, "{}", experiment.name());
        }
    }

    #[test]
    fn a_network_without_a_config_is_refused() {
        #[derive(clap::Parser)]
        struct Chore {
            #[command(flatten)]
            arguments: Arguments,
        }
        let choose = |line: &str| {
            let chore: Chore = clap::Parser::parse_from(line.split(' '));
            let experiments = experiments().unwrap();
            let chosen = chore.arguments.choose(&experiments);
            chosen.map(|chosen| chosen.iter().map(|it| it.name()).collect::<Vec<_>>())
        };
        let resnets = choose("reproduce --network resnet18").unwrap();
        assert_eq!(resnets, ["d2l-resnet18", "best-resnet18"]);
        let two = choose("reproduce --configs d2l --network nin --network lenet").unwrap();
        assert_eq!(two, ["d2l-lenet", "d2l-nin"]);
        let refusal = choose("reproduce --configs best --network nin").unwrap_err().to_string();
        assert!(refusal.contains("--network nin") && refusal.contains("`wrn_40_4`"), "{refusal}");
    }

    #[cfg(unix)]
    #[test]
    fn the_deadline_ends_a_run() {
        let start = Instant::now();
        let mut long = Command::new("sleep").arg("600").spawn().unwrap();
        assert!(wait(&mut long, Some(start)).unwrap().is_none());
        assert!(start.elapsed() < 2 * PATIENCE);
        // SIGINT, or SIGKILL if the tests were started with SIGINT ignored.
        let signal = std::os::unix::process::ExitStatusExt::signal(&long.wait().unwrap());
        assert!(matches!(signal, Some(2 | 9)), "{signal:?}");

        let mut short = Command::new("true").spawn().unwrap();
        let status = wait(&mut short, None).unwrap();
        assert!(status.unwrap().success());
    }
}

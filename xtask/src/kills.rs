//! Kills runs and sweeps at random moments, resumes each until it finishes, and compares its
//! results with those of an uninterrupted one.

use std::{
    collections::BTreeMap,
    env, fmt, fs,
    io::{self, Read},
    os::unix::{fs::MetadataExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use train::Error;

#[path = "../../crates/train/tests/cli/outcome.rs"]
mod outcome;

/// Enables everything that has state. The images are synthetic, so nothing is downloaded.
const CONFIG: &str = r#"
network = "lenet_bn"
device = "flex"
epochs = 5
batch_size = 128
accumulate = 2
label_smoothing = 0.1

[data]
source = "synthetic"
limit = 640
validation = 100

[augment]
crop = 2
flip = true
erase = 0.3
mixup = 0.2
cutmix = 1.0

[optimizer]
name = "adamw"
learning_rate = 0.003
weight_decay = 0.01
clip_norm = 1.0

[schedule]
name = "one-cycle"

[ema]
decay = 0.9

[early_stopping]
patience = 4
"#;

/// How often and when to kill.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Number of kills, over all runs and sweeps together.
    #[arg(long, default_value = "200")]
    count: usize,

    /// Seed for the moments of the kills; they repeat only as far as the timing does.
    #[arg(long, default_value = "0")]
    seed: u64,
}

/// What the program was doing when it was killed, as far as its files show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    StartUp,
    Training,
    Writing,
    Pruning,
    End,
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::StartUp => "start-up",
            Self::Training => "training",
            Self::Writing => "writing a checkpoint",
            Self::Pruning => "removing a checkpoint",
            Self::End => "the end: weights, test, result",
        })
    }
}

/// What is trained and killed.
#[derive(Clone, Copy, PartialEq)]
enum What {
    Run,
    /// A sweep of two runs that differ in their seed.
    Sweep,
}

/// Trains an uninterrupted run and sweep, then others, which it kills until there are enough kills.
///
/// # Errors
///
/// If a run or a sweep does not resume, or its results differ from the uninterrupted one's.
pub fn run(arguments: &Arguments) -> Result<(), Error> {
    let temp = tempfile::tempdir().map_err(failed)?;
    let killer = Killer { program: build()?, folder: temp.path().to_owned() };
    fs::write(killer.config(), CONFIG).map_err(failed)?;
    let mut unbroken = Vec::new();
    for (what, name) in [(What::Run, "whole run"), (What::Sweep, "whole sweep")] {
        let (path, start) = (temp.path().join(name), Instant::now());
        let status = killer.begin(what, &path).status().map_err(failed)?;
        if !status.success() {
            return Err(Error::Training(format!("the {name} ended with {status}")));
        }
        unbroken.push((what, path, start.elapsed()));
    }

    let mut random = ChaCha8Rng::seed_from_u64(arguments.seed);
    let mut kills: BTreeMap<(Moment, Signal), usize> = BTreeMap::new();
    let mut ended = [0, 0];
    while kills.values().sum::<usize>() < arguments.count {
        let number = usize::from(random.random_range(0..3) == 0);
        let (what, expected, time) = &unbroken[number];
        let path = temp.path().join(format!("killed {}", ended[0] + ended[1]));
        let result = loop {
            let left = kills.values().sum::<usize>() < arguments.count;
            let killed = killer.kill(*what, &path, expected, left.then_some(*time), &mut random);
            match killed {
                Ok(Some(kill)) => *kills.entry(kill).or_default() += 1,
                Ok(None) => break compare(&path, expected),
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = result {
            let kept = temp.keep();
            return Err(Error::Training(format!("{error}\nits files are in {}", kept.display())));
        }
        ended[number] += 1;
        fs::remove_dir_all(&path).map_err(failed)?;
    }

    let of =
        |signal| kills.iter().filter(move |((_, it), _)| *it == signal).map(|(_, count)| count);
    println!(
        "{} kills, {} by SIGKILL and {} by SIGTERM, of {} runs and {} sweeps, seed {}:",
        kills.values().sum::<usize>(),
        of(Signal::SIGKILL).sum::<usize>(),
        of(Signal::SIGTERM).sum::<usize>(),
        ended[0],
        ended[1],
        arguments.seed
    );
    println!("{:>8} {:>8}  during", "SIGKILL", "SIGTERM");
    for moment in [Moment::StartUp, Moment::Training, Moment::Writing, Moment::Pruning, Moment::End]
    {
        let [killed, asked] = [Signal::SIGKILL, Signal::SIGTERM]
            .map(|signal| kills.get(&(moment, signal)).copied().unwrap_or_default());
        println!("{killed:>8} {asked:>8}  {moment}");
    }
    println!("all resumed and finished with the same bits as the uninterrupted ones");
    Ok(())
}

/// Builds the program with its default features.
fn build() -> Result<PathBuf, Error> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["build", "--package", "train"]);
    // Cargo sets these variables for xtask; with another package's values, some crates are rebuilt.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().map_err(failed)?;
    if status.success() {
        Ok(env::current_exe().map_err(failed)?.with_file_name("modern-cnn"))
    } else {
        Err(Error::Training(format!("cannot build the program: {status}")))
    }
}

/// Compares the results of a killed run or sweep with the uninterrupted one's.
fn compare(path: &Path, expected: &Path) -> Result<(), Error> {
    let differences = outcome::differences(path, expected);
    if differences.is_empty() {
        Ok(())
    } else {
        Err(Error::Training(format!("these files differ: {}", differences.join(", "))))
    }
}

struct Killer {
    program: PathBuf,
    folder: PathBuf,
}

impl Killer {
    fn config(&self) -> PathBuf {
        self.folder.join("config.toml")
    }

    /// The command that starts a run or a sweep.
    fn begin(&self, what: What, path: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.stdout(Stdio::null());
        match what {
            What::Run => command.arg(self.config()).arg("--run-dir").arg(path),
            What::Sweep => {
                command.arg("sweep").arg(self.config()).arg("--out").arg(path);
                command.args(["--set", "seed=0,1", "--test-best"])
            }
        };
        command
    }

    /// The command that resumes: for a sweep, or a run that has not started, the same command.
    fn go_on(&self, what: What, path: &Path) -> Command {
        let mut command = self.begin(what, path);
        if what == What::Run && path.join("config.toml").exists() {
            command = Command::new(&self.program);
            command.stdout(Stdio::null()).arg("resume").arg(path);
        }
        command
    }

    /// Starts or resumes, and kills at a random moment `within` this time, if it is given. Returns
    /// `None` if the program finished before the kill.
    fn kill(
        &self,
        what: What,
        path: &Path,
        expected: &Path,
        within: Option<Duration>,
        random: &mut ChaCha8Rng,
    ) -> Result<Option<(Moment, Signal)>, Error> {
        let watch = Watch::begin(path, expected);
        let mut command = self.go_on(what, path);
        let mut child = command.stderr(Stdio::piped()).spawn().map_err(failed)?;
        let signal = if random.random() { Signal::SIGKILL } else { Signal::SIGTERM };
        let mut moment = None;
        if let Some(within) = within {
            // Half of the kills come at any time, half in phases that take only milliseconds.
            let rare = [Moment::Writing, Moment::Pruning, Moment::End];
            let awaited = random.random::<bool>().then(|| rare[random.random_range(0..3)]);
            let wait = match awaited {
                Some(_) => Duration::from_micros(random.random_range(0..3000)),
                None => within.mul_f64(random.random()),
            };
            if awaited.is_none_or(|awaited| watch.wait_for(awaited, &mut child)) {
                thread::sleep(wait);
                moment = Some(watch.moment());
                let pid = Pid::from_raw(child.id().cast_signed());
                kill(pid, signal).map_err(|error| failed(error.into()))?;
            }
        }
        let mut message = String::new();
        let mut stderr = child.stderr.take().expect("a pipe");
        stderr.read_to_string(&mut message).map_err(failed)?;
        let status = child.wait().map_err(failed)?;
        if status.success() {
            return Ok(None);
        }
        let was_killed = status.signal() == Some(signal as i32);
        match (moment, signal) {
            (Some(_), Signal::SIGKILL) if was_killed => Ok(Some((watch.moment(), signal))),
            // Before the program installs its signal handler.
            (Some(Moment::StartUp), Signal::SIGTERM) if was_killed => {
                Ok(Some((Moment::StartUp, signal)))
            }
            (Some(moment), Signal::SIGTERM) if status.code() == Some(130) => {
                is_told(path, &message)?;
                Ok(Some((moment, signal)))
            }
            // The kill before this one came after the result had been written.
            (_, _) if status.code() == Some(2) && message.ends_with(" has ended\n") => Ok(None),
            _ => Err(Error::Training(format!("{command:?} ended with {status}: {message}"))),
        }
    }
}

/// Checks that the program reported the stop and, if it names a checkpoint, that this exists.
fn is_told(path: &Path, message: &str) -> Result<(), Error> {
    let epoch = message.split(" continues after epoch ").nth(1).and_then(|it| it.lines().next());
    let is_there = |epoch: &str| {
        let run = message.split(" resume ").nth(1).and_then(|it| it.split('`').next());
        let run = run.map_or(path.to_owned(), |run| PathBuf::from(run.trim_matches('\'')));
        run.join(format!("checkpoints/epoch-{epoch}/SHA256SUMS")).exists()
    };
    let stopped = message.lines().any(|line| line.starts_with("error: stopped"));
    if stopped && epoch.is_none_or(is_there) {
        Ok(())
    } else {
        Err(Error::Training(format!("unexpected message after a stop: {message}")))
    }
}

/// Observes the files of a run or a sweep.
struct Watch<'a> {
    path: &'a Path,
    expected: &'a Path,
    /// The files and folders that an earlier kill left.
    before: Vec<Entry>,
}

impl<'a> Watch<'a> {
    fn begin(path: &'a Path, expected: &'a Path) -> Self {
        Self { path, expected, before: entries(path) }
    }

    /// Infers the moment from the files of the current run that changed since the program started.
    fn moment(&self) -> Moment {
        let run = under_way(self.path);
        let fresh: Vec<String> = entries(&run)
            .into_iter()
            .filter(|entry| !self.before.contains(entry))
            .filter_map(|entry| Some(entry.path.strip_prefix(&run).ok()?.to_str()?.to_owned()))
            .collect();
        let is_fresh = |is: &dyn Fn(&str) -> bool| fresh.iter().any(|path| is(path));
        // The last epoch, also if early stopping ended the run.
        let whole = self.expected.join(run.strip_prefix(self.path).expect("a folder within"));
        let lines = fs::read_to_string(whole.join("metrics.jsonl")).unwrap_or_default();
        let last = format!("checkpoints/epoch-{}", lines.lines().count());
        if is_fresh(&|path| path.starts_with("checkpoints/") && path.ends_with(".old")) {
            Moment::Pruning
        } else if is_fresh(&|path| path.starts_with("checkpoints/") && path.ends_with(".part")) {
            Moment::Writing
        } else if is_fresh(&|path| path == last || path.contains("model.bpk")) {
            Moment::End
        } else if is_fresh(&|path| path == "steps.jsonl") {
            Moment::Training
        } else {
            Moment::StartUp
        }
    }

    /// Waits for a moment; returns `false` if the program ends before it.
    fn wait_for(&self, awaited: Moment, child: &mut Child) -> bool {
        while matches!(child.try_wait(), Ok(None)) {
            if self.moment() == awaited {
                return true;
            }
            thread::sleep(Duration::from_micros(200));
        }
        false
    }
}

/// The folder of the run; for a sweep, the first run without a result, or else the whole sweep.
fn under_way(path: &Path) -> PathBuf {
    let entries = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let begun = entries.filter(|run| run.join("config.toml").exists());
    let mut without_result = begun.filter(|run| !run.join("result.json").exists());
    without_result.next().unwrap_or(path.to_owned())
}

/// A file or folder, and the time of its last change.
#[derive(PartialEq)]
struct Entry {
    path: PathBuf,
    inode: u64,
    changed: (i64, i64),
}

/// Lists all files and folders within a folder.
fn entries(folder: &Path) -> Vec<Entry> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        // It may have been removed meanwhile.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_dir() {
            found.extend(entries(&path));
        }
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        found.push(Entry { path, inode: metadata.ino(), changed });
    }
    found
}

fn failed(error: io::Error) -> Error {
    Error::Training(error.to_string())
}

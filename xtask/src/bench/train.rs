//! Benchmarks training steps and prediction of whole networks, optionally against PyTorch.
//!
//! Each side runs in its own process, this program's side too, so that each has its own memory and
//! the requested number of threads. The sides take turns: one computes while the others wait.

use std::{
    env,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use models::{Architecture, Preset};
use serde::{Deserialize, Serialize};
use train::{DeviceName, Error};

use case::{CASES, Case, Work};
use side::{Introduction, Side, Variant};

mod case;
mod machine;
mod side;
mod worker;

/// The batch size for a network that is not in `CASES`.
const BATCH: usize = 32;

/// Seconds of warm-up, after the first step.
const WARM_UP: f64 = 1.0;

/// The share of a processor that a waiting side may use; above it, a note reports the share.
const WAITING: f64 = 0.02;

/// What to measure.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only this network; one that is not among the default cases gets its first preset.
    #[arg(long)]
    network: Option<Architecture>,
    /// Only this preset.
    #[arg(long)]
    preset: Option<Preset>,
    /// Images per batch.
    #[arg(long)]
    batch: Option<NonZeroUsize>,
    /// Side length of the images in pixels.
    #[arg(long)]
    size: Option<NonZeroUsize>,
    /// Only training or only prediction.
    #[arg(long)]
    work: Option<Work>,
    /// Threads of each side on a CPU [default: as many as the machine runs in parallel].
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Rounds; every side has one turn in each.
    #[arg(long, default_value = "7")]
    rounds: NonZeroUsize,
    /// Seconds per turn; a turn has at least one step.
    #[arg(long, default_value = "2", value_parser = seconds)]
    seconds: f64,
    /// Compares with the PyTorch of this Python interpreter (torch, torchvision and numpy).
    #[arg(long, value_name = "PYTHON")]
    against: Option<PathBuf>,
    /// Also compares with networks compiled by torch.compile.
    #[arg(long, requires = "against")]
    compile: bool,
    /// Compares even on a busy machine, and adds a note about it.
    #[arg(long, requires = "against")]
    anyway: bool,
    /// Runs as one side of a comparison.
    #[arg(long, hide = true)]
    worker: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.001..=3600.0).contains(seconds));
    seconds.ok_or_else(|| "expected seconds, from 0.001 to 3600".to_owned())
}

impl Arguments {
    fn cases(&self) -> Result<Vec<Case>, Error> {
        let Self { network, preset, .. } = *self;
        let is_asked = |case: &Case| {
            network.is_none_or(|network| network == case.network)
                && preset.is_none_or(|preset| preset == case.preset)
        };
        let mut cases: Vec<Case> = CASES.into_iter().filter(is_asked).collect();
        if cases.is_empty() {
            let network = network.expect("every preset is among the cases");
            let preset = preset.or_else(|| network.presets().next()).expect("each has a preset");
            let image = network.image(preset);
            let [_, size, _] = image.map_err(|error| Error::Usage(error.to_string()))?;
            cases.push(Case::new(network, preset, size, BATCH));
        }
        for case in &mut cases {
            case.size = self.size.map_or(case.size, usize::from);
            case.batch = self.batch.map_or(case.batch, usize::from);
            case.works = match self.work {
                Some(Work::Prediction) => &[Work::Prediction],
                Some(Work::Training) => &[Work::Training],
                None => case.works,
            };
            case.check()?;
        }
        Ok(cases)
    }

    fn threads(&self) -> NonZeroUsize {
        let all = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.threads.unwrap_or_else(all)
    }
}

/// A row of the table: the result of one network and one kind of work.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    pub network: String,
    pub preset: String,
    pub size: usize,
    pub batch: usize,
    pub work: Work,
    #[serde(flatten)]
    pub measured: Measured,
    /// The share of the processors that other programs used before the first round, from 0 to 1.
    in_use: Option<f64>,
    notes: Vec<String>,
    pub against: Vec<Comparison>,
}

/// The measurements of a side.
#[derive(Debug, Serialize, Deserialize)]
pub struct Measured {
    pub program: String,
    #[serde(flatten)]
    pub introduction: Introduction,
    pub images_per_second: Rates,
    /// The peak host memory of the process so far, in MiB. Prediction is measured before training.
    pub peak_memory_mib: Option<f64>,
    steps_per_round: usize,
}

/// The other side, and how many times as fast this side is.
#[derive(Debug, Serialize, Deserialize)]
pub struct Comparison {
    #[serde(flatten)]
    pub measured: Measured,
    /// The ratio of the best rounds.
    pub ratio: f64,
    /// The lowest and the highest ratio of two turns in the same round.
    pub ratios: [f64; 2],
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Rates {
    pub best: f64,
    median: f64,
    lowest: f64,
    /// The rates of all rounds, in order.
    all: Vec<f64>,
}

impl Rates {
    fn of(all: Vec<f64>) -> Self {
        let mut sorted = all.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let [middle, last] = [sorted.len() / 2, sorted.len() - 1];
        let median = (sorted[middle] + sorted[last - middle]) / 2.0;
        Self { best: sorted[last], median, lowest: sorted[0], all }
    }
}

/// A side, and its progress in one kind of work.
struct Turn {
    side: Side,
    steps: usize,
    rates: Vec<f64>,
    /// Seconds that the side waited, and processor seconds that it used while it waited.
    waited: [f64; 2],
}

/// Measures every case, and prints each row when it is complete.
pub fn run(arguments: &Arguments, device: &DeviceName, json: bool) -> Result<(), Error> {
    let cases = arguments.cases()?;
    if arguments.worker {
        worker::run(cases[0], device.clone());
        return Ok(());
    }
    let mut rows = Vec::new();
    let outcome = cases.iter().try_for_each(|case| {
        measure(case, arguments, device, |row| {
            if !json {
                print(&row, rows.is_empty(), arguments);
            }
            rows.push(row);
        })
    });
    if json {
        // Also prints the rows before a failure.
        println!("{}", serde_json::to_string_pretty(&rows).expect("plain values are JSON"));
    }
    outcome
}

fn measure(
    case: &Case,
    arguments: &Arguments,
    device: &DeviceName,
    mut tell: impl FnMut(Row),
) -> Result<(), Error> {
    let check_idle = || match arguments.against {
        Some(_) => machine::check_idle(arguments.anyway),
        None => Ok(None),
    };
    check_idle()?;
    let this = Side::start("burn", this_side(case, arguments, device)?)?;
    let mut turns = vec![Turn::new(this)];
    if let Some(python) = &arguments.against {
        let gpu = turns[0].side.introduction.gpu;
        for variant in Variant::all(arguments.compile, gpu) {
            let command = torch_side(case, arguments, python, gpu, variant);
            turns.push(Turn::new(Side::start(&variant.name(), command)?));
        }
    }
    for turn in &turns[1..] {
        let [ours, theirs] = [&turns[0], turn].map(|turn| turn.side.introduction.parameters);
        if ours != theirs {
            return Err(Error::Training(format!(
                "{} of {} has {ours} trainable parameters here, but {theirs} in {}: the networks \
                 differ and were not compared",
                case.network, case.preset, turn.side.name
            )));
        }
    }

    for &work in case.works {
        let mut notes = Vec::new();
        let mut index = 0;
        while index < turns.len() {
            match turns[index].begin(work, arguments.seconds) {
                Ok(()) => index += 1,
                // Another variant of PyTorch may be able to do what this one cannot.
                Err(why) if index > 1 => {
                    notes.push(format!("left out: {why}"));
                    turns.remove(index);
                }
                Err(why) => return Err(Error::Training(why)),
            }
        }
        let in_use = check_idle()?;
        for _ in 0..arguments.rounds.get() {
            for index in 0..turns.len() {
                round(&mut turns, index, case.batch).map_err(Error::Training)?;
            }
        }
        if let Some(in_use) = in_use.filter(|_| arguments.anyway) {
            notes.push(format!(
                "other programs used {:.0}% of the processors before the first round (--anyway)",
                in_use * 100.0
            ));
        }
        for turn in &turns {
            let [waited, used] = turn.waited;
            if used > WAITING * waited {
                let share = used / waited * 100.0;
                let name = &turn.side.name;
                notes.push(format!("{name} used {share:.0}% of a processor while it waited"));
            }
        }
        let (this, others) = turns.split_first().expect("turns starts with this side");
        tell(Row {
            network: case.network.to_string(),
            preset: case.preset.to_string(),
            size: case.size,
            batch: case.batch,
            work,
            measured: this.measured(),
            in_use,
            notes,
            against: others.iter().map(|other| compare(this, other)).collect(),
        });
    }
    Ok(())
}

/// The command for this program's side.
fn this_side(case: &Case, arguments: &Arguments, device: &DeviceName) -> Result<Command, Error> {
    let program = env::current_exe().map_err(|error| Error::Usage(error.to_string()))?;
    let mut command = Command::new(program);
    // Rayon reads it when it starts its threads, once per process.
    command.env("RAYON_NUM_THREADS", arguments.threads().to_string());
    command.args(["bench", "train", "--worker", "--network", case.network.name()]);
    command.args(["--preset", case.preset.name()]);
    command.args(["--device", &device.to_string(), "--work", case.works[0].name()]);
    Ok(with_sizes(command, case))
}

/// The command for PyTorch's side.
fn torch_side(
    case: &Case,
    arguments: &Arguments,
    python: &Path,
    gpu: bool,
    variant: Variant,
) -> Command {
    let mut command = Command::new(python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/bench/train.py"));
    command.args([case.network.name(), case.preset.name()]);
    command.args(["--threads", &arguments.threads().to_string()]);
    command.args(["--device", if gpu { "gpu" } else { "cpu" }]);
    command.args(variant.arguments());
    with_sizes(command, case)
}

fn with_sizes(mut command: Command, case: &Case) -> Command {
    command.args(["--batch", &case.batch.to_string(), "--size", &case.size.to_string()]);
    command
}

/// The pause before each turn. PyTorch's OpenMP threads busy-wait for a while after each piece of
/// work, and would take processor time from the side that has the next turn.
const PAUSE: Duration = Duration::from_millis(300);

/// Runs the turn of one side, while the others wait.
fn round(turns: &mut [Turn], index: usize, batch: usize) -> Result<(), String> {
    thread::sleep(PAUSE);
    let used = |turn: &Turn| machine::processor_seconds(turn.side.pid());
    let before: Vec<_> = turns.iter().map(used).collect();
    let start = Instant::now();
    turns[index].round(batch)?;
    let time = start.elapsed().as_secs_f64();
    for (other, turn) in turns.iter_mut().enumerate() {
        if let (true, Some(before), Some(after)) = (other != index, before[other], used(turn)) {
            turn.waited[0] += time;
            turn.waited[1] += after - before;
        }
    }
    Ok(())
}

impl Turn {
    fn new(side: Side) -> Self {
        Self { side, steps: 1, rates: Vec::new(), waited: [0.0; 2] }
    }

    /// Warms up, and computes the number of steps that fill a turn.
    fn begin(&mut self, work: Work, seconds: f64) -> Result<(), String> {
        let step = self.side.warm_up(work.name(), WARM_UP);
        let step = step.map_err(|why| format!("{}: {why}", self.side.name))?;
        self.steps = (seconds / step.seconds).round().max(1.0) as usize;
        (self.rates, self.waited) = (Vec::new(), [0.0; 2]);
        Ok(())
    }

    fn round(&mut self, batch: usize) -> Result<(), String> {
        let round = self.side.round(self.steps);
        let round = round.map_err(|why| format!("{}: {why}", self.side.name))?;
        if !round.value.is_some_and(f64::is_finite) {
            return Err(format!("{}: the result of the last step is not finite", self.side.name));
        }
        self.rates.push((batch * self.steps) as f64 / round.seconds);
        Ok(())
    }

    fn measured(&self) -> Measured {
        Measured {
            program: self.side.name.clone(),
            introduction: self.side.introduction.clone(),
            images_per_second: Rates::of(self.rates.clone()),
            peak_memory_mib: machine::peak_memory(self.side.pid()),
            steps_per_round: self.steps,
        }
    }
}

fn compare(this: &Turn, other: &Turn) -> Comparison {
    let ratios = this.rates.iter().zip(&other.rates).map(|(this, other)| this / other);
    let ratios = Rates::of(ratios.collect());
    let best = |turn: &Turn| turn.rates.iter().copied().fold(0.0, f64::max);
    Comparison {
        measured: other.measured(),
        ratio: best(this) / best(other),
        ratios: [ratios.lowest, ratios.best],
    }
}

fn print(row: &Row, is_first: bool, arguments: &Arguments) {
    if is_first {
        for side in [Some(&row.measured), row.against.first().map(|other| &other.measured)] {
            let Some(Measured { introduction, .. }) = side else { continue };
            let Introduction { device, model, threads, versions, .. } = introduction;
            let model = model.as_ref().map(|model| format!(" ({model})")).unwrap_or_default();
            let versions = versions.iter().map(|(what, version)| format!("{what} {version}"));
            let versions = versions.collect::<Vec<_>>().join(", ");
            let plural = if *threads == 1 { "" } else { "s" };
            println!("{versions}: {device}{model}, {threads} thread{plural}");
        }
        let Arguments { rounds, seconds, .. } = arguments;
        println!(
            "images/s; {rounds} rounds, {seconds} seconds per turn; MiB: peak memory of the process"
        );
        println!(
            "{:11} {:8} {:>4} {:>5}  {:10} {:35} {:>9} {:>9} {:>9} {:>7}  {}",
            "network",
            "preset",
            "px",
            "batch",
            "work",
            "",
            "best",
            "median",
            "lowest",
            "MiB",
            if row.against.is_empty() { "" } else { "speed ratio, burn to PyTorch" }
        );
    }
    let Row { network, preset, size, batch, work, .. } = row;
    let line = |measured: &Measured, ratio: &str| {
        let Rates { best, median, lowest, .. } = measured.images_per_second;
        let memory = measured.peak_memory_mib.map(|mib| format!("{mib:.0}"));
        println!(
            "{network:11} {preset:8} {size:>4} {batch:>5}  {:10} {:35} {best:9.1} {median:9.1} \
             {lowest:9.1} {:>7}  {ratio}",
            work.name(),
            measured.program,
            memory.as_deref().unwrap_or("-")
        );
    };
    line(&row.measured, "");
    for Comparison { measured, ratio, ratios: [lowest, highest] } in &row.against {
        line(measured, &format!("{ratio:.2} ({lowest:.2} to {highest:.2})"));
    }
    for note in &row.notes {
        println!("  note: {note}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_of_the_notes_and_for_small_images_is_measured_at_its_own_size() {
        for network in Architecture::ALL {
            for preset in network.presets().filter(|&preset| preset != Preset::Imagenet) {
                let is_it = |case: &&Case| (case.network, case.preset) == (network, preset);
                let case =
                    CASES.iter().find(is_it).unwrap_or_else(|| panic!("no {network} {preset}"));
                assert_eq!(case.image(), network.image(preset).unwrap());
            }
        }
    }

    #[test]
    fn the_lowest_the_median_and_the_best_are_found_in_any_order() {
        let rates = Rates::of(vec![3.0, 1.0, 2.0]);
        assert_eq!([rates.lowest, rates.median, rates.best], [1.0, 2.0, 3.0]);
        assert_eq!(Rates::of(vec![5.0]).median, 5.0);
        assert_eq!(Rates::of(vec![4.0, 1.0, 3.0, 2.0]).median, 2.5);
    }
}

//! Feeds damaged files to every reader of untrusted input, and looks for panics, excessive memory
//! use and readers that do not finish.
//!
//! Each target has valid files. A case damages one of them, or an earlier input that led to a new
//! error, one to four times ([`damage`]). Inputs with new errors reach deeper into the readers,
//! past the first magic number. The seed alone determines the cases, if the readers are
//! deterministic.

mod damage;
pub mod memory;
mod target;

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use mutatis::Session;
use tempfile::TempDir;
use train::Error;

use damage::Damage;
use target::Target;

/// More than a reader of these small files needs, in bytes.
const MOST_MEMORY: usize = 300 << 20;

/// Longer than any case takes, even on a busy machine.
const LONGEST: Duration = Duration::from_secs(10);

/// The largest number of inputs that are damaged further. None of them is much longer than the
/// valid files, so that a case stays cheap.
const INPUTS: usize = 400;

/// What to fuzz, and for how long.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The reader to fuzz; if not given, all of them in turn.
    #[arg(long)]
    target: Option<Target>,
    /// Minutes for all targets together [default: 1, or without limit if --cases is given].
    #[arg(long)]
    minutes: Option<f64>,
    /// Number of cases for each target.
    #[arg(long)]
    cases: Option<u64>,
    /// Seed for the random damage.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Lists the errors that the readers returned.
    #[arg(long)]
    errors: bool,
    /// Where to keep the inputs that cause a panic, excessive memory use or a reader that does not
    /// finish.
    #[arg(long, value_name = "DIR", default_value = "target/fuzz")]
    out: PathBuf,
    /// Reads only this input; a reported failure names its path.
    #[arg(long, value_name = "PATH", requires = "target")]
    input: Option<PathBuf>,
    /// The working folder of a target's process.
    #[arg(long, hide = true, requires = "target")]
    work: Option<PathBuf>,
}

/// Runs the fuzzer.
pub fn run(args: &Arguments) -> Result<(), Error> {
    match (args.target, &args.input, &args.work) {
        (Some(target), Some(input), _) => repeat(target, input),
        (Some(target), None, Some(work)) => fuzz(args, target, work),
        _ => each_target(args),
    }
}

/// Runs every target in its own process: a crash, such as a stack overflow, ends only that target.
fn each_target(args: &Arguments) -> Result<(), Error> {
    let targets = match args.target {
        Some(target) => vec![target],
        None => Target::value_variants().to_vec(),
    };
    let minutes = args.minutes.or(args.cases.is_none().then_some(1.0));
    let minutes = minutes.map(|minutes| (minutes / targets.len() as f64).to_string());
    println!(
        "{:<12}{:>10}{:>12}{:>10}{:>8}{:>12}{:>9}{:>10}",
        "target", "cases", "per second", "accepted", "errors", "slowest", "memory", "failures"
    );
    let mut failed = false;
    for target in targets {
        // A file system in memory, where there is one.
        let memory = Path::new("/dev/shm");
        let work = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        let work = work.map_err(broken)?;
        let errors = work.path().join("stderr");
        let mut command = Command::new(std::env::current_exe().map_err(broken)?);
        command.args(["fuzz", "--target", &target.name(), "--seed", &args.seed.to_string()]);
        command.arg("--work").arg(work.path()).arg("--out").arg(&args.out);
        command.args(args.errors.then_some("--errors"));
        command.args(minutes.iter().flat_map(|minutes| ["--minutes", minutes]));
        command.args(args.cases.iter().flat_map(|cases| ["--cases".to_owned(), cases.to_string()]));
        // The output of the program while it makes the valid files.
        command.stdout(Stdio::null()).stderr(File::create(&errors).map_err(broken)?);
        // As in the program `train`: checkpoints are read without a GPU.
        command.env("BURN_DEVICE", "flex");
        let status = command.status().map_err(broken)?;
        print!("{}", fs::read_to_string(work.path().join(REPORT)).unwrap_or_default());
        if status.success() {
            continue;
        }
        failed = true;
        let said = fs::read(&errors).map_err(broken)?;
        let said = String::from_utf8_lossy(&said);
        let said: Vec<&str> = said.trim_end().lines().collect();
        let said = said[said.len().saturating_sub(4)..].join("; ");
        match status.code() {
            Some(1) => println!("{said}"),
            _ => {
                let why = format!("{status}: {said}");
                print!("{}", keep(args, target, &work.path().join(CASE), "end", &why)?);
            }
        }
    }
    match failed {
        false => Ok(()),
        true => Err(Error::Training("some inputs caused failures".to_owned())),
    }
}

/// The folder of a case and the file for the results, both in the working folder of the process.
const CASE: &str = "case";
const REPORT: &str = "report";

/// Reads one input.
fn repeat(target: Target, input: &Path) -> Result<(), Error> {
    let (folder, file) = if target.is_folder() {
        (input, Path::new(""))
    } else {
        (
            input.parent().unwrap_or(Path::new("")),
            input.file_name().map(Path::new).unwrap_or(Path::new("")),
        )
    };
    let start = Instant::now();
    let before = memory::start();
    match target.read(folder, file) {
        Ok(()) => println!("accepted"),
        Err(error) => println!("refused: {error}"),
    }
    let memory = memory::peak() - before;
    println!("{:.1} s, {} MB", start.elapsed().as_secs_f64(), memory >> 20);
    Ok(())
}

/// Fuzzes one target.
fn fuzz(args: &Arguments, target: Target, work: &Path) -> Result<(), Error> {
    let good = target.good_files();
    let folder = work.join(CASE);
    let write = |(name, bytes): &target::File| -> io::Result<()> {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a file in a folder"))?;
        fs::write(path, bytes)
    };
    if target.is_folder() {
        good.iter().try_for_each(write).map_err(broken)?;
        target.read(&folder, &good[0].0).map_err(|error| {
            Error::Training(format!("{}: the valid files are refused: {error}", target.name()))
        })?;
    }
    let longest = 4 * good.iter().map(|(_, bytes)| bytes.len()).max().unwrap_or(0);
    let mut inputs = good.clone();
    let mut session = Session::new().seed(args.seed);
    let mut report = File::create(work.join(REPORT)).map_err(broken)?;
    let mut errors: BTreeMap<String, u64> = BTreeMap::new();
    let mut failures: BTreeMap<String, u64> = BTreeMap::new();
    let (mut cases, mut accepted, mut most_memory, mut slowest) = (0, 0, 0, Duration::ZERO);

    listen_to_panics();
    thread::spawn(watch);
    let start = Instant::now();
    let limit = args.minutes.map(|minutes| Duration::from_secs_f64(60.0 * minutes));
    while args.cases.is_none_or(|most| cases < most)
        && limit.is_none_or(|limit| start.elapsed() < limit)
    {
        let random = |session: &mut Session| session.generate::<u32>().expect("a number");
        // Half of the cases start from valid files: repeated damage can make an input useless.
        let choice = match random(&mut session) % 2 {
            0 => random(&mut session) as usize % good.len(),
            _ => random(&mut session) as usize % inputs.len(),
        };
        let mut input = inputs[choice].clone();
        let mut damage = Damage { others: &inputs };
        for _ in 0..=random(&mut session) % 4 {
            session.mutate_with(&mut damage, &mut input.1).expect("every file can be damaged");
        }
        write(&input).map_err(broken)?;
        if target.is_folder() && random(&mut session) % 2 == 0 {
            target::seal(&folder, &input.0).map_err(broken)?;
        }
        let path = folder.join(&input.0);

        let before = memory::start();
        BEFORE.store(before, Relaxed);
        let began = Instant::now();
        SINCE.store(milliseconds(), Relaxed);
        READS.store(true, Relaxed);
        let result = catch_unwind(AssertUnwindSafe(|| target.read(&folder, &input.0)));
        READS.store(false, Relaxed);
        let took = began.elapsed();
        let memory = memory::peak() - before;

        cases += 1;
        most_memory = most_memory.max(memory);
        slowest = slowest.max(took);
        // A panic that the reader caught itself is not a failure.
        let panic = PANIC.lock().unwrap_or_else(PoisonError::into_inner).take();
        let panic = panic.filter(|_| result.is_err());
        let too_much = (memory > MOST_MEMORY).then(|| format!("{} MB of memory", memory >> 20));
        let failure = panic.or(too_much);
        if let Some(failure) = failure {
            let times = failures.entry(kind(&path, &failure)).or_default();
            *times += 1;
            if *times == 1 {
                let kept = keep(args, target, &folder, &cases.to_string(), &failure)?;
                report.write_all(kept.as_bytes()).map_err(broken)?;
            }
        } else if let Ok(Err(error)) = result {
            let times = errors.entry(kind(&path, &error)).or_default();
            *times += 1;
            if *times == 1 && inputs.len() < INPUTS && input.1.len() <= longest {
                inputs.push(input.clone());
            }
        } else {
            accepted += 1;
        }
        // Restores the folder.
        fs::remove_file(&path).map_err(broken)?;
        if target.is_folder() {
            let sums = input.0.with_file_name(target::CHECKSUMS);
            let changed = good.iter().filter(|(name, _)| *name == input.0 || *name == sums);
            changed.into_iter().try_for_each(write).map_err(broken)?;
        }
    }

    let seconds = start.elapsed().as_secs_f64();
    let mut rows = format!(
        "{:<12}{cases:>10}{:>12.0}{:>8.1} %{:>8}{:>9} ms{:>6} MB{:>10}\n",
        target.name(),
        cases as f64 / seconds,
        100.0 * accepted as f64 / cases.max(1) as f64,
        errors.len(),
        slowest.as_millis(),
        most_memory >> 20,
        failures.values().sum::<u64>(),
    );
    if args.errors {
        let mut errors: Vec<_> = errors.into_iter().collect();
        errors.sort_by_key(|(_, times)| Reverse(*times));
        rows.extend(errors.iter().map(|(error, times)| format!("{times:>12}  {error}\n")));
    }
    report.write_all(rows.as_bytes()).map_err(broken)?;
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Error::Training(format!("{}: {} kinds of failure", target.name(), failures.len())))
    }
}

/// Keeps the input of a failure, and returns a report with the command that repeats it.
fn keep(
    args: &Arguments,
    target: Target,
    case: &Path,
    number: &str,
    why: &str,
) -> Result<String, Error> {
    let name = target.name();
    let kept = args.out.join(format!("{name}-{}-{number}", args.seed));
    let mut input = kept.clone();
    for (file, bytes) in target::read_all(case) {
        let path = kept.join(&file);
        fs::create_dir_all(path.parent().expect("a file in a folder"))
            .and_then(|()| fs::write(&path, bytes))
            .map_err(broken)?;
        if !target.is_folder() {
            input = path;
        }
    }
    Ok(format!(
        "{name}: FAILURE: {why}\n  to repeat: cargo xtask fuzz --target {name} --input {}\n",
        input.display()
    ))
}

/// The kind of an error: its first words, up to any text quoted from the input.
fn kind(path: &Path, error: &str) -> String {
    let error = error.replace(&*path.to_string_lossy(), "");
    let mut lines = error.lines();
    let first = lines.next().unwrap_or_default();
    let first = first.split(['`', '\\']).next().unwrap_or_default();
    let first = first.split("string \"").next().unwrap_or_default();
    let is_word = |word: &&str| {
        word.len() > 2
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || b",:".contains(&byte))
    };
    let words: Vec<&str> = first.split_ascii_whitespace().filter(is_word).take(12).collect();
    let kind = words.join(" ");
    if kind != "the weights not fit this network:" {
        return kind;
    }
    // Each further line starts with a problem, followed by the names that have it.
    let lists = lines.filter_map(|line| Some(line.trim().split_once(" (")?.0));
    format!("{kind} {}", lists.collect::<Vec<_>>().join(", "))
}

/// The first panic of any thread since the value was last taken.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

fn listen_to_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let mut first = PANIC.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| panic.to_string().replace('\n', " "));
    }));
}

/// Whether a case is running, when it started, and how many bytes were allocated then.
static READS: AtomicBool = AtomicBool::new(false);
static SINCE: AtomicU64 = AtomicU64::new(0);
static BEFORE: AtomicUsize = AtomicUsize::new(0);

fn milliseconds() -> u64 {
    static START: Mutex<Option<Instant>> = Mutex::new(None);
    let mut start = START.lock().unwrap_or_else(PoisonError::into_inner);
    start.get_or_insert_with(Instant::now).elapsed().as_millis() as u64
}

/// Ends the process if a case takes too long or too much memory; its input stays on disk.
fn watch() {
    loop {
        thread::sleep(Duration::from_millis(10));
        if !READS.load(Relaxed) {
            continue;
        }
        let took = Duration::from_millis(milliseconds().saturating_sub(SINCE.load(Relaxed)));
        let memory = memory::held().saturating_sub(BEFORE.load(Relaxed));
        if took > LONGEST {
            eprintln!("not finished after {} s", took.as_secs());
        } else if memory > MOST_MEMORY {
            eprintln!("{} MB of memory", memory >> 20);
        } else {
            continue;
        }
        std::process::exit(3);
    }
}

fn broken(error: io::Error) -> Error {
    Error::Training(format!("cannot fuzz: {error}"))
}

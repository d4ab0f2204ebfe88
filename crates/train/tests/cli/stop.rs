//! Stopping a run with a signal.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use tempfile::TempDir;

use super::{quick, train};

/// A long run, after the line of its second epoch.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn begin(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut running =
            Self { lines: BufReader::new(child.stdout.take().unwrap()).lines(), child };
        running.wait_for("epoch       2/");
        running
    }

    fn wait_for(&mut self, start: &str) {
        let found = self.lines.find(|line| line.as_ref().unwrap().starts_with(start));
        found.unwrap_or_else(|| panic!("the run ended without the line `{start}`")).unwrap();
    }

    fn signal(&self, signal: &str) {
        Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
    }

    fn end(self) -> Output {
        self.lines.for_each(drop);
        self.child.wait_with_output().unwrap()
    }
}

/// The program exits after the current step, and names a checkpoint.
#[test]
fn ctrl_c_sigterm_and_a_closed_terminal_keep_the_last_checkpoint() {
    for signal in ["-INT", "-TERM", "-HUP"] {
        let temp = TempDir::new().unwrap();
        let folder = temp.path().join("run");
        let run = quick(folder.to_str().unwrap(), &["--epochs", "1000000"]);
        let run = Running::begin(train(&run));
        run.signal(signal);
        let output = run.end();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(130), "{signal}: {message}");
        assert!(message.starts_with("error: stopped in epoch "), "{message}");
        let program = env!("CARGO_BIN_EXE_modern-cnn");
        let resume = format!("`{program} resume {}` continues after epoch ", folder.display());
        let epoch = message.trim_end().split(&resume).nth(1).unwrap();
        let checkpoint = format!("checkpoints/epoch-{epoch}/state.toml");
        assert!(folder.join(checkpoint).is_file(), "{message}");
        assert!(!folder.join("result.json").exists());
    }
}

/// `nohup` makes a program ignore SIGHUP, the signal of a closed terminal.
#[test]
fn what_nohup_keeps_alive_goes_on() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path().join("run");
    let run = quick(folder.to_str().unwrap(), &["--epochs", "1000000"]);
    let run = train(&run);
    let mut nohup = Command::new("nohup");
    nohup.arg(run.get_program()).args(run.get_args());
    let mut run = Running::begin(nohup);
    run.signal("-HUP");
    run.wait_for("epoch       4/");
    run.signal("-TERM");
    assert_eq!(run.end().status.code(), Some(130));
}

/// A stop before the first step is reported too.
#[test]
fn a_stop_outside_the_training_says_so() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path().join("run");
    let run = quick(folder.to_str().unwrap(), &["--epochs", "1000000"]);
    let mut child = train(&run).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while !Path::new(&folder).join("config.toml").exists() {
        std::thread::yield_now();
    }
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let status = child.wait().unwrap();
    let message = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert_eq!(status.code(), Some(130), "{message}");
    assert!(message.starts_with("error: stopped"), "{message}");
    assert!(fs::read_dir(folder).is_ok());
}

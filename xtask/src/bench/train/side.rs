//! The processes that are compared. Each measures itself on request, and waits between requests.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use train::Error;

/// A side's first message: the description of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Introduction {
    /// The device, as the side names it.
    pub device: String,
    /// The device's model name.
    pub model: Option<String>,
    /// Whether the device is a real GPU.
    pub gpu: bool,
    /// Threads that compute on a CPU.
    pub threads: usize,
    /// Trainable parameters of the network.
    pub parameters: usize,
    /// Names of components, with their versions.
    pub versions: BTreeMap<String, String>,
}

/// The time of one step after the warm-up.
#[derive(Debug, Serialize, Deserialize)]
pub struct WarmUp {
    pub seconds: f64,
}

/// The time of the steps of a round, and the result of the last step: the loss, or the mean logit.
#[derive(Debug, Serialize, Deserialize)]
pub struct Round {
    pub seconds: f64,
    pub value: Option<f64>,
}

/// A side's answer to a request that failed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Failure {
    pub error: String,
}

/// A process that measures itself.
pub struct Side {
    /// Its name in the table.
    pub name: String,
    pub introduction: Introduction,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Side {
    /// Starts the process, and waits for its introduction.
    pub fn start(name: &str, mut command: Command) -> Result<Self, Error> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| {
            let program = command.get_program().display();
            Error::Usage(format!(
                "{name}: cannot start {program}: {error} (PyTorch's side needs the path of a Python \
                 interpreter with torch, torchvision and numpy)"
            ))
        })?;
        let input = child.stdin.take().expect("piped");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        match read(&mut output) {
            Ok(introduction) => {
                Ok(Self { name: name.to_owned(), introduction, child, input, output })
            }
            Err(why) => {
                end(&mut child);
                Err(Error::Usage(format!("{name}: {why}")))
            }
        }
    }

    /// Prepares the work and warms up for at least this many seconds.
    pub fn warm_up(&mut self, work: &str, seconds: f64) -> Result<WarmUp, String> {
        self.ask(&format!("warm-up {work} {seconds}"))
    }

    /// Runs this many steps.
    pub fn round(&mut self, steps: usize) -> Result<Round, String> {
        self.ask(&format!("round {steps}"))
    }

    fn ask<T: DeserializeOwned>(&mut self, question: &str) -> Result<T, String> {
        // If the process has ended, reading reports it.
        let _ = writeln!(self.input, "{question}").and_then(|()| self.input.flush());
        read(&mut self.output)
    }

    /// Returns the process ID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Ends the process, which has nothing to save.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn read<T: DeserializeOwned>(output: &mut impl BufRead) -> Result<T, String> {
    let mut line = String::new();
    match output.read_line(&mut line) {
        Ok(0) => return Err("the process ended early; see its output above".to_owned()),
        Ok(_) => {}
        Err(error) => return Err(error.to_string()),
    }
    if let Ok(Failure { error }) = serde_json::from_str(&line) {
        return Err(error);
    }
    serde_json::from_str(&line).map_err(|error| format!("bad answer {:?}: {error}", line.trim()))
}

/// A configuration of PyTorch.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    pub channels_last: bool,
    pub compile: bool,
    /// Multiplies with the 10-bit mantissa of TF32.
    pub tf32: bool,
}

impl Variant {
    /// Returns the variants to measure, the plain one first.
    pub fn all(compile: bool, gpu: bool) -> Vec<Self> {
        let mut all = Vec::new();
        for tf32 in [false, true] {
            for compile_this in [false, true] {
                for channels_last in [false, true] {
                    if (compile || !compile_this) && (gpu || !tf32) {
                        all.push(Self { channels_last, compile: compile_this, tf32 });
                    }
                }
            }
        }
        all
    }

    pub fn name(self) -> String {
        let mut name = if self.compile { "torch compiled" } else { "torch eager" }.to_owned();
        if self.channels_last {
            name += ", channels last";
        }
        if self.tf32 {
            name += ", TF32";
        }
        name
    }

    pub fn arguments(self) -> impl Iterator<Item = &'static OsStr> {
        let all = [
            (self.channels_last, "--channels-last"),
            (self.compile, "--compile"),
            (self.tf32, "--tf32"),
        ];
        all.into_iter().filter(|(is, _)| *is).map(|(_, argument)| OsStr::new(argument))
    }
}

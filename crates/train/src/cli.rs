//! The program's arguments and exit code.

use std::{
    ffi::OsString,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand};

use crate::{
    commands::{
        self, CompletionsArgs, ConfigArgs, DevicesArgs, DiagramArgs, EvaluateArgs, ExportArgs,
        NetworksArgs, PredictArgs, ReportArgs, ResumeArgs, ServeArgs, SummaryArgs, SweepArgs,
        TrainArgs, WatchArgs,
    },
    training::describe,
};

/// Trains convolutional networks on Fashion-MNIST, and predicts with them.
#[derive(Debug, Parser)]
#[command(name = "modern-cnn", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    train: TrainArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the devices of this machine that this build can use.
    Devices(DevicesArgs),
    /// Lists the networks, with their presets, parameters and multiply-adds.
    Networks(NetworksArgs),
    /// Lists the layers of a network: output, parameters, multiply-adds.
    Summary(SummaryArgs),
    /// Draws a network as an SVG: layers, blocks, shapes, parameters.
    Diagram(DiagramArgs),
    /// Resumes an interrupted run.
    Resume(ResumeArgs),
    /// Tests the weights of a run, or of a file.
    Evaluate(EvaluateArgs),
    /// Predicts the classes of images.
    Predict(PredictArgs),
    /// Writes an HTML page about a run, or one that compares several.
    Report(ReportArgs),
    /// Shows the page about a run in a browser while it trains.
    Watch(WatchArgs),
    /// Writes the weights of a run in another format.
    Export(ExportArgs),
    /// Trains with every combination of some values, one run after the other; the same command
    /// resumes an interrupted sweep.
    Sweep(SweepArgs),
    /// Lets other machines compute on the devices of this one.
    ///
    /// A client needs a token: the one in the environment variable TRAIN_TOKEN or, if this is not
    /// set, a new one, which is printed with the command to run on the other machine.
    ///
    /// Serve only in a network that you trust. Nothing is encrypted, not even the token. Burn's
    /// server checks the token after the first message of a connection, which may have up to 1 GiB
    /// and may take any time: anyone who can connect can fill the memory. It does not check
    /// `Origin`, so a page in a browser on a machine that reaches the address can connect too, but
    /// cannot compute, because it does not know the token.
    #[command(verbatim_doc_comment)]
    Serve(ServeArgs),
    /// Lists the keys of a config, with their values, defaults and meanings.
    Config(ConfigArgs),
    /// Prints a script that completes this program's arguments in a shell.
    Completions(CompletionsArgs),
}

/// Runs the program with the arguments of the process. The exit code is 0 for success, 2 for an
/// error that the user can fix, 130 after a requested stop, 1 for other failures.
pub fn run() -> ExitCode {
    run_with(std::env::args_os())
}

/// [`run`] with these arguments, the first of which is the program's name. Invalid arguments end
/// the process.
pub fn run_with(arguments: impl IntoIterator<Item: Into<OsString> + Clone>) -> ExitCode {
    let cli = Cli::parse_from(arguments);
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        // The error message at the end reports the panic.
        std::panic::set_hook(Box::new(|_| {}));
    }
    let result = catch_unwind(AssertUnwindSafe(|| match cli.command {
        Some(Command::Devices(args)) => {
            commands::devices(&args);
            Ok(())
        }
        Some(Command::Networks(args)) => {
            commands::networks(&args);
            Ok(())
        }
        Some(Command::Summary(args)) => commands::summary(&args),
        Some(Command::Diagram(args)) => commands::diagram(&args),
        Some(Command::Resume(args)) => commands::resume(&args),
        Some(Command::Evaluate(args)) => commands::evaluate(&args),
        Some(Command::Predict(args)) => commands::predict(&args),
        Some(Command::Report(args)) => commands::report(&args),
        Some(Command::Watch(args)) => commands::watch(&args),
        Some(Command::Export(args)) => commands::export(&args),
        Some(Command::Sweep(args)) => commands::sweep(&args),
        Some(Command::Serve(args)) => commands::serve(&args),
        Some(Command::Config(args)) => {
            commands::config(&args);
            Ok(())
        }
        Some(Command::Completions(args)) => {
            commands::completions(&args, Cli::command());
            Ok(())
        }
        None => commands::train(&cli.train),
    }));
    let result = result.unwrap_or_else(|panic| Err(describe(&*panic)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.exit_code()
        }
    }
}

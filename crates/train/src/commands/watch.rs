//! The command `watch`: the page about a run in a browser, while it trains.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use tiny_http::{Method, Request, Response};

use crate::{
    Error,
    loopback::{header, is_local, server},
    output::say,
    report::{REFRESH, live_page},
    run::{
        RunFiles,
        files::{check_is_run, result},
    },
};

/// Which run to watch, and at which port.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The run's folder.
    pub run_dir: PathBuf,

    /// The port of this machine's loopback address; 0 takes a free one.
    #[arg(long, default_value = "6007")]
    pub port: u16,
}

/// A browser that still shows the run asks again within this time.
const PATIENCE: Duration = Duration::from_secs(6 * REFRESH);

/// Serves the page about a run on the loopback address, until the run has its result. Ctrl-C ends
/// it before, and if the run was killed.
pub(crate) fn watch(args: &WatchArgs) -> Result<(), Error> {
    let run = &args.run_dir;
    check_is_run(run)?;
    let ended =
        format!("{} has ended: its page is {}", run.display(), run.join("report.html").display());
    if result(run)?.is_some() {
        say(format_args!("{ended}"));
        return Ok(());
    }
    let (server, port) = server(args.port)?;
    say(format_args!("http://127.0.0.1:{port} shows {} until it ends", run.display()));

    let mut ended_at = None;
    loop {
        let request = server
            .recv_timeout(Duration::from_secs(1))
            .map_err(|error| Error::Training(format!("the server failed: {error}")))?;
        if ended_at.is_none() && result(run)?.is_some() {
            ended_at = Some(Instant::now());
        }
        let is_shown = request.is_some_and(|request| answer(request, run));
        if ended_at.is_some_and(|at| is_shown || at.elapsed() > PATIENCE) {
            say(format_args!("{ended}"));
            return Ok(());
        }
    }
}

/// Answers a request; returns whether it was for the page.
fn answer(request: Request, run: &Path) -> bool {
    let is_page = is_local(&request) && request.method() == &Method::Get && request.url() == "/";
    let (status, kind, content) = if !is_page {
        (404, "plain", "only the page / is here".to_owned())
    } else {
        match RunFiles::read(run) {
            Ok(run) => (200, "html", live_page(&run)),
            Err(error) => (500, "plain", error.to_string()),
        }
    };
    let mut response = Response::from_string(content)
        .with_status_code(status)
        .with_header(header("Content-Type", &format!("text/{kind}; charset=utf-8")));
    if status == 500 {
        // Perhaps a file was being written.
        response.add_header(header("Refresh", &REFRESH.to_string()));
    }
    // A browser that is gone is no error.
    request.respond(response).is_ok() && status == 200
}

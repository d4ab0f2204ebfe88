//! The command `watch`: the page about a run in a browser, while it trains.

use std::{
    net::Ipv4Addr,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use tiny_http::{Header, Method, Request, Response, Server};

use crate::{
    Error,
    output::say,
    report::live_page,
    run::{RunFiles, files::check_is_run},
};

/// Which run to watch, and at which port.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The run's folder.
    pub run_dir: PathBuf,

    /// The port of this machine's loopback address; 0 takes a free one.
    #[arg(long, default_value = "8888")]
    pub port: u16,
}

/// A browser that still shows the run asks again within this time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves the page about a run on the loopback address, until the run ends.
pub(crate) fn watch(args: &WatchArgs) -> Result<(), Error> {
    check_is_run(&args.run_dir)?;
    let server = Server::http((Ipv4Addr::LOCALHOST, args.port))
        .map_err(|error| Error::Usage(format!("--port {}: {error}", args.port)))?;
    let port = server.server_addr().to_ip().map_or(args.port, |address| address.port());
    say(format_args!("http://127.0.0.1:{port} shows {} until it ends", args.run_dir.display()));

    let mut ended_since = None;
    loop {
        let request = server
            .recv_timeout(Duration::from_secs(1))
            .map_err(|error| Error::Training(format!("the server failed: {error}")))?;
        let run = RunFiles::read(&args.run_dir);
        let has_ended = run.as_ref().is_ok_and(|run| run.result.is_some());
        let is_shown = request.is_some_and(|request| answer(request, port, run));
        let since = has_ended.then(|| *ended_since.get_or_insert_with(Instant::now));
        if since.is_some_and(|since| is_shown || since.elapsed() > PATIENCE) {
            say(format_args!("the run has ended"));
            return Ok(());
        }
    }
}

/// Answers a request; returns whether it was for the page.
fn answer(request: Request, port: u16, run: Result<RunFiles, Error>) -> bool {
    let hosts = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    // A page of another name that leads to this address must not read the run.
    let is_local = request.headers().iter().any(|header| {
        header.field.equiv("Host") && hosts.iter().any(|host| header.value.as_str() == host)
    });
    let is_page = is_local && request.method() == &Method::Get && request.url() == "/";
    let (status, content) = match run {
        _ if !is_page => (404, "only the page / is here".to_owned()),
        Ok(run) => (200, live_page(&run)),
        Err(error) => (500, error.to_string()),
    };
    let kind = if status == 200 { "text/html" } else { "text/plain" };
    let header = Header::from_bytes("Content-Type", format!("{kind}; charset=utf-8"))
        .expect("a valid header");
    let response = Response::from_string(content).with_status_code(status).with_header(header);
    // A browser that is gone is no error.
    request.respond(response).is_ok() && status == 200
}

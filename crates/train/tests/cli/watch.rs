//! The page about a run, served while it trains.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Stdio},
};

use tempfile::TempDir;

use super::{assert_refused, quick, run, train};

/// What a browser that asks for this name gets.
fn get(port: &str, host: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The program, which ends with the test.
struct Watch(Child);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_run_is_shown_until_it_ends() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path().join("run");
    let name = folder.to_str().unwrap();
    assert!(run(&quick(name, &["--epochs", "1"])).status.success());
    // As while it trains.
    let result = fs::read(folder.join("result.json")).unwrap();
    fs::remove_file(folder.join("result.json")).unwrap();

    let watch = train(&["watch", name, "--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut watch = Watch(watch);
    let mut printed = BufReader::new(watch.0.stdout.take().unwrap());
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    let port = line.split("http://127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap();

    // Another port is one that a tunnel leads from.
    let host = "localhost:9999";
    let page = get(port, host, "/");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("No result yet."), "{page}");
    assert!(page.contains("http-equiv=\"refresh\"") && !page.contains("<script"), "{page}");
    for (host, path) in [("attacker.example", "/"), (host, "/config.toml")] {
        let page = get(port, host, path);
        assert!(page.starts_with("HTTP/1.1 404") && !page.contains("lenet"), "{page}");
    }

    fs::write(folder.join("result.json"), result).unwrap();
    let page = get(port, "127.0.0.1", "/");
    assert!(page.contains("Test accuracy") && !page.contains("http-equiv=\"refresh\""), "{page}");
    assert!(watch.0.wait().unwrap().success());
    let mut rest = String::new();
    printed.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("has ended") && rest.contains("report.html"), "{rest}");

    // Now it says so at once.
    let output = run(&["watch", name]);
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("has ended")
    );
}

#[test]
fn a_port_that_is_taken_and_a_run_that_is_missing_are_refused() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path().to_str().unwrap();
    assert_refused(run(&["watch", folder]), &["not the folder of a run"]);

    fs::write(temp.path().join("config.toml"), "").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    assert_refused(run(&["watch", folder, "--port", &port]), &["--port", &port]);
}

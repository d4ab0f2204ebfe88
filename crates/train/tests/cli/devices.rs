//! Runs on several devices, and on remote devices.

use std::path::Path;

use tempfile::TempDir;

use super::{quick, resume::metrics, train};

/// Two epochs of LeNet, which has no batch normalization, on these devices.
fn arguments<'a>(run_dir: &'a str, device: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    // `quick` sets its own device.
    let quick = quick(run_dir, &["--epochs", "2", "--set", device]).split_off(2);
    [&quick, &["--set", "network=lenet"][..], more].concat()
}

/// The losses of a run's steps.
fn losses(run: &Path) -> Vec<f64> {
    let lines = metrics(run);
    lines.iter().filter_map(|line| line["loss"].as_f64()).collect()
}

#[track_caller]
fn assert_near(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), 10, "five steps an epoch");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-4, "{found}, not {expected}");
    }
}

#[test]
fn two_devices_train_as_one() {
    let temp = TempDir::new().unwrap();
    let losses = |name: &str, device: &str| {
        let path = temp.path().join(name);
        let output = train(&arguments(path.to_str().unwrap(), device, &[])).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        losses(&path)
    };
    let expected = losses("one", "device=flex");
    assert!(expected[9] < expected[0], "the loss falls: {expected:?}");
    assert_near(&losses("two", "devices=[\"flex\", \"flex\"]"), &expected);
    // 640 is not divisible by three.
    assert_near(&losses("three", "devices=[\"flex\", \"flex\", \"flex\"]"), &expected);
}

/// The running mean and variance of batch normalization are averaged over the devices; the sum of
/// two is the same in either order.
#[test]
fn two_devices_with_batch_norm_are_the_same_twice() {
    let temp = TempDir::new().unwrap();
    let epochs = |name: &str| {
        let path = temp.path().join(name);
        let devices = "devices=[\"flex\", \"flex\"]";
        let more = ["--set", "network=lenet_bn"];
        let output = train(&arguments(path.to_str().unwrap(), devices, &more)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        metrics(&path)
    };
    assert_eq!(epochs("first"), epochs("second"));
}

/// The list has the API of every GPU; `auto` never takes one with OpenGL.
#[test]
fn every_gpu_is_listed_with_its_api() {
    let output = train(&["devices", "--json"]).output().unwrap();
    let devices: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for device in devices.as_array().unwrap() {
        let apis: &[&str] = match device["backend"].as_str().unwrap() {
            "flex" | "ndarray" => {
                assert!(device["api"].is_null(), "{device}");
                continue;
            }
            "wgpu" => &["vulkan", "metal", "direct-x12", "open-gl"],
            other => &[other],
        };
        assert!(apis.contains(&device["api"].as_str().unwrap_or("none")), "{device}");
        assert!(device["api"] != "open-gl" || device["auto"] == false, "{device}");
    }
}

#[cfg(feature = "remote")]
mod remote {
    use std::{
        io::{BufRead, BufReader},
        process::{Child, Output, Stdio},
    };

    use super::{super::assert_refused, *};

    /// A server, which is killed when it is dropped.
    struct Server {
        child: Child,
        /// `device=remote:ws://...`
        device: String,
        /// The token of the command that the server printed.
        token: String,
    }

    impl Server {
        fn start(device: &str, token: Option<&str>) -> Self {
            let arguments = ["serve", "--bind", "127.0.0.1:0", "--device", device];
            let mut child = train(&arguments)
                .env_remove("TRAIN_TOKEN")
                .envs(token.map(|token| ("TRAIN_TOKEN", token)))
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let line = lines.find(|line| line.as_ref().unwrap().starts_with("TRAIN_TOKEN="));
            // TRAIN_TOKEN=token PROGRAM --device remote:ws://...
            let line = line.unwrap().unwrap();
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(words[words.len() - 2], "--device", "{line}");
            let token = words[0].trim_start_matches("TRAIN_TOKEN=").to_owned();
            Self { child, device: format!("device={}", words[words.len() - 1]), token }
        }

        fn run(&self, arguments: &[&str], token: &str) -> Output {
            train(arguments).env("TRAIN_TOKEN", token).output().unwrap()
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }

    #[test]
    fn another_process_trains_as_this_one() {
        let temp = TempDir::new().unwrap();
        let path = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();
        let (here, there) = (path("here"), path("there"));
        assert!(train(&arguments(&here, "device=flex", &[])).output().unwrap().status.success());
        let server = Server::start("flex", None);
        assert!(server.token.len() == 32, "128 bits: {}", server.token);
        let output = server.run(&arguments(&there, &server.device, &[]), &server.token);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_near(&losses(there.as_ref()), &losses(here.as_ref()));

        // Batch norm kernels do not run on remote devices, Burn's operations do.
        let normalized = path("normalized");
        let batch_norm = ["--set", "network=lenet_bn"];
        let output =
            server.run(&arguments(&normalized, &server.device, &batch_norm), &server.token);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

        let refused = server.run(&arguments(&path("refused"), &server.device, &[]), "guess");
        assert_refused(refused, &["cannot use the remote device", "TRAIN_TOKEN"]);
        let nobody = ["--device", "remote:ws://127.0.0.1:1"];
        assert_refused(train(&nobody).output().unwrap(), &["cannot use the remote device"]);

        // Each server creates its own token, unless it is given one, which it does not print.
        assert_ne!(Server::start("flex", None).token, server.token);
        let given = Server::start("flex", Some("secret"));
        assert_eq!(given.token, "$TRAIN_TOKEN");
        let refused = given.run(&arguments(&path("other"), &given.device, &[]), &server.token);
        assert_refused(refused, &["cannot use the remote device", "TRAIN_TOKEN"]);
        let output = given.run(&arguments(&path("given"), &given.device, &[]), "secret");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

        // No option for the token: every user of a machine can list the arguments of programs.
        let listed = train(&["serve", "--token", "secret"]).output().unwrap();
        assert_refused(listed, &["unexpected argument '--token'"]);
    }

    /// If a server dies during a run, the run ends with an error, and resumes on another device.
    #[test]
    fn a_server_that_dies_leaves_a_run_that_goes_on() {
        let temp = TempDir::new().unwrap();
        let run = temp.path().join("run");
        let run = run.to_str().unwrap();
        let mut server = Server::start("flex", Some("secret"));
        let mut arguments = arguments(run, &server.device, &[]);
        let epochs = arguments.iter().position(|&argument| argument == "--epochs").unwrap();
        arguments[epochs + 1] = "4";
        let mut child = train(&arguments)
            .env("TRAIN_TOKEN", "secret")
            .env_remove("RUST_BACKTRACE")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.find(|line| line.as_ref().unwrap().starts_with("epoch 1/")).unwrap().unwrap();
        server.child.kill().unwrap();
        lines.for_each(drop);
        let output = child.wait_with_output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{message}");
        let way_on =
            format!("`{} resume {run}` continues after epoch ", env!("CARGO_BIN_EXE_modern-cnn"));
        assert!(message.starts_with("error: ") && message.contains(&way_on), "{message}");

        let resumed = train(&["resume", run, "--device", "flex"]).output().unwrap();
        assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
        assert_eq!(losses(run.as_ref()).len(), 20, "five steps in each of four epochs");
    }
}

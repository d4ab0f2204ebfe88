//! Builds the web page, and serves it.

use std::{
    env, fs,
    io::{self, Read},
    net::Ipv4Addr,
    path::{Component, Path, PathBuf},
    process::{Command, Stdio},
};

use clap::Args;
use serde_json::Value;
use tiny_http::{Header, Method, Request, Response, Server};
use train::Error;

use crate::assets::{cannot_write, root};

/// Where the page goes, and whether it is served.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The folder for the page.
    #[arg(long, default_value = "web")]
    output: PathBuf,

    /// Serves the page on this machine's loopback address when it is built, and the files of
    /// FASHION_MNIST_DIR with it.
    #[arg(long)]
    serve: bool,

    /// The port for --serve; 0 takes a free one.
    #[arg(long, default_value = "8000", requires = "serve")]
    port: u16,
}

const TARGET: &str = "wasm32-unknown-unknown";

/// The files of `crates/web/page`, with their media types.
const PAGE: [(&str, &str); 6] = [
    ("index.html", "text/html; charset=utf-8"),
    ("style.css", "text/css; charset=utf-8"),
    ("page.js", "text/javascript; charset=utf-8"),
    ("worker.js", "text/javascript; charset=utf-8"),
    ("charts.js", "text/javascript; charset=utf-8"),
    ("texts.js", "text/javascript; charset=utf-8"),
];

/// The files that are made from the compiled crate.
const COMPILED: [(&str, &str); 2] =
    [("web.js", "text/javascript; charset=utf-8"), ("web_bg.wasm", "application/wasm")];

/// Builds the page: compiles `crates/web`, makes its JavaScript with `wasm-bindgen`, and copies the
/// page beside it.
///
/// # Errors
///
/// If a program is missing or fails, or a file cannot be written.
pub fn run(arguments: &Arguments) -> Result<(), Error> {
    let output = &arguments.output;
    fs::create_dir_all(output).map_err(|source| cannot_write(output, source))?;
    bind(&compile()?, output)?;
    for (name, _) in PAGE {
        let to = output.join(name);
        fs::copy(root().join("crates/web/page").join(name), &to)
            .map_err(|source| cannot_write(&to, source))?;
    }
    println!("{}", output.join("index.html").display());
    if arguments.serve { serve(output, arguments.port) } else { Ok(()) }
}

/// Compiles the crate; returns the path of the WebAssembly.
fn compile() -> Result<PathBuf, Error> {
    let mut flags = env::var("RUSTFLAGS").unwrap_or_default();
    flags.push_str(" -C target-feature=+simd128");
    let mut command = Command::new("cargo");
    command
        .args(["build", "--package", "web", "--profile", "web", "--target", TARGET])
        .args(["--message-format", "json-render-diagnostics"])
        .env("RUSTFLAGS", flags.trim())
        .current_dir(root())
        .stderr(Stdio::inherit());
    let output = command.output().map_err(|error| failed("cargo", &error))?;
    if !output.status.success() {
        return Err(Error::Usage(format!(
            "the crate `web` was not compiled. If the compiler did not find `core` or `std`, install \
             the target: `rustup target add {TARGET}`"
        )));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let files = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let files =
        files.flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default());
    let mut paths = files.filter_map(|file| file.as_str().map(PathBuf::from));
    let found = paths.find(|path| path.file_name().is_some_and(|name| name == "web.wasm"));
    found.ok_or_else(|| Error::Usage("cargo did not say where it wrote web.wasm".to_owned()))
}

/// Makes the JavaScript that calls the WebAssembly.
fn bind(compiled: &Path, output: &Path) -> Result<(), Error> {
    let version = locked_version("wasm-bindgen")?;
    let install = format!("install it: `cargo install wasm-bindgen-cli --version {version}`");
    let mut command = Command::new("wasm-bindgen");
    command.args(["--target", "web", "--no-typescript", "--out-name", "web", "--out-dir"]);
    let status =
        command.arg(output).arg(compiled).status().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Usage(format!("there is no wasm-bindgen: {install}")),
            _ => failed("wasm-bindgen", &error),
        })?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Usage(format!("wasm-bindgen failed. If it is another version, {install}")))
    }
}

/// The version of a crate in `Cargo.lock`.
fn locked_version(name: &str) -> Result<String, Error> {
    let path = root().join("Cargo.lock");
    let unreadable = |error: String| Error::Usage(format!("{}: {error}", path.display()));
    let text = fs::read_to_string(&path).map_err(|error| unreadable(error.to_string()))?;
    let lock: toml::Table = toml::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    let packages = lock["package"].as_array().into_iter().flatten();
    let mut found = packages.filter(|package| package["name"].as_str() == Some(name));
    let version = found.next().and_then(|package| package["version"].as_str());
    version.map(ToOwned::to_owned).ok_or_else(|| unreadable(format!("has no {name}")))
}

fn failed(program: &str, error: &io::Error) -> Error {
    Error::Usage(format!("cannot run {program}: {error}"))
}

/// Serves the page until Ctrl-C.
fn serve(page: &Path, port: u16) -> Result<(), Error> {
    let server = Server::http((Ipv4Addr::LOCALHOST, port)).map_err(|error| {
        Error::Usage(format!("--port {port}: {error}; `--port 0` takes a free one"))
    })?;
    let port = server.server_addr().to_ip().map_or(port, |address| address.port());
    println!("http://127.0.0.1:{port}");
    let images = env::var_os("FASHION_MNIST_DIR").map(PathBuf::from);
    for request in server.incoming_requests() {
        // A browser that is gone is no error.
        let _ = answer(request, page, images.as_deref());
    }
    Ok(())
}

fn answer(request: Request, page: &Path, images: Option<&Path>) -> io::Result<()> {
    let url =
        request.url().split('?').next().unwrap_or_default().trim_start_matches('/').to_owned();
    let name = if url.is_empty() { "index.html" } else { &url };
    let known = PAGE.iter().chain(&COMPILED).find(|(known, _)| *known == name);
    let file = match (known, name.strip_prefix("fashion-mnist/"), images) {
        (Some((name, kind)), ..) => Some((page.join(name), *kind)),
        (None, Some(name), Some(images)) if is_plain(name) => {
            Some((images.join(name), "application/octet-stream"))
        }
        _ => None,
    };
    let content = file.filter(|_| request.method() == &Method::Get).and_then(|(path, kind)| {
        let mut content = Vec::new();
        fs::File::open(path).ok()?.read_to_end(&mut content).ok()?;
        Some((content, kind))
    });
    let Some((content, kind)) = content else {
        return request.respond(Response::from_string("not found").with_status_code(404));
    };
    let header = Header::from_bytes("Content-Type", kind).expect("valid");
    request.respond(Response::from_data(content).with_header(header))
}

/// Whether this is the name of a file, without a folder.
fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_folder_are_served() {
        assert!(is_plain("train-labels-idx1-ubyte.gz"));
        for name in ["", "..", "../secret", "a/b", "/etc/hosts", "."] {
            assert!(!is_plain(name), "{name}");
        }
    }

    #[test]
    fn all_files_of_the_page_are_known() {
        let folder = fs::read_dir(root().join("crates/web/page")).unwrap();
        let mut found: Vec<_> =
            folder.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        let mut known = PAGE.map(|(name, _)| name.to_owned()).to_vec();
        found.sort();
        known.sort();
        assert_eq!(found, known);
    }

    /// Each text exists in both languages, and the page names no other.
    #[test]
    fn both_languages_have_all_texts_of_the_page() {
        let read = |name| fs::read_to_string(root().join("crates/web/page").join(name)).unwrap();
        let texts = read("texts.js");
        let (english, chinese) = texts.split_once("\n  zh: {").unwrap();
        let has = |part: &str, key: &str| part.contains(&format!("{key}:"));
        let index = read("index.html");
        let named = index.split("data-text=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        let page = read("page.js");
        let used = page.split("t.").skip(1).zip(page.split("t.")).filter_map(|(after, before)| {
            let is_name = |char: char| char.is_alphanumeric();
            let is_texts = !before.ends_with(|char: char| is_name(char) || char == '.');
            is_texts.then(|| after.split(|char| !is_name(char)).next().unwrap())
        });
        let mut count = 0;
        for key in named.chain(used) {
            assert!(has(english, key) && has(chinese, key), "{key}");
            count += 1;
        }
        assert!(count > 60, "{count}");
    }
}

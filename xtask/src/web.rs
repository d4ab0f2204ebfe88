//! Builds the web page, and serves it.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::Args;
use fashion_mnist::Files;
use serde_json::Value;
use tiny_http::{Method, Request, Response};
use train::{
    Error,
    loopback::{header, is_local, server},
};

use crate::assets::{cannot_write, root};

/// Where the page goes, and whether it is served.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The folder for the page.
    #[arg(long, default_value = "web")]
    output: PathBuf,

    /// Serves the page on this machine's loopback address when it is built, and Fashion-MNIST with it,
    /// from where `train` finds or downloads it.
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
    let text = |package: &toml::Value, key| Some(package.get(key)?.as_str()?.to_owned());
    let mut packages = lock.get("package").and_then(|it| it.as_array()).into_iter().flatten();
    let found = packages.find(|package| text(package, "name").as_deref() == Some(name));
    let version = found.and_then(|package| text(package, "version"));
    version.ok_or_else(|| unreadable(format!("has no {name}")))
}

fn failed(program: &str, error: &io::Error) -> Error {
    Error::Usage(format!("cannot run {program}: {error}"))
}

/// The packed files of Fashion-MNIST, as the page asks for them.
const IMAGES: [&str; 4] = [
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
];

/// The page's policy, which a server must send for the worker, too: no other machine is asked.
const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; \
                      connect-src 'self'; style-src 'self'; img-src data:; base-uri 'none'; \
                      form-action 'none'";

/// Serves the page until Ctrl-C.
fn serve(page: &Path, port: u16) -> Result<(), Error> {
    let images = Files::find(None);
    if let Err(error) = &images {
        eprintln!("the page is served without Fashion-MNIST: {error}");
    }
    let images = images.ok().map(|files| files.directory().to_owned());
    let (server, port) = server(port)?;
    println!("http://127.0.0.1:{port}");
    for request in server.incoming_requests() {
        // A browser that is gone is no error.
        let _ = answer(request, page, images.as_deref());
    }
    Ok(())
}

fn answer(request: Request, page: &Path, images: Option<&Path>) -> io::Result<()> {
    let is_read = is_local(&request) && request.method() == &Method::Get;
    let found = file(request.url(), page, images).filter(|_| is_read);
    let found = found.and_then(|(path, kind)| Some((fs::read(path).ok()?, kind)));
    let Some((content, kind)) = found else {
        return request.respond(Response::from_string("not found").with_status_code(404));
    };
    let response = Response::from_data(content)
        .with_header(header("Content-Type", kind))
        .with_header(header("Content-Security-Policy", POLICY))
        .with_header(header("X-Content-Type-Options", "nosniff"));
    request.respond(response)
}

/// The file behind an address, and its media type.
fn file(url: &str, page: &Path, images: Option<&Path>) -> Option<(PathBuf, &'static str)> {
    let path = url.split('?').next()?.strip_prefix('/')?;
    let name = if path.is_empty() { "index.html" } else { path };
    if let Some((name, kind)) = PAGE.iter().chain(&COMPILED).find(|(known, _)| *known == name) {
        return Some((page.join(name), kind));
    }
    let image = name.strip_prefix("fashion-mnist/").filter(|name| IMAGES.contains(name))?;
    Some((images?.join(image), "application/octet-stream"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_page_and_the_images_are_served() {
        let find = |url: &str| file(url, Path::new("web"), Some(Path::new("images")));
        let path = |url: &str| find(url).unwrap().0;
        assert_eq!(path("/"), Path::new("web/index.html"));
        assert_eq!(path("/?lang=zh"), Path::new("web/index.html"));
        assert_eq!(find("/web_bg.wasm").unwrap().1, "application/wasm");
        let labels = "train-labels-idx1-ubyte.gz";
        assert_eq!(path(&format!("/fashion-mnist/{labels}")), Path::new("images").join(labels));
        for url in ["", "/../secret", "/fashion-mnist/", "/fashion-mnist/../secret", "//etc/hosts"]
        {
            assert_eq!(find(url), None, "{url}");
        }
    }

    /// The page has it for servers that do not send it.
    #[test]
    fn the_policy_is_that_of_the_page() {
        let page = fs::read_to_string(root().join("crates/web/page/index.html")).unwrap();
        assert!(page.contains(&format!("content=\"{POLICY}\"")));
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

    #[test]
    fn the_readme_installs_the_locked_version() {
        let readme = fs::read_to_string(root().join("crates/web/README.md")).unwrap();
        let version = locked_version("wasm-bindgen").unwrap();
        assert!(readme.contains(&format!("wasm-bindgen-cli --version {version} ")), "{version}");
    }

    /// Each text exists in both languages, and the page names no other.
    #[test]
    fn both_languages_have_all_texts_of_the_page() {
        let read = |name| fs::read_to_string(root().join("crates/web/page").join(name)).unwrap();
        let texts = read("texts.js");
        let (english, chinese) = texts.split_once("\n  zh: {").unwrap();
        let has = |part: &str, key: &str| {
            let starts = [" ", "{"].map(|before| format!("{before}{key}:"));
            starts.iter().any(|start| part.contains(start))
        };
        let index = read("index.html");
        let named = ["data-text=\"", "data-label=\""].into_iter().flat_map(|start| {
            index.split(start).skip(1).map(|rest| rest.split('"').next().unwrap())
        });
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

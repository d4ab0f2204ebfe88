//! The command line of this program, for messages that say what to do next.

use std::{borrow::Cow, env, path::Path};

/// The command that runs this program again with these arguments, in the way the user started it:
/// through cargo, or by its path.
pub(crate) fn command(arguments: &[&str]) -> String {
    let words = called().into_iter().chain(arguments.iter().map(|&argument| argument.to_owned()));
    words.map(|word| quoted(&word).into_owned()).collect::<Vec<_>>().join(" ")
}

/// The command that resumes a run.
pub(crate) fn resume(run: &Path) -> String {
    command(&["resume", &run.display().to_string()])
}

/// The command line of this process, without its own arguments.
fn called() -> Vec<String> {
    // Cargo sets this variable to the package of the program that it runs.
    if env::var_os("CARGO_PKG_NAME").is_none_or(|name| name != env!("CARGO_PKG_NAME")) {
        let path = env::args_os().next().unwrap_or_else(|| env!("CARGO_PKG_NAME").into());
        return vec![path.to_string_lossy().into_owned()];
    }
    let release = env::current_exe().is_ok_and(|path| {
        path.parent().and_then(Path::file_name).is_some_and(|profile| profile == "release")
    });
    let mut words = vec!["cargo", "run", "-p", env!("CARGO_PKG_NAME")];
    words.extend(release.then_some("--release"));
    words.extend(cfg!(not(feature = "wgpu")).then_some("--no-default-features"));
    // With other features, cargo would compile the program again.
    let features = [
        ("cuda", cfg!(feature = "cuda")),
        ("metal", cfg!(feature = "metal")),
        ("ndarray", cfg!(feature = "ndarray")),
        ("remote", cfg!(feature = "remote")),
        ("rocm", cfg!(feature = "rocm")),
        ("vulkan", cfg!(feature = "vulkan")),
    ];
    let features: Vec<&str> =
        features.into_iter().filter(|(_, is_on)| *is_on).map(|(name, _)| name).collect();
    let features = features.join(",");
    if !features.is_empty() {
        words.extend(["--features", &features]);
    }
    words.push("--");
    words.into_iter().map(str::to_owned).collect()
}

/// Quotes a word for the shell.
fn quoted(word: &str) -> Cow<'_, str> {
    match cfg!(windows) {
        // Its shells support only these quotes, and file names cannot contain them.
        true if word.contains(' ') => format!("\"{word}\"").into(),
        true => word.into(),
        false => shlex::try_quote(word).unwrap_or(word.into()),
    }
}

//! Trains a convolutional network on Fashion-MNIST; see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    quieten_wayland();
    train::cli::run()
}

/// Without a desktop session, each look for an OpenGL adapter makes the Wayland library complain on
/// standard error that this variable is not set.
fn quieten_wayland() {
    const VARIABLE: &str = "XDG_RUNTIME_DIR";
    if cfg!(target_os = "linux") && std::env::var_os(VARIABLE).is_none() {
        // SAFETY: nothing else runs yet that could read the environment at the same time.
        unsafe { std::env::set_var(VARIABLE, std::env::temp_dir()) };
    }
}

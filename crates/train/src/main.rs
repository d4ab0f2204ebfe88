//! Trains a convolutional network on Fashion-MNIST; see the library of the same name.

use std::process::ExitCode;

use train::allocator::{MiMalloc, keep_freed_memory};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    keep_freed_memory();
    // SAFETY: no other thread is running yet that could read the environment.
    unsafe { set_environment() };
    // Silent, unless the environment variable RUST_LOG asks for more.
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("off"));
    train::cli::run()
}

/// # Safety
///
/// No other thread may run.
unsafe fn set_environment() {
    // Without a desktop session, each search for an OpenGL adapter makes the Wayland library print
    // on standard error that this variable is not set.
    const SESSION: &str = "XDG_RUNTIME_DIR";
    if cfg!(target_os = "linux") && std::env::var_os(SESSION).is_none() {
        unsafe { std::env::set_var(SESSION, std::env::temp_dir()) };
    }
    // Burn loads an optimizer's state to its default device, and then moves it to the run's. In a
    // build with a GPU backend the default is a GPU, which the machine may lack; the CPU always
    // exists.
    unsafe { std::env::set_var("BURN_DEVICE", "flex") };
}

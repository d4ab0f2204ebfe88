//! Trains a convolutional network on Fashion-MNIST; see the library of the same name.

use std::process::ExitCode;

use train::allocator::{MiMalloc, keep_freed_memory};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    keep_freed_memory();
    // SAFETY: nothing else runs yet that could read the environment at the same time.
    unsafe { set_environment() };
    train::cli::run()
}

/// # Safety
///
/// No other thread may run.
unsafe fn set_environment() {
    // Without a desktop session, each look for an OpenGL adapter makes the Wayland library complain
    // on standard error that this variable is not set.
    const SESSION: &str = "XDG_RUNTIME_DIR";
    if cfg!(target_os = "linux") && std::env::var_os(SESSION).is_none() {
        unsafe { std::env::set_var(SESSION, std::env::temp_dir()) };
    }
    // Burn reads an optimizer's memory to its default device, from where it goes to the run's. That
    // is a GPU in a build with one, which the machine may lack; the CPU is always there.
    unsafe { std::env::set_var("BURN_DEVICE", "flex") };
}

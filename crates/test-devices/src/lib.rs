//! The devices that a test of this workspace runs on: every backend of the build.
//!
//! Tests also pass on a machine without a usable graphics adapter, not even a software one; each
//! test that could not run on a GPU then says so on standard error. If the environment variable
//! [`REQUIRE_ADAPTER`] is set, a missing adapter is a failure instead: set it on machines that must
//! have one.
//!
//! Adapters accessed through OpenGL are not used: wgpu's OpenGL backend panics when several threads
//! use it at once, as the tests of one program do.

#![warn(missing_docs)]

use burn::tensor::Device;

/// The environment variable that turns a missing adapter into a failure.
pub const REQUIRE_ADAPTER: &str = "REQUIRE_ADAPTER";

/// [`cpu`] and, if built in, a wgpu adapter; each with its name.
///
/// # Panics
///
/// As `wgpu`.
pub fn all() -> Vec<(&'static str, Device)> {
    #[allow(unused_mut)]
    let mut devices = cpu();
    #[cfg(feature = "wgpu")]
    devices.extend(wgpu().map(|device| ("wgpu", device)));
    devices
}

/// Flex and, if built in, ndarray; each with its name.
pub fn cpu() -> Vec<(&'static str, Device)> {
    #[allow(unused_mut)]
    let mut devices = vec![("flex", Device::flex())];
    #[cfg(feature = "ndarray")]
    #[allow(deprecated)]
    devices.push(("ndarray", Device::ndarray()));
    devices
}

/// The first wgpu adapter that does not use OpenGL; `None` on a machine without one, with a line on
/// standard error.
///
/// # Panics
///
/// If there is none although [`REQUIRE_ADAPTER`] is set.
#[cfg(feature = "wgpu")]
pub fn wgpu() -> Option<Device> {
    use std::{io::Write, sync::LazyLock};

    /// The adapter, or why there is none. Searched once, because the drivers take a while.
    static ADAPTER: LazyLock<Result<Device, &str>> = LazyLock::new(|| {
        let devices = Device::enumerate(burn::tensor::DeviceType::Wgpu).into_vec();
        let first = devices.into_iter().next().ok_or("no wgpu adapter")?;
        if is_opengl() { Err("no wgpu adapter except with OpenGL") } else { Ok(first) }
    });

    match &*ADAPTER {
        Ok(device) => Some(device.clone()),
        Err(what) => {
            let thread = std::thread::current();
            let message = format!("{what} for {}", thread.name().unwrap_or("a test"));
            assert!(std::env::var_os(REQUIRE_ADAPTER).is_none(), "{message}");
            // Not eprintln!, which the test runner does not show when the test passes.
            writeln!(std::io::stderr(), "{message}: not run on wgpu").ok();
            None
        }
    }
}

/// Whether wgpu accesses this machine's adapters through OpenGL: CubeCL takes all of them from one
/// API, and uses OpenGL only if no other API has a GPU.
#[cfg(feature = "wgpu")]
fn is_opengl() -> bool {
    use cubecl::wgpu::{AutoGraphicsApi, GraphicsApi, wgpu::Backend};
    AutoGraphicsApi::backend() == Backend::Gl
}

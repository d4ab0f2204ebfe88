//! The devices that a test of this workspace runs on: every backend that the build has.
//!
//! A machine without any graphics adapter, not even a software one, still passes the tests; each
//! test that could not run on a GPU then says so on standard error. With the environment variable
//! [`REQUIRE_ADAPTER`] set, a missing adapter is a failure instead: set it where there must be one.

#![warn(missing_docs)]

use burn::tensor::Device;

/// The environment variable that turns a missing adapter into a failure.
pub const REQUIRE_ADAPTER: &str = "REQUIRE_ADAPTER";

/// Flex, then, if they are built in, ndarray and a wgpu adapter; each with its name.
///
/// # Panics
///
/// If there is no wgpu adapter although [`REQUIRE_ADAPTER`] is set.
pub fn all() -> Vec<(&'static str, Device)> {
    #[allow(unused_mut)]
    let mut devices = vec![("flex", Device::flex())];
    #[cfg(feature = "ndarray")]
    #[allow(deprecated)]
    devices.push(("ndarray", Device::ndarray()));
    #[cfg(feature = "wgpu")]
    devices.extend(wgpu().map(|device| ("wgpu", device)));
    devices
}

/// The first wgpu adapter; `None` on a machine without any, after saying so on standard error.
///
/// # Panics
///
/// If there is none although [`REQUIRE_ADAPTER`] is set.
#[cfg(feature = "wgpu")]
pub fn wgpu() -> Option<Device> {
    use std::io::Write;

    let found = Device::enumerate(burn::tensor::DeviceType::Wgpu).into_vec().into_iter().next();
    if found.is_none() {
        let thread = std::thread::current();
        let message = format!("no wgpu adapter for {}", thread.name().unwrap_or("a test"));
        assert!(std::env::var_os(REQUIRE_ADAPTER).is_none(), "{message}");
        // Not eprintln!, which the test runner keeps to itself when the test passes.
        writeln!(std::io::stderr(), "{message}: not run there").ok();
    }
    found
}

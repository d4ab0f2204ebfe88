//! Which device a run uses.

use super::{
    list::{Found, Kind, list},
    name::{Backend, DeviceName},
};
use crate::Error;

/// The device of a run.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The device.
    pub found: Found,
    /// Why it was chosen if the config does not name it, or a note about a named device.
    pub reason: Option<String>,
}

impl From<Found> for Chosen {
    /// For a device that the user named.
    fn from(found: Found) -> Self {
        let reason = (!found.is_tested()).then(|| "through OpenGL, which is not tested".to_owned());
        Self { found, reason }
    }
}

/// The device with this name.
///
/// # Errors
///
/// If the backend is not built in, or this machine has no such device.
pub fn choose(name: DeviceName) -> Result<Chosen, Error> {
    match name {
        DeviceName::Auto => Ok(best_of(&list())),
        DeviceName::Of(backend, index) => Ok(choose_of(backend, index)?.into()),
        DeviceName::Remote(url, index) => Ok(remote(&url, index.unwrap_or_default())?.into()),
    }
}

/// The devices with these names, to train together.
///
/// # Errors
///
/// As [`choose`], and if they are of several backends.
pub fn choose_all(names: &[DeviceName]) -> Result<Vec<Chosen>, Error> {
    let chosen = names.iter().cloned().map(choose).collect::<Result<Vec<_>, _>>()?;
    let backend = |chosen: &Chosen| chosen.found.backend;
    match chosen.iter().find(|other| backend(other) != backend(&chosen[0])) {
        Some(other) => Err(Error::Usage(format!(
            "devices of several backends cannot train together: {} and {}",
            chosen[0].found.name, other.found.name
        ))),
        None => Ok(chosen),
    }
}

/// All devices that a name means: for a backend without a number, all of its devices.
///
/// # Errors
///
/// As [`choose`].
pub fn all_of(name: DeviceName) -> Result<Vec<Found>, Error> {
    let first = choose(name.clone())?.found;
    Ok(match name {
        DeviceName::Of(backend, None) => backend.devices(),
        _ => vec![first],
    })
}

/// The environment variable with the token that a server requires.
pub const TOKEN: &str = "TRAIN_TOKEN";

/// A device of a server.
#[cfg(feature = "remote")]
fn remote(url: &str, index: usize) -> Result<Found, Error> {
    let mut host = burn::remote::RemoteHost::websocket(url);
    if let Ok(token) = std::env::var(TOKEN) {
        host = host.with_credential(token);
    }
    let device = burn::tensor::Device::remote_options(&host).device_index(index).init().map_err(|error| {
        Error::Usage(format!(
            "cannot use the remote device {url}#{index}: {error} (is the command `serve` running \
             there? {TOKEN} must hold the token that it printed or was given)"
        ))
    })?;
    let name = DeviceName::Remote(url.to_owned(), Some(index)).to_string();
    Ok(Found { name, backend: "remote", kind: Kind::Gpu, api: None, device })
}

#[cfg(not(feature = "remote"))]
fn remote(_url: &str, _index: usize) -> Result<Found, Error> {
    Err(Error::Usage(
        "this build has no remote devices: build it with `--features remote`".to_owned(),
    ))
}

/// The device of this machine that `auto` chooses: the best kind, the first one of several, and
/// never one through OpenGL.
pub fn best_of(devices: &[Found]) -> Chosen {
    let tested = devices.iter().filter(|found| found.is_tested());
    let best = tested.min_by_key(|found| found.kind).expect("flex is always built in");
    if best.kind < Kind::Cpu {
        let reason = Some("auto: the best GPU of this machine".to_owned());
        return Chosen { found: best.clone(), reason };
    }

    let reason = match devices.iter().find(|found| found.kind != Kind::Cpu) {
        _ if cfg!(not(feature = "_cube")) => "auto: this build has no GPU backend".to_owned(),
        Some(software) if software.kind == Kind::SoftwareGpu => format!(
            "auto: no GPU found; {} only emulates one on the CPU and is slower than {}",
            software.name, best.name
        ),
        Some(opengl) => format!(
            "auto: {} is reached through OpenGL, which is not tested and used only if named",
            opengl.name
        ),
        None => "auto: no GPU found".to_owned(),
    };
    Chosen { found: best.clone(), reason: Some(reason) }
}

fn choose_of(backend: Backend, index: Option<usize>) -> Result<Found, Error> {
    if backend.device_type().is_none() {
        return Err(Error::Usage(format!(
            "this build has no {backend} backend: build it with `--features {backend}`"
        )));
    }
    let devices = backend.devices();
    let names = devices.iter().map(|found| found.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = match index {
        Some(index) => devices.get(index),
        None => devices.iter().min_by_key(|found| found.kind),
    };
    found.cloned().ok_or_else(|| {
        Error::Usage(match (devices.len(), index) {
            (0, _) => format!(
                "no device found for {backend}: this machine has no GPU that {backend} can use, \
                 or no driver for it (on Linux, a Vulkan driver and the loader libvulkan1); \
                 `--device flex` computes on the CPU"
            ),
            (_, index) => format!(
                "no device {backend}:{}: this machine has {names}",
                index.unwrap_or_default()
            ),
        })
    })
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::device::Api;

    fn found(name: &str, kind: Kind, api: Option<Api>) -> Found {
        Found { name: name.to_owned(), backend: "any", kind, api, device: Device::flex() }
    }

    #[test]
    fn auto_takes_no_gpu_through_opengl() {
        let flex = found("flex", Kind::Cpu, None);
        for kind in [Kind::DiscreteGpu, Kind::IntegratedGpu, Kind::Gpu, Kind::SoftwareGpu] {
            let opengl = found("wgpu:0", kind, Some(Api::OpenGl));
            let chosen = best_of(&[opengl.clone(), flex.clone()]);
            assert_eq!(chosen.found.name, "flex", "{kind}");
            let vulkan = found("wgpu:0", kind, Some(Api::Vulkan));
            let expected = if kind == Kind::SoftwareGpu { "flex" } else { "wgpu:0" };
            assert_eq!(best_of(&[vulkan, flex.clone()]).found.name, expected, "{kind}");
            // If named, it is used, with a note.
            let reason = Chosen::from(opengl).reason.unwrap();
            assert_eq!(reason, "through OpenGL, which is not tested");
        }
        if cfg!(feature = "_cube") {
            let opengl = found("wgpu:0", Kind::DiscreteGpu, Some(Api::OpenGl));
            let reason = best_of(&[opengl, flex]).reason.unwrap();
            assert!(reason.contains("wgpu:0 is reached through OpenGL"), "{reason}");
        }
    }
}

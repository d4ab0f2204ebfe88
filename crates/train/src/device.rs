//! Devices: their names in a config, and those of this machine.

use std::{fmt, str::FromStr};

use burn::tensor::{Device, DeviceKind, DeviceType};
use serde::{Deserialize, Serialize};

use crate::{Config, Error};

/// A device as a config names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceName {
    /// A real GPU if there is one, otherwise the CPU.
    #[default]
    Auto,
    /// A device of one backend: the one with this number or, without a number, the best.
    Of(Backend, Option<usize>),
    /// A device of another machine, which runs the command `serve` at this address: the one with
    /// this number or, without a number, the first.
    Remote(String, Option<usize>),
}

/// A backend of Burn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Any GPU, through Vulkan, Metal, DirectX 12 or OpenGL.
    Wgpu,
    /// wgpu, through Vulkan alone.
    Vulkan,
    /// wgpu, through Metal alone.
    Metal,
    /// NVIDIA GPUs, through CUDA.
    Cuda,
    /// AMD GPUs, through ROCm.
    Rocm,
    /// The CPU, with Burn's own backend.
    Flex,
    /// The CPU, with the ndarray crate; slower than flex.
    NdArray,
}

/// A device of this machine.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// Its name in a config, such as `wgpu:0`.
    pub name: String,
    /// The backend's part of the name.
    pub backend: &'static str,
    /// The kind of device.
    pub kind: Kind,
    /// The API of a GPU; `None` for a CPU, and for a device of another machine.
    pub api: Option<Api>,
    /// The device.
    #[serde(skip)]
    pub device: Device,
}

/// The API through which a GPU is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Api {
    /// Vulkan.
    Vulkan,
    /// Metal.
    Metal,
    /// DirectX 12.
    DirectX12,
    /// OpenGL. Not tested: wgpu's OpenGL backend panics when several threads use it at once.
    OpenGl,
    /// CUDA.
    Cuda,
    /// ROCm.
    Rocm,
}

/// The kind of a device, the best one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A graphics card.
    DiscreteGpu,
    /// A GPU that shares the processor's memory.
    IntegratedGpu,
    /// A GPU of a virtual machine.
    VirtualGpu,
    /// A GPU of unknown kind.
    Gpu,
    /// The processor.
    Cpu,
    /// A graphics driver that emulates a GPU on the processor.
    SoftwareGpu,
}

/// The device of a run.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The device.
    pub found: Found,
    /// Why it was chosen if the config does not name it, or a note about a named device.
    pub reason: Option<String>,
}

impl Backend {
    /// Optional backends come first: a user who builds one in wants to use it.
    const ALL: [Self; 7] =
        [Self::Cuda, Self::Rocm, Self::Metal, Self::Vulkan, Self::Wgpu, Self::NdArray, Self::Flex];

    /// The name in a config, and of its cargo feature.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wgpu => "wgpu",
            Self::Vulkan => "vulkan",
            Self::Metal => "metal",
            Self::Cuda => "cuda",
            Self::Rocm => "rocm",
            Self::Flex => "flex",
            Self::NdArray => "ndarray",
        }
    }

    fn is_cpu(self) -> bool {
        matches!(self, Self::Flex | Self::NdArray)
    }

    /// Its type in Burn; `None` if it is not built in.
    fn device_type(self) -> Option<DeviceType> {
        match self {
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Some(DeviceType::Wgpu),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => Some(DeviceType::Vulkan),
            #[cfg(feature = "metal")]
            Self::Metal => Some(DeviceType::Metal),
            #[cfg(feature = "cuda")]
            Self::Cuda => Some(DeviceType::Cuda),
            #[cfg(feature = "rocm")]
            Self::Rocm => Some(DeviceType::Rocm),
            Self::Flex => Some(DeviceType::Flex),
            #[cfg(feature = "ndarray")]
            Self::NdArray => Some(DeviceType::NdArray),
            #[allow(unreachable_patterns)]
            _ => None,
        }
    }

    /// The devices of this backend, in Burn's order. Does not open them.
    fn devices(self) -> Vec<Found> {
        let Some(device_type) = self.device_type() else {
            return Vec::new();
        };
        let devices = Device::enumerate(device_type).into_vec();
        let api = if devices.is_empty() { None } else { self.api() };
        let found = devices.into_iter().enumerate().map(|(index, device)| Found {
            name: if self.is_cpu() { self.name().to_owned() } else { format!("{self}:{index}") },
            backend: self.name(),
            kind: self.kind(&device),
            api,
            device,
        });
        found.collect()
    }

    /// The API of this backend's devices.
    fn api(self) -> Option<Api> {
        match self {
            Self::Wgpu => wgpu_api(),
            Self::Vulkan => Some(Api::Vulkan),
            Self::Metal => Some(Api::Metal),
            Self::Cuda => Some(Api::Cuda),
            Self::Rocm => Some(Api::Rocm),
            Self::Flex | Self::NdArray => None,
        }
    }

    fn kind(self, device: &Device) -> Kind {
        match self.makes_by_kind() {
            Some(make) => kind_of(device, make),
            None if self.is_cpu() => Kind::Cpu,
            None => Kind::DiscreteGpu,
        }
    }

    /// Burn's constructor of a device from its kind, for the backends that have one.
    fn makes_by_kind(self) -> Option<fn(DeviceKind) -> Device> {
        match self {
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Some(Device::wgpu),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => Some(Device::vulkan),
            #[cfg(feature = "metal")]
            Self::Metal => Some(Device::metal),
            _ => None,
        }
    }
}

/// The API of wgpu's devices. CubeCL uses one API for all of them, and OpenGL only if no other API
/// has a GPU.
#[cfg(feature = "wgpu")]
fn wgpu_api() -> Option<Api> {
    use cubecl::wgpu::{AutoGraphicsApi, GraphicsApi, wgpu};
    match AutoGraphicsApi::backend() {
        wgpu::Backend::Vulkan => Some(Api::Vulkan),
        wgpu::Backend::Metal => Some(Api::Metal),
        wgpu::Backend::Dx12 => Some(Api::DirectX12),
        wgpu::Backend::Gl => Some(Api::OpenGl),
        wgpu::Backend::BrowserWebGpu | wgpu::Backend::Noop => None,
    }
}

#[cfg(not(feature = "wgpu"))]
fn wgpu_api() -> Option<Api> {
    None
}

/// Finds the kind of a device by trying all kinds, because Burn does not report it.
fn kind_of(device: &Device, make: fn(DeviceKind) -> Device) -> Kind {
    let is = |kind: fn(usize) -> DeviceKind| (0..16).any(|index| make(kind(index)) == *device);
    if make(DeviceKind::Cpu) == *device {
        Kind::SoftwareGpu
    } else if is(DeviceKind::DiscreteGpu) {
        Kind::DiscreteGpu
    } else if is(DeviceKind::IntegratedGpu) {
        Kind::IntegratedGpu
    } else if is(DeviceKind::VirtualGpu) {
        Kind::VirtualGpu
    } else {
        Kind::Gpu
    }
}

impl Found {
    /// The device's own name, such as `NVIDIA H200`. Opens a GPU.
    pub fn model(&self) -> Option<String> {
        #[cfg(feature = "_cube")]
        return self.device.identity().map(|identity| identity.name);
        #[cfg(not(feature = "_cube"))]
        None
    }

    fn is_tested(&self) -> bool {
        self.api != Some(Api::OpenGl)
    }
}

impl From<Found> for Chosen {
    /// For a device that the user named.
    fn from(found: Found) -> Self {
        let reason = (!found.is_tested()).then(|| "through OpenGL, which is not tested".to_owned());
        Self { found, reason }
    }
}

/// Lists the devices of this machine that this build can use, by backend. Does not open them.
pub fn list() -> Vec<Found> {
    Backend::ALL.into_iter().flat_map(Backend::devices).collect()
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

/// The devices of a config.
///
/// # Errors
///
/// As [`choose`], and if they are of several backends.
pub fn choose_all(config: &Config) -> Result<Vec<Chosen>, Error> {
    if config.devices.is_empty() {
        return Ok(vec![choose(config.device.clone())?]);
    }
    let chosen = config.devices.iter().cloned().map(choose).collect::<Result<Vec<_>, _>>()?;
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
    let device = Device::remote_options(&host).device_index(index).init().map_err(|error| {
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

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::DiscreteGpu => "discrete GPU",
            Self::IntegratedGpu => "integrated GPU",
            Self::VirtualGpu => "virtual GPU",
            Self::Gpu => "GPU",
            Self::Cpu => "CPU",
            Self::SoftwareGpu => "software GPU",
        })
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Vulkan => "Vulkan",
            Self::Metal => "Metal",
            Self::DirectX12 => "DirectX 12",
            Self::OpenGl => "OpenGL",
            Self::Cuda => "CUDA",
            Self::Rocm => "ROCm",
        })
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for DeviceName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Of(backend, None) => write!(f, "{backend}"),
            Self::Of(backend, Some(index)) => write!(f, "{backend}:{index}"),
            Self::Remote(url, None) => write!(f, "remote:{url}"),
            Self::Remote(url, Some(index)) => write!(f, "remote:{url}#{index}"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if name == "auto" {
            return Ok(Self::Auto);
        }
        let number = |index: &str| {
            index.parse().map_err(|_| format!("`{name}`: expected a device number, as in `wgpu:0`"))
        };
        if let Some(url) = name.strip_prefix("remote:") {
            let (url, index) = match url.split_once('#') {
                Some((url, index)) => (url, Some(number(index)?)),
                None => (url, None),
            };
            let host = url.strip_prefix("ws://").filter(|host| !host.is_empty());
            host.ok_or_else(|| format!("`{name}`: expected `remote:ws://HOST:PORT`"))?;
            return Ok(Self::Remote(url.to_owned(), index));
        }
        let (backend, index) = match name.split_once(':') {
            Some((backend, index)) => (backend, Some(index)),
            None => (name, None),
        };
        let found = Backend::ALL.into_iter().find(|candidate| candidate.name() == backend);
        let found = found.ok_or_else(|| {
            let names = Backend::ALL.map(Backend::name).join("`, `");
            format!("unknown device `{name}`, expected one of `auto`, `{names}`, `remote:ws://...`")
        })?;
        Ok(Self::Of(found, index.map(number).transpose()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

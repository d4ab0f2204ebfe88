//! The devices of this machine.

use std::fmt;

use burn::tensor::{Device, DeviceKind, DeviceType};
use serde::Serialize;

use super::name::Backend;

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

/// Lists the devices of this machine that this build can use, by backend. Does not open them.
pub fn list() -> Vec<Found> {
    Backend::ALL.into_iter().flat_map(Backend::devices).collect()
}

impl Backend {
    /// Its type in Burn; `None` if it is not built in.
    pub(super) fn device_type(self) -> Option<DeviceType> {
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
    pub(super) fn devices(self) -> Vec<Found> {
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

    pub(super) fn is_tested(&self) -> bool {
        self.api != Some(Api::OpenGl)
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

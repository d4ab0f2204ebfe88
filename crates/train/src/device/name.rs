//! The names of devices.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A device as a config names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

impl Backend {
    /// Optional backends come first: a user who builds one in wants to use it.
    pub(super) const ALL: [Self; 7] =
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

    pub(super) fn is_cpu(self) -> bool {
        matches!(self, Self::Flex | Self::NdArray)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
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

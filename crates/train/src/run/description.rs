//! The description of weights in their file: network, normalization, classes.

use std::path::Path;

use models::{Architecture, ConvNet, Metadata, Network, Preset, WeightsError, read_metadata};
use serde::{Deserialize, Serialize};

use crate::{
    Config, Error,
    config::{HoldOut, NormalizationConfig},
    encoding::by_name,
};

/// What a prediction needs besides the weights.
///
/// It is stored as JSON under the key `train`: in the `__metadata__` of a `.safetensors` file, in
/// the metadata of a `.bpk`. The network takes grayscale images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Description {
    /// [`VERSION`], or a later version.
    version: u32,
    #[serde(with = "by_name")]
    pub network: Architecture,
    #[serde(with = "by_name")]
    pub preset: Preset,
    pub normalization: NormalizationConfig,
    /// The names of the classes, by label.
    pub classes: Vec<String>,
    /// The validation splits of the run and of the runs whose weights it started from; its own
    /// comes last. `None` if it started from weights whose splits are unknown.
    pub hold_outs: Option<Vec<HoldOut>>,
}

/// The version of [`Description`]. A new field with a default does not change it.
const VERSION: u32 = 1;

const KEY: &str = "train";

impl Description {
    /// Describes the weights of a run with this config.
    pub fn new(config: &Config, classes: &[&str]) -> Self {
        Self {
            version: VERSION,
            network: config.network,
            preset: config.preset,
            normalization: config.data.normalization,
            classes: classes.iter().map(ToString::to_string).collect(),
            hold_outs: hold_outs(config),
        }
    }

    /// Writes the weights with their description.
    pub fn save(&self, network: &Network, path: &Path) -> Result<(), WeightsError> {
        let json = serde_json::to_string(self).expect("plain values are JSON");
        network.save_with(path, &Metadata::from([(KEY.to_owned(), json)]))
    }

    /// Reads the description in a weights file; `None` if another program wrote the file.
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        // The text may contain control characters, which must not reach a terminal.
        let unusable = |why: String| {
            let (path, why) = (path.display(), why.replace(char::is_control, "?"));
            Error::Usage(format!("cannot use the description of the weights in {path}: {why}"))
        };
        let metadata = read_metadata(path).map_err(|error| Error::Usage(error.to_string()))?;
        let Some(json) = metadata.get(KEY) else { return Ok(None) };
        let value: serde_json::Value =
            serde_json::from_str(json).map_err(|error| unusable(error.to_string()))?;
        if let Some(version) = value["version"].as_u64().filter(|&it| it > u64::from(VERSION)) {
            return Err(unusable(format!(
                "it has version {version}, from a later version of this program; this one reads \
                 version {VERSION}"
            )));
        }
        let description: Self =
            serde_json::from_value(value).map_err(|error| unusable(error.to_string()))?;
        let classes = &description.classes;
        if classes.is_empty() || classes.iter().any(|name| name.contains(char::is_control)) {
            Err(unusable("its class names cannot be printed, or there are none".to_owned()))
        } else {
            Ok(Some(description))
        }
    }

    /// Checks what was requested against the description in the file at `path`.
    pub fn check(
        &self,
        path: &Path,
        network: Architecture,
        preset: Preset,
        normalization: NormalizationConfig,
    ) -> Result<(), Error> {
        if (network, preset, normalization) == (self.network, self.preset, self.normalization) {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "{} says that it holds {} ({}) for pixels normalized as `{}`, not {network} ({preset}) \
             for `{}`: leave out these options to use the file's values",
            path.display(),
            self.network,
            self.preset,
            name(self.normalization),
            name(normalization)
        )))
    }
}

fn hold_outs(config: &Config) -> Option<Vec<HoldOut>> {
    let mut all = match &config.pretrained {
        Some(pretrained) => Description::read(&pretrained.weights).ok().flatten()?.hold_outs?,
        None => Vec::new(),
    };
    let own = config.data.hold_out();
    all.retain(|&hold_out| hold_out != own);
    all.push(own);
    Some(all)
}

/// The error for a file without a description, if no option replaces it.
pub(crate) fn undescribed(path: &Path) -> Error {
    Error::Usage(format!(
        "{} does not say which network its weights belong to, as files of this program do: name \
         the network with --network",
        path.display()
    ))
}

/// The name in a config.
pub(crate) fn name(normalization: NormalizationConfig) -> &'static str {
    match normalization {
        NormalizationConfig::Unit => "unit",
        NormalizationConfig::Standard => "standard",
    }
}

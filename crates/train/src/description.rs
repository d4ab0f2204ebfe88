//! What weights are of, kept in their file.

use std::path::Path;

use models::{Architecture, ConvNet, Metadata, Network, Preset, WeightsError, read_metadata};
use serde::{Deserialize, Serialize};

use crate::{
    Config, Error,
    config::{HoldOut, NormalizationConfig, by_name},
};

/// All that a prediction needs to know beside the weights.
///
/// A file has it as JSON under the key `train`: in the `__metadata__` of a `.safetensors` file, in the
/// metadata of a `.bpk`. The network takes grayscale images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Description {
    /// [`VERSION`], or a later one, which may mean anything.
    version: u32,
    #[serde(with = "by_name")]
    pub network: Architecture,
    #[serde(with = "by_name")]
    pub preset: Preset,
    pub normalization: NormalizationConfig,
    /// The names of the classes, by label.
    pub classes: Vec<String>,
    /// How images were held out when the weights were trained, in this run and in those whose weights
    /// it started from; its own comes last. `None` if it started from weights of which that is not known.
    pub hold_outs: Option<Vec<HoldOut>>,
}

/// Of [`Description`]. A new field with a default does not change it.
const VERSION: u32 = 1;

const KEY: &str = "train";

impl Description {
    /// Of the weights of a run with this config.
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

    /// The description in a file of weights; none in one that another program wrote.
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        // Text of a file may hold anything, and what would steer a terminal is not for one.
        let unusable = |why: String| {
            let (path, why) = (path.display(), why.replace(char::is_control, "?"));
            Error::Usage(format!("cannot use what {path} says of its weights: {why}"))
        };
        let metadata = read_metadata(path).map_err(|error| Error::Usage(error.to_string()))?;
        let Some(json) = metadata.get(KEY) else { return Ok(None) };
        let value: serde_json::Value =
            serde_json::from_str(json).map_err(|error| unusable(error.to_string()))?;
        if let Some(version) = value["version"].as_u64().filter(|&it| it > u64::from(VERSION)) {
            return Err(unusable(format!(
                "it is of version {version}, which a later version of this program wrote; this one \
                 reads version {VERSION}"
            )));
        }
        let description: Self =
            serde_json::from_value(value).map_err(|error| unusable(error.to_string()))?;
        let classes = &description.classes;
        match classes.is_empty() || classes.iter().any(|name| name.contains(char::is_control)) {
            true => {
                Err(unusable("its class names cannot be printed, or there are none".to_owned()))
            }
            false => Ok(Some(description)),
        }
    }

    /// Checks what was asked for against what the file at `path` says.
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
             for `{}`: leave the options out, and the file decides",
            path.display(),
            self.network,
            self.preset,
            name(self.normalization),
            name(normalization)
        )))
    }
}

fn hold_outs(config: &Config) -> Option<Vec<HoldOut>> {
    let mut all = match &config.initial {
        Some(initial) => Description::read(&initial.weights).ok().flatten()?.hold_outs?,
        None => Vec::new(),
    };
    let own = config.data.hold_out();
    all.retain(|&hold_out| hold_out != own);
    all.push(own);
    Some(all)
}

/// The refusal of a file that has no description, where no option takes its place.
pub(crate) fn undescribed(path: &Path) -> Error {
    Error::Usage(format!(
        "{} does not say which network its weights are of, as files of this program do: name it with \
         --network",
        path.display()
    ))
}

/// As in a config.
pub(crate) fn name(normalization: NormalizationConfig) -> &'static str {
    match normalization {
        NormalizationConfig::Unit => "unit",
        NormalizationConfig::Standard => "standard",
    }
}

//! The command `summary`: lists the layers of a network.

use std::num::NonZeroUsize;

use burn::tensor::Device;
use clap::Args;
use models::{Architecture, ConvNet, Preset, summary::Summary};
use serde_json::json;

use super::values::{named, preset_of};
use crate::{Error, output::say};

/// A network and the images for it.
#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    /// The network, a name that the command `networks` prints.
    #[arg(value_parser = named::<Architecture>)]
    pub network: Architecture,

    /// d2l, imagenet or small [default: the first that has the network].
    #[arg(long, value_parser = named::<Preset>)]
    pub preset: Option<Preset>,

    /// The image's shape, CHANNELSxHEIGHTxWIDTH [default: the preset's].
    #[arg(long, value_name = "CxHxW", value_parser = image)]
    pub input: Option<[usize; 3]>,
}

impl NetworkArgs {
    /// The preset, and the summary.
    pub(super) fn summary(&self) -> Result<(Preset, Summary), Error> {
        let network = self.network;
        let preset = self.preset.unwrap_or_else(|| preset_of(network, None));
        let config = network.config(preset).map_err(|error| Error::Usage(error.to_string()))?;
        let input = match self.input {
            Some(input) => input,
            None => network.image(preset).map_err(|error| Error::Usage(error.to_string()))?,
        };
        let network = config.with_channels(input[0]).init(&Device::flex());
        let summary = network.summary(input).map_err(|error| Error::Usage(error.to_string()))?;
        Ok((preset, summary))
    }
}

/// Which network to describe, and how.
#[derive(Debug, Args)]
pub(crate) struct SummaryArgs {
    #[command(flatten)]
    pub network: NetworkArgs,

    /// The batch size for which the memory is printed.
    #[arg(long, default_value = "1")]
    pub batch: NonZeroUsize,

    /// Prints a JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Prints the layers of a network.
pub(crate) fn summary(args: &SummaryArgs) -> Result<(), Error> {
    let network = args.network.network;
    let (preset, summary) = args.network.summary()?;
    let bytes = summary.activation_bytes(args.batch.get());

    if args.json {
        let layers = summary.layers.iter().map(|layer| {
            json!({
                "name": layer.name,
                "kind": layer.kind,
                "output": layer.output,
                "parameters": layer.parameters,
                "macs": layer.macs,
            })
        });
        let summary = json!({
            "network": network.name(),
            "preset": preset.name(),
            "input": summary.input,
            "parameters": summary.parameters(),
            "macs": summary.macs(),
            "batch": args.batch,
            "activation_bytes": bytes,
            "layers": layers.collect::<serde_json::Value>(),
        });
        say(format_args!("{summary:#}"));
        return Ok(());
    }

    say(format_args!("{network} ({preset})\n\n{summary}"));
    say(format_args!(
        "{:.1} MB of weights; {:.1} MB of activations for a batch of {} (each layer's output, f32)",
        summary.parameters() as f64 * 4e-6,
        bytes as f64 * 1e-6,
        args.batch
    ));
    Ok(())
}

/// Parses a shape such as `3x224x224`.
fn image(text: &str) -> Result<[usize; 3], String> {
    let number = |number: &str| number.parse().ok().filter(|n| (1..=65_536).contains(n));
    let numbers: Option<Vec<usize>> = text.split('x').map(number).collect();
    numbers.and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| {
        "expected CHANNELSxHEIGHTxWIDTH, such as 3x224x224, each at most 65536".to_owned()
    })
}

//! The command `summary`: lists the layers of a network.

use std::num::NonZeroUsize;

use clap::Args;
use serde_json::json;

use super::values::NetworkArgs;
use crate::{Error, output::say};

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
                "kind": layer.kind.to_string(),
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

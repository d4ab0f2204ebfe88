//! The command `networks`: lists the networks.

use burn::tensor::Device;
use clap::Args;
use models::{Architecture, ConvNet, Preset, summary::Summary};
use serde_json::json;

use crate::output::say;

/// How to print the networks.
#[derive(Debug, Args)]
pub(crate) struct NetworksArgs {
    /// Prints a JSON array.
    #[arg(long)]
    pub json: bool,
}

/// Prints every network in every preset that has it.
pub(crate) fn networks(args: &NetworksArgs) {
    let all = Architecture::ALL.into_iter();
    let rows = all.flat_map(|network| network.presets().map(move |preset| row(network, preset)));

    if args.json {
        let rows = rows.map(|(network, preset, summary)| {
            json!({
                "network": network.name(),
                "preset": preset.name(),
                "input": summary.input,
                "parameters": summary.parameters(),
                "macs": summary.macs(),
            })
        });
        say(format_args!("{:#}", rows.collect::<serde_json::Value>()));
    } else {
        say(format_args!(
            "{:12} {:9} {:11} {:>11} {:>15}",
            "network", "preset", "input", "parameters", "multiply-adds"
        ));
        for (network, preset, summary) in rows {
            say(format_args!(
                "{network:12} {preset:9} {:11} {:>11} {:>15}",
                dimensions(&summary.input),
                summary.parameters(),
                summary.macs()
            ));
        }
    }
}

fn row(network: Architecture, preset: Preset) -> (Architecture, Preset, Summary) {
    let known = "a preset that the network has";
    let summary = network.config(preset).expect(known).init(&Device::flex());
    let summary = summary.summary(network.image(preset).expect(known));
    (network, preset, summary.expect("an image that the network is made for"))
}

/// Writes a shape as `3x224x224`.
fn dimensions(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

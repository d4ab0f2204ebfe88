use burn::tensor::Device;
use models::{Architecture, ConvNet, Preset};
use serde_json::json;

use super::networks::dimensions;
use crate::{Error, cli::SummaryArgs, config::readable, report::say};

/// Prints the layers of a network.
pub(crate) fn summary(args: &SummaryArgs) -> Result<(), Error> {
    let (network, preset) = network(&args.network, args.preset.as_deref(), None)?;
    let config = network.config(preset).map_err(|error| Error::Usage(error.to_string()))?;
    let input = match &args.input {
        Some(text) => image(text)?,
        None => network.image(preset).map_err(|error| Error::Usage(error.to_string()))?,
    };
    let summary = config
        .with_channels(input[0])
        .init(&Device::flex())
        .summary(input)
        .map_err(|error| Error::Usage(error.to_string()))?;
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
            "input": input,
            "parameters": summary.parameters(),
            "macs": summary.macs(),
            "batch": args.batch,
            "activation_bytes": bytes,
            "layers": layers.collect::<serde_json::Value>(),
        });
        say(format_args!("{summary:#}"));
        return Ok(());
    }

    let names = summary.layers.iter().map(|layer| layer.name.len());
    let width = names.max().unwrap_or_default().max("layer".len());
    let row = |name: &str, kind: &str, output: &str, parameters: &str, macs: &str| {
        say(format_args!("{name:width$}  {kind:16} {output:12} {parameters:>11} {macs:>14}"));
    };
    row("layer", "kind", "output", "parameters", "multiply-adds");
    row("image", "", &dimensions(&input), "", "");
    for layer in &summary.layers {
        let (parameters, macs) = (layer.parameters.to_string(), layer.macs.to_string());
        let [parameters, macs] =
            [parameters, macs].map(|n| if n == "0" { String::new() } else { n });
        row(&layer.name, &layer.kind, &dimensions(&layer.output), &parameters, &macs);
    }
    let (parameters, macs) = (summary.parameters().to_string(), summary.macs().to_string());
    row("total", "", "", &parameters, &macs);
    say(format_args!(
        "\n{:.1} MB of weights; {:.1} MB of activations for a batch of {} (each layer's output, f32)",
        summary.parameters() as f64 * 4e-6,
        bytes as f64 * 1e-6,
        args.batch
    ));
    Ok(())
}

/// The network and the preset of these names; without one, the preferred preset or the first that has
/// the network.
pub(crate) fn network(
    network: &str,
    preset: Option<&str>,
    preferred: Option<Preset>,
) -> Result<(Architecture, Preset), Error> {
    let usage = |error: &dyn std::fmt::Display| Error::Usage(readable(&error.to_string()));
    let network: Architecture = network.parse().map_err(|error| usage(&error))?;
    let preset = match preset {
        Some(name) => name.parse().map_err(|error| usage(&error))?,
        None => {
            let preferred = network.presets().find(|&preset| Some(preset) == preferred);
            preferred.or(network.presets().next()).expect("every network has a preset")
        }
    };
    match network.config(preset) {
        Ok(_) => Ok((network, preset)),
        Err(error) => Err(Error::Usage(error.to_string())),
    }
}

/// `3x224x224`.
fn image(text: &str) -> Result<[usize; 3], Error> {
    let numbers: Option<Vec<usize>> =
        text.split('x').map(|number| number.parse().ok().filter(|&n| n > 0)).collect();
    numbers.and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| {
        Error::Usage(format!("--input {text}: expected CHANNELSxHEIGHTxWIDTH, such as 3x224x224"))
    })
}

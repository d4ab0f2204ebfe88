use burn::tensor::Device;
use models::{Architecture, ConvNet, Preset};
use serde_json::json;

use crate::{Error, cli::SummaryArgs, config::readable, progress::say};

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

    say(format_args!("{network} ({preset})\n\n{summary}"));
    say(format_args!(
        "{:.1} MB of weights; {:.1} MB of activations for a batch of {} (each layer's output, f32)",
        summary.parameters() as f64 * 4e-6,
        bytes as f64 * 1e-6,
        args.batch
    ));
    Ok(())
}

/// The network and the preset with these names; without a preset, the preferred one if it has the
/// network, otherwise the first that has it.
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

/// Parses a shape such as `3x224x224`.
fn image(text: &str) -> Result<[usize; 3], Error> {
    let number = |number: &str| number.parse().ok().filter(|n| (1..=65_536).contains(n));
    let numbers: Option<Vec<usize>> = text.split('x').map(number).collect();
    numbers.and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| {
        Error::Usage(format!(
            "--input {text}: expected CHANNELSxHEIGHTxWIDTH, such as 3x224x224, each at most 65536"
        ))
    })
}

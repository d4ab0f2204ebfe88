//! The command `devices`: lists the devices.

use clap::Args;
use serde_json::json;

use crate::{device, output::say};

/// How to print the devices.
#[derive(Debug, Args)]
pub(crate) struct DevicesArgs {
    /// Prints a JSON array.
    #[arg(long)]
    pub json: bool,
}

/// Prints every device that this build can use on this machine.
pub(crate) fn devices(args: &DevicesArgs) {
    let devices = device::list();
    let chosen = device::best_of(&devices).found.name;

    if args.json {
        let rows = devices.iter().map(|found| {
            json!({
                "name": found.name,
                "backend": found.backend,
                "kind": found.kind,
                "api": found.api,
                "model": found.model(),
                "auto": found.name == chosen,
            })
        });
        say(format_args!("{:#}", rows.collect::<serde_json::Value>()));
    } else {
        for found in devices {
            let api = found.api.map(|api| api.to_string()).unwrap_or_default();
            let model = found.model().unwrap_or_default();
            let note = if found.name == chosen { "  <- auto" } else { "" };
            say(format_args!("{:10} {:14} {api:10} {model}{note}", found.name, found.kind));
        }
    }
}

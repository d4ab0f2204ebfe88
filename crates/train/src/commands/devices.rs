use serde_json::json;

use crate::{
    Error,
    device::{self, DeviceName},
};

/// Prints every device that this build can use on this machine.
pub(crate) fn devices(json: bool) -> Result<(), Error> {
    let chosen = device::choose(DeviceName::Auto)?.found.name;
    let devices = device::list();

    if json {
        let rows = devices.iter().map(|found| {
            json!({
                "name": found.name,
                "backend": found.backend,
                "kind": found.kind,
                "model": found.model(),
                "auto": found.name == chosen,
            })
        });
        println!("{:#}", rows.collect::<serde_json::Value>());
    } else {
        for found in devices {
            let model = found.model().unwrap_or_default();
            let note = if found.name == chosen { "  <- auto" } else { "" };
            println!("{:10} {:14} {model}{note}", found.name, found.kind);
        }
    }
    Ok(())
}

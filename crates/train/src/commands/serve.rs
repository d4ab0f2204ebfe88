//! The command `serve`: lets other machines compute here.

use clap::Args;

use super::values::named;
use crate::{DeviceName, Error};

/// What to serve, and at which address.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The address to listen on; 0.0.0.0:3000 lets other machines connect.
    #[arg(long, default_value = "127.0.0.1:3000")]
    pub bind: std::net::SocketAddr,

    /// The device: auto, or a name that the command `devices` prints; a backend's name means all of
    /// its devices.
    #[arg(long, default_value = "auto", value_parser = named::<DeviceName>)]
    pub device: DeviceName,
}

/// Lets other machines compute on the devices of this one, until Ctrl-C.
#[cfg(feature = "remote")]
pub(crate) fn serve(args: &ServeArgs) -> Result<(), Error> {
    use burn::server::{RemoteServer, TokenAuthorizer, WebSocketTransport};

    use crate::{
        device::{self, TOKEN},
        output::say,
        program,
    };

    // The user knows a token from the environment; it is not printed.
    let (token, shown) = match std::env::var(TOKEN) {
        Ok(token) => (token, format!("${TOKEN}")),
        Err(_) => {
            let token = random_token()?;
            (token.clone(), token)
        }
    };
    let authorizer =
        TokenAuthorizer::new(token).map_err(|error| Error::Usage(format!("{TOKEN}: {error}")))?;
    let devices = device::all_of(args.device.clone())?;
    let server = RemoteServer::new(devices.iter().map(|found| found.device.clone()))
        .with_authorizer(authorizer);
    let listener = std::net::TcpListener::bind(args.bind)
        .map_err(|error| Error::Usage(format!("--bind {}: {error}", args.bind)))?;
    let address = listener.local_addr().unwrap_or(args.bind);
    let names: Vec<&str> = devices.iter().map(|found| found.name.as_str()).collect();
    say(format_args!("serving {} at {address}; to train on it:", names.join(", ")));
    // The name under which other machines reach this one is not known here.
    let host = if address.ip().is_unspecified() {
        format!("HOST:{}", address.port())
    } else {
        address.to_string()
    };
    let train = program::command(&["--device", &format!("remote:ws://{host}")]);
    say(format_args!("{TOKEN}={shown} {train}"));
    say(format_args!("nothing is encrypted: use it only in a network that you trust"));
    server
        .serve(WebSocketTransport::from_listener(listener))
        .map_err(|error| Error::Training(format!("the server failed: {error}")))
}

/// A token that nobody can guess: 128 random bits.
#[cfg(feature = "remote")]
fn random_token() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::Training(format!("the system has no random numbers: {error}")))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

/// Lets other machines compute on the devices of this one.
#[cfg(not(feature = "remote"))]
pub(crate) fn serve(_args: &ServeArgs) -> Result<(), Error> {
    Err(Error::Usage("this build cannot serve: build it with `--features remote`".to_owned()))
}

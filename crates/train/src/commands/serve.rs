use crate::{Error, cli::ServeArgs};

/// Lets other machines compute on the devices of this one, until Ctrl-C.
#[cfg(feature = "remote")]
pub(crate) fn serve(args: &ServeArgs) -> Result<(), Error> {
    use burn::server::{RemoteServer, TokenAuthorizer, WebSocketTransport};

    use crate::{DeviceName, config::readable, device, progress::say};

    let token = args.token.clone().or_else(|| std::env::var(device::TOKEN).ok());
    if token.is_none() && !args.bind.ip().is_loopback() {
        return Err(Error::Usage(format!(
            "--bind {}: other machines reach this address, so a --token is needed that they must \
             know",
            args.bind
        )));
    }
    let name = match &args.device {
        Some(name) => name.parse().map_err(|error: String| {
            Error::Usage(format!("--device {name}: {}", readable(&error)))
        })?,
        None => DeviceName::default(),
    };
    let devices = device::all_of(name)?;
    let mut server = RemoteServer::new(devices.iter().map(|found| found.device.clone()));
    if let Some(token) = token {
        let authorizer = TokenAuthorizer::new(token)
            .map_err(|error| Error::Usage(format!("--token: {error}")))?;
        server = server.with_authorizer(authorizer);
    }
    let listener = std::net::TcpListener::bind(args.bind)
        .map_err(|error| Error::Usage(format!("--bind {}: {error}", args.bind)))?;
    let address = listener.local_addr().unwrap_or(args.bind);
    let names: Vec<&str> = devices.iter().map(|found| found.name.as_str()).collect();
    say(format_args!("serving {} at remote:ws://{address}", names.join(", ")));
    say(format_args!("what is sent is not encrypted: use it in a network that you trust"));
    server
        .serve(WebSocketTransport::from_listener(listener))
        .map_err(|error| Error::Training(format!("the server failed: {error}")))
}

/// Lets other machines compute on the devices of this one.
#[cfg(not(feature = "remote"))]
pub(crate) fn serve(_args: &ServeArgs) -> Result<(), Error> {
    Err(Error::Usage("this build cannot serve: build it with `--features remote`".to_owned()))
}

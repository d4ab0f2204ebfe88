//! A small web server for this machine only.

use std::net::Ipv4Addr;

use tiny_http::{Header, Request, Server};

use crate::Error;

/// A server at this port of the loopback address, and its port: 0 takes a free one.
///
/// # Errors
///
/// If the port is taken.
pub fn server(port: u16) -> Result<(Server, u16), Error> {
    let server = Server::http((Ipv4Addr::LOCALHOST, port)).map_err(|error| {
        Error::Usage(format!("--port {port}: {error}; `--port 0` takes a free one"))
    })?;
    let port = server.server_addr().to_ip().map_or(port, |address| address.port());
    Ok((server, port))
}

/// Whether the request names this machine. A web page whose name leads to this address (DNS
/// rebinding) names another, and must not read what is served.
pub fn is_local(request: &Request) -> bool {
    request.headers().iter().any(|header| {
        let name = header.value.as_str().split(':').next();
        header.field.equiv("Host") && matches!(name, Some("127.0.0.1" | "localhost"))
    })
}

/// A header of an answer.
///
/// # Panics
///
/// If the text cannot be in a header.
pub fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).expect("valid")
}

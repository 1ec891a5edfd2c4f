//! Addresses to listen on: no name is resolved but `localhost`.
//!
//! A name could mean another address at each start, or one that the operator did not think of; who may call a
//! gateway depends on where it listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const LOCALHOST: &str = "localhost";

/// Reads an IP address, or `localhost` for 127.0.0.1.
///
/// # Errors
///
/// What would be right.
pub(super) fn ip_address(text: &str) -> Result<IpAddr, &'static str> {
    if text == LOCALHOST {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    text.parse().map_err(|_| "must be an IP address, for example 127.0.0.1")
}

/// Reads an IP address and a port, for example `127.0.0.1:12000`; `localhost` means 127.0.0.1.
///
/// # Errors
///
/// What would be right.
pub fn socket_address(text: &str) -> Result<SocketAddr, &'static str> {
    const SHAPE: &str = "must be an IP address and a port, for example 127.0.0.1:12002";
    match text.strip_prefix(LOCALHOST).and_then(|rest| rest.strip_prefix(':')) {
        Some(port) => Ok((Ipv4Addr::LOCALHOST, port.parse().map_err(|_| SHAPE)?).into()),
        None => text.parse().map_err(|_| SHAPE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_the_loopback_address() {
        for (text, expected) in [
            ("localhost", Some("127.0.0.1")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("::1", Some("::1")),
            ("example.com", None),
            ("", None),
        ] {
            let read = ip_address(text).ok().map(|address| address.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
        for (text, expected) in [
            ("localhost:12000", Some("127.0.0.1:12000")),
            ("[::1]:0", Some("[::1]:0")),
            ("localhost", None),
            ("localhost:", None),
            ("localhost:99999", None),
            ("localhoster:1", None),
            ("nowhere", None),
        ] {
            let read = socket_address(text).ok().map(|address| address.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }
}

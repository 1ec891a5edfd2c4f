//! Which address a request comes from, behind proxies.
//!
//! A proxy appends the address that it sees to `X-Forwarded-For`; what precedes it, the client may have
//! made up. So the header is read from its end, for as long as a trusted proxy wrote:
//!
//! 1. Unless the socket's peer is a trusted proxy, the header is ignored.
//! 2. The client is the right-most address that is not a trusted proxy's.
//! 3. If there is none, or what a trusted proxy wrote is no address, it is the socket's peer.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};

use crate::config::TrustedProxies;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of the client whose request has `headers` and came from `peer`.
pub(super) fn client_address(
    proxies: &TrustedProxies,
    peer: IpAddr,
    headers: &HeaderMap,
) -> IpAddr {
    if !proxies.hold(peer) {
        return peer;
    }
    // Several lines are one list. Nothing before the client's own entry is looked at.
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let entries = lines.flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b','));
    let not_a_proxy = |entry: &Option<IpAddr>| entry.is_none_or(|address| !proxies.hold(address));
    entries.map(address).find(not_a_proxy).flatten().unwrap_or(peer)
}

/// The address in an entry, which may be in brackets and have a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry.trim_ascii()).ok()?;
    let inner = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let alone = match inner {
        Some(inner) => inner.parse().ok().filter(IpAddr::is_ipv6),
        None => entry.parse().ok(),
    };
    alone.or_else(|| entry.parse().ok().map(|socket: SocketAddr| socket.ip()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const PEER: &str = "10.0.0.1";

    fn client(peer: &str, lines: &[&[u8]]) -> String {
        let proxies = TrustedProxies::of(&["10.0.0.0/8", "fd00::/8"]);
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line).unwrap());
        }
        client_address(&proxies, peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_proxy() {
        for (line, expected) in [
            ("1.2.3.4", "1.2.3.4"),
            ("9.9.9.9, 1.2.3.4", "1.2.3.4"),
            ("9.9.9.9,1.2.3.4 ,10.1.1.1,\tfd00::7", "1.2.3.4"),
            ("1.2.3.4, ::ffff:10.1.1.1", "1.2.3.4"),
            ("1.2.3.4:5678, 10.1.1.1:80, [fd00::7]:443, [fd00::8]", "1.2.3.4"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:5678", "2001:db8::1"),
            // All are proxies.
            ("10.1.1.1, 10.1.1.2", PEER),
            ("", PEER),
        ] {
            assert_eq!(client(PEER, &[line.as_bytes()]), expected, "{line}");
        }
        assert_eq!(client("::ffff:10.0.0.1", &[b"1.2.3.4"]), "1.2.3.4");
        assert_eq!(client("fd00::1", &[b"1.2.3.4"]), "1.2.3.4");
        // Several lines are one list.
        assert_eq!(client(PEER, &[b"9.9.9.9", b"1.2.3.4", b"10.1.1.1"]), "1.2.3.4");
        assert_eq!(client(PEER, &[]), PEER);
    }

    #[test]
    fn whoever_is_no_proxy_is_not_believed() {
        for peer in ["11.0.0.1", "::1", "::ffff:11.0.0.1"] {
            assert_eq!(client(peer, &[b"1.2.3.4"]), peer);
        }
        let none = TrustedProxies::default();
        let peer = PEER.parse().unwrap();
        let headers = HeaderMap::from_iter([(FORWARDED_FOR, HeaderValue::from_static("1.2.3.4"))]);
        assert_eq!(client_address(&none, peer, &headers), peer);
    }

    #[test]
    fn garbage_means_the_peer_unless_the_client_wrote_it() {
        let garbage: [&[u8]; 12] = [
            b"unknown",
            b"_hidden",
            b"1.2.3",
            b"1.2.3.4.5",
            b"1.2.3.4:",
            b"1.2.3.4:99999",
            b"[1.2.3.4]",
            b"[::1",
            b"::1]",
            b"fe80::1%eth0",
            b"\"1.2.3.4\"",
            b"\xff",
        ];
        for garbage in garbage.into_iter().chain([&b""[..]]) {
            for (before, after) in [("", ""), ("9.9.9.9, ", ""), ("9.9.9.9,", ",10.1.1.1")] {
                let line = [before.as_bytes(), garbage, after.as_bytes()].concat();
                assert_eq!(client(PEER, &[&line]), PEER, "{}", line.escape_ascii());
            }
            let line = [garbage, b", 1.2.3.4, 10.1.1.1"].concat();
            assert_eq!(client(PEER, &[&line]), "1.2.3.4", "{}", line.escape_ascii());
        }
    }
}

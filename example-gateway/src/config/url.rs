//! Addresses, checked without ever repeating them: they may hold passwords.
//!
//! Each reader accepts less than a URL may be: no credentials, query or fragment where they would be lost or
//! shown. An error names the rule that is broken, and the line of the file names the place.

use std::net::IpAddr;

use http::Uri;
use http::uri::Authority;

use super::listeners::Listener;

/// The schemes of a Redis address: one server, a cluster, or sentinels, with `s` over TLS; or a socket.
const REDIS_SCHEMES: [&str; 7] = [
    "redis",
    "rediss",
    "redis-cluster",
    "rediss-cluster",
    "redis-sentinel",
    "rediss-sentinel",
    "unix",
];

/// What a request's path ends with, and a base address is sometimes copied with.
const ENDPOINTS: [&str; 5] =
    ["/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses", "/v1/embeddings"];

/// Reads the base address of a server: `http` or `https`, without credentials and query. A trailing
/// slash is dropped.
///
/// # Errors
///
/// What is wrong with it; the address is not repeated.
pub fn http_base(text: &str) -> Result<Uri, &'static str> {
    const SHAPE: &str = "must be an address such as http://localhost:8000/v1";
    let (scheme, rest) = text
        .split_once("://")
        .filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
        .ok_or("must start with http:// or https://")?;
    if rest.contains(['?', '#']) {
        return Err("must not have a query or a fragment");
    }
    let rest = rest.trim_end_matches('/');
    if ENDPOINTS.iter().any(|endpoint| rest.ends_with(endpoint)) {
        return Err("must not hold the path of a request: leave out what follows /v1");
    }
    let uri: Uri = format!("{scheme}://{rest}").parse().map_err(|_| SHAPE)?;
    let authority = uri.authority().ok_or(SHAPE)?;
    if authority.as_str().contains('@') {
        return Err("must not hold credentials; use access_key or headers");
    }
    check_host(authority)?;
    Ok(uri)
}

/// A Redis address. The host may be followed by a database number and options; a socket is named by
/// its whole path.
pub(super) fn redis(text: &str) -> Result<&str, &'static str> {
    let (scheme, authority, path) = redis_parts(text).ok_or(
        "must start with redis://, rediss:// (also -cluster:// or -sentinel://) or unix://",
    )?;
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if user.contains('@') {
        return Err("an @ in the user name or password must be written %40");
    }
    if scheme == "unix" {
        let is_whole = host.is_empty() && path.len() > 1;
        return is_whole.then_some(text).ok_or("must name the socket by its whole path");
    }
    check_host(&host.parse().map_err(|_| "must name a host, and a port from 1 to 65535 or none")?)?;
    Ok(text)
}

/// A Redis address for people to read: without user, password and options.
pub(super) fn redis_without_secrets(text: &str) -> String {
    let (scheme, authority, path) = redis_parts(text).unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// Scheme, authority and path; what is behind a `?` or `#` is left out.
fn redis_parts(text: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = REDIS_SCHEMES.iter().find(|known| **known == scheme)?;
    let rest = rest.split(['?', '#']).next()?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    Some((scheme, authority, path))
}

/// Whether `uri` leads back to one of the gateway's own listeners. Only addresses and `localhost`
/// are looked at: no name is resolved.
pub(super) fn is_own(uri: &Uri, listeners: &[Listener]) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = port_of(uri);
    let address: Option<IpAddr> = host.parse().ok();
    let local =
        host == "localhost" || address.is_some_and(|ip| ip.is_loopback() || ip.is_unspecified());
    listeners.iter().filter(|listener| listener.port == port).any(|listener| {
        let here = listener.address;
        address == Some(here) || local && (here.is_loopback() || here.is_unspecified())
    })
}

/// The port of an http or https address.
pub(super) fn port_of(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 })
}

pub(super) fn check_host(authority: &Authority) -> Result<(), &'static str> {
    let host = authority.host();
    // `Authority` keeps a port that does not fit a u16 as text.
    let port = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, rest)| rest);
    let port = port.get(host.len()..).unwrap_or_default();
    let port_is_good = port.is_empty() || authority.port_u16().is_some_and(|port| port > 0);
    if host.is_empty() {
        Err("must name a host")
    } else if !port_is_good {
        Err("must have a port from 1 to 65535, or none")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_base_has_scheme_and_host_and_nothing_else_but_a_path() {
        for (text, expected) in [
            ("http://h", "http://h/"),
            ("http://h/", "http://h/"),
            ("https://h:8443/api/v1/", "https://h:8443/api/v1"),
            ("http://[::1]:80", "http://[::1]:80/"),
        ] {
            assert_eq!(http_base(text).unwrap().to_string(), expected);
        }
        for (text, why) in [
            ("localhost:8000", "must start with"),
            ("file:///etc/passwd", "must start with"),
            ("http://", "must be an address"),
            ("http:///v1", "must be an address"),
            ("http://u:pw@h", "credentials"),
            ("http://u@h", "credentials"),
            ("http://h:99999", "port"),
            ("http://h:0", "port"),
            ("http://h:", "port"),
            ("http://h?key=pw", "query"),
            ("http://h/#pw", "fragment"),
            ("http://h h", "must be an address"),
        ] {
            let error = http_base(text).unwrap_err();
            assert!(error.contains(why) && !error.contains("pw"), "{text}: {error}");
        }
    }

    #[test]
    fn a_redis_address_is_checked_and_shown_without_its_secrets() {
        for (text, shown) in [
            ("redis://localhost:6379", "redis://localhost:6379"),
            ("rediss://u:pw@h/3", "rediss://h/3"),
            ("redis://:p%40w@[::1]:1/0?x=pw", "redis://[::1]:1/0"),
            ("redis-sentinel://h:26379?sentinelPassword=pw", "redis-sentinel://h:26379"),
            ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock"),
            ("unix://u:pw@/run/redis.sock", "unix:///run/redis.sock"),
        ] {
            assert_eq!(redis(text), Ok(text));
            assert_eq!(redis_without_secrets(text), shown);
        }
        for (text, why) in [
            ("http://u:pw@h", "must start with redis://"),
            ("localhost", "must start with redis://"),
            ("redis://", "host"),
            ("redis://u:pw@", "host"),
            ("redis://user:p@pw@h", "%40"),
            ("redis://u:pw@h:99999", "port"),
            ("redis://u:pw@h:pw", "port"),
        ] {
            let error = redis(text).unwrap_err();
            assert!(error.contains(why) && !error.contains("pw"), "{text}: {error}");
        }
    }
}

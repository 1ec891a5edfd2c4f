//! Requests that no path may see: without a host, in the form for a proxy, with an expectation that
//! is not ours to meet.
//!
//! The rules are those on which programs in a row disagree: which of two hosts counts, whether a target may
//! name a server, whether `X_Session_Id` is `X-Session-Id`. A request that a proxy before us reads otherwise
//! could reach another session than the one that was checked there, so what is ambiguous is refused or
//! dropped. [`connection`](super::connection) calls it first.

use affinity_layer::agents::AGENT_HEADERS;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderName, StatusCode, Version, header};

use crate::config::Limits;
use crate::error::ApiError;

/// Checks the head of a request and drops the header fields that could be taken for others.
///
/// # Errors
///
/// What to answer instead of serving it.
pub(super) fn enter(parts: &mut Parts, limits: &Limits) -> Result<(), ApiError> {
    // HTTP/1.1 was counted by the parser, which stops there.
    if parts.headers.len() > limits.header_count {
        let text =
            format!("a request must not have more than {} header fields", limits.header_count);
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(ApiError::new(status, "too_many_headers", text));
    }
    check_host(parts)?;
    if parts.version < Version::HTTP_2 && parts.uri.scheme().is_some() {
        let text = "this is not a forward proxy: the target must be a path";
        return Err(ApiError::invalid("invalid_target", text));
    }
    let mut expected = parts.headers.get_all(header::EXPECT).iter();
    if !expected.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        let text = "the only expectation that can be met is 100-continue";
        return Err(ApiError::new(StatusCode::EXPECTATION_FAILED, "expectation_failed", text));
    }
    drop_ambiguous(parts);
    Ok(())
}

/// Exactly one host, which a request of HTTP/2 may also have in its target.
fn check_host(parts: &Parts) -> Result<(), ApiError> {
    let invalid = |text: &'static str| Err(ApiError::invalid("invalid_host", text));
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let authority = parts.uri.authority().filter(|_| parts.version == Version::HTTP_2);
    let Some(host) = hosts.next() else {
        if authority.is_some() || parts.version <= Version::HTTP_10 {
            return Ok(());
        }
        return Err(ApiError::invalid("missing_host", "the request needs a Host header"));
    };
    if hosts.next().is_some() {
        return invalid("the request has more than one Host header");
    }
    if host.is_empty() {
        return Err(ApiError::invalid("missing_host", "the Host header is empty"));
    }
    let is_host = |text: &str| text.parse::<Authority>().is_ok() && !text.contains('@');
    if !host.to_str().is_ok_and(is_host) {
        return invalid("the Host header is not a host");
    }
    if authority.is_some_and(|authority| authority.as_str() != host) {
        return invalid("the Host header is not the host of the target");
    }
    Ok(())
}

/// `X_Session_Id` and `X-Session-Id` are one name to many programs behind a gateway.
/// `session_id` stays: some agents name their session by it.
fn drop_ambiguous(parts: &mut Parts) {
    let ambiguous =
        |name: &&HeaderName| name.as_str().contains('_') && !AGENT_HEADERS.contains(name);
    let names: Vec<_> = parts.headers.keys().filter(ambiguous).cloned().collect();
    for name in names {
        parts.headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn refused(version: Version, uri: &str, fields: &[(&str, &str)]) -> Option<ApiError> {
        let mut request = Request::post(uri).version(version);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        enter(&mut parts, &Limits::default()).err()
    }

    #[test]
    fn a_request_has_one_host() {
        let code = |version, uri, fields: &[_]| {
            refused(version, uri, fields).map(|error| error.code()).unwrap_or("served")
        };
        for (version, uri, fields, expected) in [
            (Version::HTTP_11, "/", &[][..], "missing_host"),
            (Version::HTTP_11, "/", &[("host", "")], "missing_host"),
            (Version::HTTP_11, "/", &[("host", "h:1")], "served"),
            (Version::HTTP_11, "/", &[("host", "[::1]:1")], "served"),
            (Version::HTTP_11, "/", &[("host", "h"), ("host", "h")], "invalid_host"),
            (Version::HTTP_11, "/", &[("host", "h/path")], "invalid_host"),
            (Version::HTTP_11, "/", &[("host", "user@h")], "invalid_host"),
            (Version::HTTP_11, "http://h/", &[("host", "h")], "invalid_target"),
            (Version::HTTP_10, "/", &[], "served"),
            (Version::HTTP_2, "/", &[], "missing_host"),
            (Version::HTTP_2, "http://h/", &[], "served"),
            (Version::HTTP_2, "http://h/", &[("host", "h")], "served"),
            (Version::HTTP_2, "http://h/", &[("host", "other")], "invalid_host"),
        ] {
            assert_eq!(code(version, uri, fields), expected, "{version:?} {uri} {fields:?}");
        }
    }
}

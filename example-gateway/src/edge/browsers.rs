//! Requests that a web page may have made.
//!
//! Without client keys, everyone who reaches a listener may spend the provider keys, and on loopback every
//! page in a browser of this machine does reach it. So on such a listener:
//!
//! 1. A request of another site is refused: by its `Origin`, else by `Sec-Fetch-Site`. Programs send
//!    neither.
//! 2. On loopback the host must be a name of this machine: a page whose own name was made to lead here
//!    would otherwise be of the same site.
//!
//! Origins under `cors` are let in, on any listener, and may read the answers. A listener with keys
//! leaves it to them: a page cannot show one that it was not given.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use affinity_layer::headers::{
    AFFINITY_HEADER, EPOCH_HEADER, MODEL_HEADER, PINNED_HEADER, ROUTE_HEADER,
};
use axum::body::Body;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use crate::config::{Hosts, Listener, Origins};
use crate::edge::front::Access;
use crate::error::ApiError;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const ASKS_PRIVATE: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOWS_PRIVATE: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// Seconds for which a browser may remember the answer to a preflight.
const PREFLIGHT_AGE: HeaderValue = HeaderValue::from_static("600");

/// The headers that a page may read in addition to those that every page may.
const EXPOSED: [HeaderName; 7] = [
    PINNED_HEADER,
    MODEL_HEADER,
    ROUTE_HEADER,
    AFFINITY_HEADER,
    EPOCH_HEADER,
    HeaderName::from_static("x-should-retry"),
    header::RETRY_AFTER,
];

/// What a listener lets browsers do.
#[derive(Clone, Debug)]
pub(crate) struct Browsers {
    has_keys: bool,
    /// `None` where any host is served.
    hosts: Option<ServedHosts>,
    origins: Option<Origins>,
    exposed: HeaderValue,
}

#[derive(Clone, Debug)]
struct ServedHosts {
    addresses: [IpAddr; 3],
    names: Vec<String>,
}

impl Browsers {
    /// For `listener`, which listens on `address`.
    pub(crate) fn new(listener: &Listener, address: IpAddr) -> Self {
        let is_checked =
            |names: &[String]| address.to_canonical().is_loopback() || !names.is_empty();
        let hosts = match &listener.hosts {
            Hosts::These(names) if is_checked(names) => {
                let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into(), address];
                Some(ServedHosts { addresses, names: names.clone() })
            }
            Hosts::These(_) | Hosts::Any => None,
        };
        let exposed = EXPOSED.map(|name| name.to_string()).join(", ");
        // Names of headers always make a value.
        let exposed =
            HeaderValue::try_from(exposed).unwrap_or_else(|_| HeaderValue::from_static(""));
        let has_keys = !listener.client_keys.is_empty();
        Self { has_keys, hosts, origins: listener.cors_origins.clone(), exposed }
    }

    /// For a listener that browsers show a token.
    pub(crate) fn of_keys() -> Self {
        Self { has_keys: true, hosts: None, origins: None, exposed: HeaderValue::from_static("") }
    }

    /// Refuses what a page may not ask of a path with `access`, which is `None` where nothing is served.
    pub(super) fn check(&self, parts: &Parts, access: Option<Access>) -> Result<(), ApiError> {
        if self.has_keys || access == Some(Access::Anywhere) {
            return Ok(());
        }
        let refuse = |code, text| Err(ApiError::new(StatusCode::FORBIDDEN, code, text));
        let asked = authority(parts);
        // HTTP/1.0 may have none; a browser always has one.
        if let (Some(hosts), Some(asked)) = (&self.hosts, asked)
            && !hosts.hold(host(asked))
        {
            let text =
                "this host is not served: name it under listeners[].hosts, or call 127.0.0.1";
            return refuse("host_not_allowed", text);
        }
        if self.is_cross_site(&parts.headers, asked) {
            let text = "a page of another site may not call: name its origin under \
                        listeners[].cors.origins, or ask for client_keys";
            return refuse("cross_site", text);
        }
        Ok(())
    }

    fn is_cross_site(&self, headers: &HeaderMap, asked: Option<&str>) -> bool {
        let origins = headers.get_all(header::ORIGIN);
        let has_origin = headers.contains_key(header::ORIGIN);
        if has_origin && origins.iter().all(|origin| self.lets_in(origin)) {
            return false;
        }
        let is_same = |origin: &HeaderValue| {
            origin.to_str().ok().zip(asked).is_some_and(|(origin, asked)| is_same(origin, asked))
        };
        let mut sites = headers.get_all(FETCH_SITE).iter();
        !origins.iter().all(is_same) || sites.any(|site| site.as_bytes() == b"cross-site")
    }

    fn lets_in(&self, origin: &HeaderValue) -> bool {
        self.origins.as_ref().is_some_and(|origins| origins.hold(origin.as_bytes()))
    }

    /// The origin that may read the answer to a request.
    pub(super) fn reader(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        headers.get(header::ORIGIN).filter(|origin| self.lets_in(origin)).cloned()
    }

    /// The answer to a request that asks on behalf of `reader` what it may ask for. It shows no key.
    pub(super) fn preflight(
        &self,
        parts: &Parts,
        reader: Option<&HeaderValue>,
    ) -> Option<Response<Body>> {
        reader?;
        let method = parts.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
        if parts.method != Method::OPTIONS {
            return None;
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method.clone());
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE);
        if let Some(names) = parts.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        if parts.headers.contains_key(ASKS_PRIVATE) {
            headers.insert(ALLOWS_PRIVATE, HeaderValue::from_static("true"));
        }
        Some(response)
    }

    /// Lets `reader` read an answer, and tells caches that answers differ by origin.
    pub(super) fn share<B>(&self, reader: Option<HeaderValue>, response: &mut Response<B>) {
        if self.origins.is_none() {
            return;
        }
        let headers = response.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = reader {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed.clone());
        }
    }
}

impl ServedHosts {
    fn hold(&self, host: &str) -> bool {
        let is_name = |name: &str| name.eq_ignore_ascii_case(host);
        let is_address = |address: IpAddr| self.addresses.contains(&address);
        is_name("localhost")
            || host.parse().is_ok_and(is_address)
            || self.names.iter().any(|name| is_name(name))
    }
}

/// The host and port that a request is for.
fn authority(parts: &Parts) -> Option<&str> {
    let field = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    field.or_else(|| parts.uri.authority().map(http::uri::Authority::as_str))
}

/// The host of an authority, without port, brackets and the dot of the root.
fn host(authority: &str) -> &str {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => authority.split(':').next(),
    };
    let host = host.unwrap_or(authority);
    host.strip_suffix('.').unwrap_or(host)
}

/// Whether a page of `origin` is one of the server at `authority`. A proxy before the gateway may have
/// taken the TLS off.
fn is_same(origin: &str, authority: &str) -> bool {
    let (port, origin) = match origin.split_once("://") {
        Some(("http", rest)) => (":80", rest),
        Some(("https", rest)) => (":443", rest),
        _ => return false,
    };
    let bare = |text: &'_ str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
    bare(origin) == bare(authority)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const CLIENTS: Option<Access> = Some(Access::Clients);

    fn listener(hosts: Hosts, origins: Option<&[&str]>) -> Listener {
        let origins =
            origins.map(|origins| Origins::These(origins.iter().map(|o| o.to_string()).collect()));
        Listener { hosts, cors_origins: origins, ..Listener::named("test") }
    }

    fn code(browsers: &Browsers, access: Option<Access>, fields: &[(&str, &str)]) -> &'static str {
        let mut request = Request::post("/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        browsers.check(&parts, access).map_or_else(|error| error.code(), |()| "served")
    }

    #[test]
    fn a_page_of_another_site_is_told_from_programs_and_own_pages() {
        let browsers = Browsers::new(&listener(Hosts::Any, None), Ipv4Addr::LOCALHOST.into());
        let with = |fields: &[(&str, &str)]| {
            let host = [("host", "localhost:12000")];
            code(&browsers, CLIENTS, &[&host, fields].concat())
        };
        for (fields, expected) in [
            (&[][..], "served"),
            (&[("origin", "http://localhost:12000")], "served"),
            (&[("origin", "http://LOCALHOST:12000"), ("sec-fetch-site", "same-origin")], "served"),
            (&[("sec-fetch-site", "none")], "served"),
            (&[("sec-fetch-site", "same-origin")], "served"),
            (&[("sec-fetch-site", "cross-site")], "cross_site"),
            (&[("origin", "null")], "cross_site"),
            (&[("origin", "")], "cross_site"),
            (&[("origin", "https://evil.example")], "cross_site"),
            (&[("origin", "http://localhost:3000"), ("sec-fetch-site", "same-site")], "cross_site"),
            (&[("origin", "http://localhost")], "cross_site"),
            (&[("origin", "http://localhost:12000.evil.example")], "cross_site"),
            (&[("origin", "chrome-extension://localhost:12000")], "cross_site"),
            (
                &[("origin", "http://localhost:12000"), ("origin", "https://evil.example")],
                "cross_site",
            ),
            (
                &[("origin", "http://localhost:12000"), ("sec-fetch-site", "cross-site")],
                "cross_site",
            ),
            (&[("origin", "https://evil.example"), ("sec-fetch-site", "none")], "cross_site"),
        ] {
            assert_eq!(with(fields), expected, "{fields:?}");
        }
        for (access, expected) in [
            (Some(Access::Anywhere), "served"),
            (Some(Access::Everyone), "cross_site"),
            (None, "cross_site"),
        ] {
            let fields = [("origin", "https://evil.example")];
            assert_eq!(code(&browsers, access, &fields), expected, "{access:?}");
        }
        for (origin, host) in
            [("https://gw.example", "gw.example:443"), ("http://[::1]:80", "[::1]")]
        {
            let fields = [("origin", origin), ("host", host)];
            assert_eq!(code(&browsers, CLIENTS, &fields), "served", "{origin}");
        }
    }

    #[test]
    fn on_loopback_the_host_is_a_name_of_this_machine() {
        let on = |hosts: Hosts, address: &str| {
            Browsers::new(&listener(hosts, None), address.parse().unwrap())
        };
        let names =
            |names: &[&str]| Hosts::These(names.iter().map(|name| name.to_string()).collect());
        let none = names(&[]);
        for (browsers, host, expected) in [
            (on(none.clone(), "127.0.0.1"), "localhost", "served"),
            (on(none.clone(), "127.0.0.1"), "LocalHost.:1", "served"),
            (on(none.clone(), "127.0.0.1"), "127.0.0.1:12000", "served"),
            (on(none.clone(), "127.0.0.1"), "[::1]:12000", "served"),
            (on(none.clone(), "127.0.0.7"), "127.0.0.7", "served"),
            (on(none.clone(), "127.0.0.1"), "127.0.0.7", "host_not_allowed"),
            (on(none.clone(), "127.0.0.1"), "evil.example", "host_not_allowed"),
            (on(none.clone(), "127.0.0.1"), "localhost.evil.example", "host_not_allowed"),
            (on(none.clone(), "127.0.0.1"), "127.0.0.1.evil.example", "host_not_allowed"),
            (on(none.clone(), "::1"), "evil.example", "host_not_allowed"),
            (on(none.clone(), "::ffff:127.0.0.1"), "evil.example", "host_not_allowed"),
            (on(none, "0.0.0.0"), "any.example", "served"),
            (on(Hosts::Any, "127.0.0.1"), "any.example", "served"),
            (on(names(&["gw.example"]), "127.0.0.1"), "GW.example:443", "served"),
            (on(names(&["gw.example"]), "127.0.0.1"), "x.gw.example", "host_not_allowed"),
            (on(names(&["gw.example"]), "0.0.0.0"), "other.example", "host_not_allowed"),
        ] {
            assert_eq!(code(&browsers, CLIENTS, &[("host", host)]), expected, "{host}");
            assert_eq!(code(&browsers, None, &[("host", host)]), expected, "{host}");
            assert_eq!(code(&browsers, Some(Access::Anywhere), &[("host", host)]), "served");
        }
    }

    #[test]
    fn an_origin_that_is_named_may_ask_and_read() {
        let origin = "http://localhost:3000";
        let settings = listener(Hosts::Any, Some(&[origin]));
        let browsers = Browsers::new(&settings, Ipv4Addr::LOCALHOST.into());
        let asks = |origin: &str| {
            let request = Request::options("/v1/messages")
                .header("host", "localhost:12000")
                .header("origin", origin)
                .header("sec-fetch-site", "cross-site")
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "content-type, x-model-affinity");
            request.body(()).unwrap().into_parts().0
        };
        let parts = asks(origin);
        assert!(browsers.check(&parts, CLIENTS).is_ok());
        let reader = browsers.reader(&parts.headers);
        let mut answer = browsers.preflight(&parts, reader.as_ref()).unwrap();
        browsers.share(reader, &mut answer);
        assert_eq!(answer.status(), 204);
        let headers = answer.headers();
        assert_eq!(headers["access-control-allow-origin"], origin);
        assert_eq!(headers["access-control-allow-methods"], "POST");
        assert_eq!(headers["access-control-allow-headers"], "content-type, x-model-affinity");
        assert_eq!(headers["vary"], "origin");
        assert!(
            headers["access-control-expose-headers"].to_str().unwrap().contains("x-plano-pinned")
        );

        let parts = asks("http://localhost:3001");
        assert_eq!(browsers.check(&parts, CLIENTS).unwrap_err().code(), "cross_site");
        assert!(browsers.reader(&parts.headers).is_none());
    }
}

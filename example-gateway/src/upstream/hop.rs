//! Headers that belong to one connection and do not travel on (RFC 9110, section 7.6.1).

use http::header::{self, HeaderMap, HeaderName};

static HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes them, those that `Connection` names included.
pub(crate) fn strip(headers: &mut HeaderMap) {
    strip_and(headers, |_| false);
}

/// Removes them, and those that are not for the next hop.
pub(crate) fn strip_and(headers: &mut HeaderMap, is_withheld: impl Fn(&HeaderName) -> bool) {
    let connection = headers.get_all(header::CONNECTION).iter();
    let named: Vec<HeaderName> = connection
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect();
    // Most messages have few of them: looking over the names is cheaper than asking for each.
    let goes =
        |name: &&HeaderName| HOP_BY_HOP.contains(name) || is_withheld(name) || named.contains(name);
    for name in headers.keys().filter(goes).cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_connection_names_goes_too() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Hop"),
            ("connection", "x-second"),
            ("x-hop", "1"),
            ("x-second", "1"),
            ("transfer-encoding", "chunked"),
            ("x-kept", "1"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        strip(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }
}

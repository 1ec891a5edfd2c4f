//! Headers that belong to one connection and do not travel on (RFC 9110, section 7.6.1).
//!
//! They are removed in both directions: a client's `Connection` must not reach a provider, nor a provider's
//! our client. Answers lose a few more, by which a provider could speak in our name.

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

/// Removes what a provider's answer may not say to our client: hop-by-hop fields, leave for web pages to
/// read it, which is ours to give, and names that some readers take for others (`X_Plano_Model`).
pub(crate) fn strip_answer(headers: &mut HeaderMap) {
    strip_and(headers, |name| {
        let name = name.as_str();
        name.starts_with("access-control-") || name.contains('_')
    });
}

/// Removes from a provider's trailers what [`strip_answer`] removes, and what only a head may say: how
/// the message is framed, and what this gateway did.
pub(crate) fn strip_trailers(trailers: &mut HeaderMap) {
    strip_answer(trailers);
    strip_and(trailers, |name| {
        name.as_str().starts_with("x-plano-") || name == header::CONTENT_LENGTH
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_gives_no_page_leave_and_its_trailers_say_nothing_of_ours() {
        let all = [
            "access-control-allow-origin",
            "x_plano_model",
            "te",
            "x-plano-model",
            "content-length",
            "x-kept",
        ];
        let left = |strip: fn(&mut HeaderMap)| {
            let fields = all.map(|name| (HeaderName::from_static(name), "1".parse().unwrap()));
            let mut headers = HeaderMap::from_iter(fields);
            strip(&mut headers);
            all.into_iter().filter(|name| headers.contains_key(*name)).collect::<Vec<_>>()
        };
        assert_eq!(left(strip_answer), ["x-plano-model", "content-length", "x-kept"]);
        assert_eq!(left(strip_trailers), ["x-kept"]);
    }

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

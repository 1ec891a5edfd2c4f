//! The target of a request, in the form that its connection needs.
//!
//! HTTP/1.1 has the path in its target and the host in a field; HTTP/2 has both in its target. A proxy of
//! HTTP/1.1 takes the whole address in the target, and the host in the field all the same. Which one a
//! connection speaks is known when it is lent, so the request takes its form then, and changes back when it
//! has to go over another connection.

use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Request, Uri, header};

use crate::body::Outgoing;

/// In HTTP/2 the host is part of the target.
pub(super) fn absolute(base: &Uri, mut request: Request<Outgoing>) -> Request<Outgoing> {
    let mut parts = base.clone().into_parts();
    if let Some(host) = host(request.headers_mut()) {
        parts.authority = Some(host);
    }
    parts.path_and_query = request.uri().path_and_query().cloned();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

/// For a proxy, which is shown `authorization` and connects to `base`, whatever the host field says.
pub(super) fn forwarded(
    base: &Uri,
    authorization: Option<&HeaderValue>,
    mut request: Request<Outgoing>,
) -> Request<Outgoing> {
    let mut parts = base.clone().into_parts();
    parts.path_and_query = request.uri().path_and_query().cloned();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    if let Some(authorization) = authorization {
        request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization.clone());
    }
    request
}

/// Takes back what [`absolute`] or [`forwarded`] did.
pub(super) fn relative(mut request: Request<Outgoing>) -> Request<Outgoing> {
    let authority = request.uri().authority().map(|host| HeaderValue::from_str(host.as_str()));
    if let Some(Ok(host)) = authority {
        let headers = request.headers_mut();
        headers.entry(header::HOST).or_insert(host);
        headers.remove(header::PROXY_AUTHORIZATION);
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map(Uri::from).unwrap_or_default();
    }
    request
}

fn host(headers: &mut HeaderMap) -> Option<Authority> {
    headers.remove(header::HOST)?.as_bytes().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_becomes_absolute_and_relative_again() {
        let base: Uri = "https://provider.example:8443/".parse().unwrap();
        for host in ["provider.example:8443", "other.example"] {
            let mut request = Request::new(Outgoing::default());
            *request.uri_mut() = "/v1/messages?beta=true".parse().unwrap();
            request.headers_mut().insert(header::HOST, host.parse().unwrap());
            let sent = absolute(&base, request);
            assert_eq!(*sent.uri(), *format!("https://{host}/v1/messages?beta=true"));
            assert!(sent.headers().is_empty());
            let unsent = relative(sent);
            assert_eq!(*unsent.uri(), "/v1/messages?beta=true");
            assert_eq!(unsent.headers()[header::HOST], host);

            let key = HeaderValue::from_static("Basic bTpw");
            let sent = forwarded(&base, Some(&key), unsent);
            assert_eq!(*sent.uri(), "https://provider.example:8443/v1/messages?beta=true");
            assert_eq!(sent.headers()[header::HOST], host);
            assert_eq!(sent.headers()[header::PROXY_AUTHORIZATION], key);
            let unsent = relative(sent);
            assert_eq!(*unsent.uri(), "/v1/messages?beta=true");
            assert_eq!(unsent.headers().len(), 1);
            assert_eq!(unsent.headers()[header::HOST], host);
        }
    }
}

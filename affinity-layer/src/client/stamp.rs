//! The layer that stamps the session onto outgoing requests.

use std::task::{Context, Poll};

use http::{HeaderMap, HeaderName, Request};
use tower_layer::Layer;
use tower_service::Service;

use super::session::Session;
use crate::headers::SESSION_HEADERS;

/// Layer that sends the [session of the running task](Session::current) as a header.
///
/// See the [module docs](super) for the rules.
///
/// ```
/// use affinity_layer::client::{Session, SessionLayer};
/// use http::HeaderName;
///
/// let layer = SessionLayer::new().header(HeaderName::from_static("x-litellm-session-id"));
/// // For a request of another type than `http::Request`: its headers.
/// let mut headers = http::HeaderMap::new();
/// layer.stamp(&mut headers);
/// assert!(headers.is_empty(), "it is in no scope");
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SessionLayer {
    header: HeaderName,
}

impl SessionLayer {
    /// Stamps `x-model-affinity`.
    pub fn new() -> Self {
        Self { header: HeaderName::from_static("x-model-affinity") }
    }

    /// The header to stamp instead.
    pub fn header(self, header: HeaderName) -> Self {
        Self { header }
    }

    /// Stamps the session of the running task onto a request with these headers, unless they name one.
    pub fn stamp(&self, headers: &mut HeaderMap) {
        let Some(session) = Session::current() else { return };
        let mut names = SESSION_HEADERS.iter().chain([&self.header]);
        if !names.any(|name| headers.contains_key(name)) {
            headers.insert(self.header.clone(), session.header_value().clone());
        }
    }
}

impl Default for SessionLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = StampSession<S>;

    fn layer(&self, inner: S) -> StampSession<S> {
        StampSession { inner, layer: self.clone() }
    }
}

/// Middleware of a [`SessionLayer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct StampSession<S> {
    inner: S,
    layer: SessionLayer,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for StampSession<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        self.layer.stamp(request.headers_mut());
        self.inner.call(request)
    }
}

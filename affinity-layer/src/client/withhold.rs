//! The layer that keeps the ids of sessions from providers.

use std::task::{Context, Poll};

use http::{HeaderMap, HeaderName, Request};
use tower_layer::Layer;
use tower_service::Service;

use crate::agents::{AGENT_HEADERS, AGENT_TRAIL_HEADERS};
use crate::headers::SESSION_HEADERS;

/// Layer that removes the headers that name a session from outgoing requests: the
/// [layer's own](crate::headers::SESSION_HEADERS), those of
/// [agent clients](crate::agents::AGENT_HEADERS), and what
/// [follows from those](crate::agents::AGENT_TRAIL_HEADERS).
///
/// It belongs below an [`AffinityLayer`](crate::AffinityLayer), next to the transport. Ids in bodies stay.
///
/// ```
/// use affinity_layer::client::WithholdLayer;
/// use http::{HeaderMap, HeaderName, HeaderValue};
///
/// let layer = WithholdLayer::new().also([HeaderName::from_static("x-tenant")]);
/// let mut headers = HeaderMap::new();
/// for name in ["x-model-affinity", "x-claude-code-session-id", "x-tenant", "accept"] {
///     headers.insert(name, HeaderValue::from_static("1"));
/// }
/// layer.withhold(&mut headers);
/// assert_eq!(headers.keys().collect::<Vec<_>>(), ["accept"]);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct WithholdLayer {
    also: Vec<HeaderName>,
}

impl WithholdLayer {
    /// Removes the headers that are known to name a session.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes these as well: session headers of your own, the header of the tenant.
    pub fn also(mut self, headers: impl IntoIterator<Item = HeaderName>) -> Self {
        self.also.extend(headers);
        self
    }

    /// Removes them from a request with these headers.
    pub fn withhold(&self, headers: &mut HeaderMap) {
        let known = SESSION_HEADERS.iter().chain(AGENT_HEADERS).chain(AGENT_TRAIL_HEADERS);
        for name in known.chain(&self.also) {
            headers.remove(name);
        }
    }
}

impl<S> Layer<S> for WithholdLayer {
    type Service = Withhold<S>;

    fn layer(&self, inner: S) -> Withhold<S> {
        Withhold { inner, layer: self.clone() }
    }
}

/// Middleware of a [`WithholdLayer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Withhold<S> {
    inner: S,
    layer: WithholdLayer,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Withhold<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        self.layer.withhold(request.headers_mut());
        self.inner.call(request)
    }
}

//! What stands behind a listener: its client keys and its paths, each of which is listed once.
//!
//! A request that has passed the gate comes here. In this order: the path is found, as it was meant if not as
//! it was written; the method is checked; the span begins; the key is checked; the stack of the path answers.
//! Health and metrics, which are for everyone, skip the span and the key. A panic in a stack for clients ends
//! its own request only.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use futures_util::FutureExt;
use http::{Method, Request, Response};
use secrecy::ExposeSecret;
use tower::{Service, ServiceExt};
use tracing::Instrument;

use crate::config::{ClientKey, TrustedProxies};
use crate::edge::{auth, forwarded};
use crate::error::ApiError;
use crate::extensions::{Client, Peer};
use crate::paths::canonical;
use crate::protocol::Protocol;
use crate::stack::answers;
use crate::stack::observe::Observer;
use crate::telemetry::access::AccessNote;

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Whose requests a path takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Those of clients that show a key, where the listener has keys. Each takes a place among the
    /// requests under way, has a span and is counted.
    Clients,
    /// Everybody's, also when all places are taken: whether this gateway lives must be known then too.
    Everyone,
    /// The same, from web pages of any site, and by any host.
    Anywhere,
}

/// A path and the stack behind it.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// As axum writes paths: `{name}` stands for one segment, and `{*name}` at the end for all below it.
    path: String,
    methods: &'static [Method],
    access: Access,
    stack: Arc<dyn Fn(Request<Body>) -> Answering + Send + Sync>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.path).finish()
    }
}

impl Endpoint {
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn access(&self) -> Access {
        self.access
    }

    /// The methods that it takes, as `Allow` lists them.
    fn allow(&self) -> &'static str {
        let takes = |method| self.methods.contains(&method);
        match (takes(Method::POST), takes(Method::DELETE)) {
            (true, true) => "GET,HEAD,POST,PUT,PATCH,DELETE",
            (true, false) => "POST",
            (false, true) => "GET,HEAD,DELETE",
            (false, false) => "GET,HEAD",
        }
    }

    /// Whether it takes all that no other path does: then a path may still be meant as another.
    fn is_rest(&self) -> bool {
        self.methods.contains(&Method::PATCH)
    }

    fn serves(&self, path: &str) -> bool {
        if !self.path.contains('{') {
            return self.path == path;
        }
        // Slashes too many are taken out before it is asked again.
        let mut asked = path.split('/').skip(1);
        for own in self.path.split('/').skip(1) {
            if own.starts_with("{*") {
                return asked.clone().next().is_some() && asked.all(|segment| !segment.is_empty());
            }
            match asked.next() {
                Some(segment) if own == segment => {}
                Some(segment) if own.starts_with('{') && !segment.is_empty() => {}
                _ => return false,
            }
        }
        asked.next().is_none()
    }

    /// Serves `path` to clients by `stack`, for requests of one of `methods`. The stack must always be
    /// ready.
    pub(crate) fn new<S>(path: impl Into<String>, methods: &'static [Method], stack: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let answer = move |request| stack.clone().call(request).boxed();
        Self { path: path.into(), methods, access: Access::Clients, stack: Arc::new(answer) }
    }

    /// The same with other access.
    #[must_use]
    pub(crate) fn open_to(self, access: Access) -> Self {
        Self { access, ..self }
    }
}

/// Answers the requests of a listener. Its paths are few and asked for all the time: comparing them one
/// by one is cheaper than a router, which the admin API with its many paths has as `others`.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    endpoints: Arc<[Endpoint]>,
    observer: Arc<Observer>,
    keys: Arc<[ClientKey]>,
    proxies: Arc<TrustedProxies>,
    others: Router,
}

impl Front {
    /// Serves `endpoints`; those for clients to requests that show one of `keys`, or to all of them
    /// where there are no keys. Any other path is answered by `others`.
    pub(crate) fn new(
        endpoints: Arc<[Endpoint]>,
        observer: Arc<Observer>,
        keys: &[ClientKey],
        others: Router,
    ) -> Self {
        Self { endpoints, observer, keys: keys.into(), proxies: Arc::default(), others }
    }

    /// Takes the word of `proxies` on the address of a client.
    #[must_use]
    pub(crate) fn behind(self, proxies: TrustedProxies) -> Self {
        Self { proxies: Arc::new(proxies), ..self }
    }

    /// Whether the word of the proxy at `address` is taken.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.proxies.hold(address)
    }

    /// What serves `path`, unless that is one of the others.
    pub(crate) fn endpoint(&self, path: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.serves(path))
    }

    /// The answer to a request.
    pub(crate) async fn answer(&self, mut request: Request<Body>) -> Response<Body> {
        let mut endpoint = self.endpoint(request.uri().path());
        // Only the API takes a path as it was meant; the admin listener has no endpoints.
        if endpoint.is_none_or(Endpoint::is_rest)
            && !self.endpoints.is_empty()
            && let Some(meant) = canonical(request.uri())
        {
            *request.uri_mut() = meant;
            endpoint = self.endpoint(request.uri().path());
        }
        let Some(endpoint) = endpoint else {
            let Ok(response) = self.others.clone().oneshot(request).await;
            return response;
        };
        if let Some(note) = request.extensions().get::<AccessNote>() {
            note.path(&endpoint.path);
        }
        if !endpoint.methods.contains(request.method()) {
            return answers::only(endpoint.allow(), request.uri(), request.headers());
        }
        if endpoint.access != Access::Clients {
            let Ok(response) = (endpoint.stack)(request).await;
            return response;
        }
        let observed = self.observer.begin(&endpoint.path, &mut request);
        let span = observed.span().clone();
        let response = self.admitted(endpoint, request).instrument(span).await;
        observed.answered(&response);
        response
    }

    async fn admitted(&self, endpoint: &Endpoint, mut request: Request<Body>) -> Response<Body> {
        let protocol = Protocol::of(&endpoint.path);
        let key = match auth::check(&self.keys, &mut request) {
            Ok(key) => key,
            Err(error) => return error.response(protocol),
        };
        if let (Some(key), Some(note)) = (key, request.extensions().get::<AccessNote>()) {
            note.client(&key.name);
        }
        let key = key.map(|key| Client::with_key(key.key.expose_secret()));
        let client = key.or_else(|| self.client_at(&request)).unwrap_or(Client::Unknown);
        request.extensions_mut().insert(client);
        // A panic ends this request; connection and process go on.
        let answering = async { (endpoint.stack)(request).await };
        let Ok(answered) = AssertUnwindSafe(answering).catch_unwind().await else {
            return panicked(protocol);
        };
        let Ok(response) = answered;
        response
    }

    /// The client by its address, unless the system did not tell it.
    fn client_at<B>(&self, request: &Request<B>) -> Option<Client> {
        let Peer(peer) = request.extensions().get()?;
        let address = forwarded::client_address(&self.proxies, peer.ip(), request.headers());
        Some(Client::at(address))
    }
}

/// The answer to a request that ended in a panic.
pub(crate) fn panicked(protocol: Protocol) -> Response<Body> {
    tracing::error!("a request ended in a panic");
    ApiError::internal().response(protocol)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::{Value, json};
    use tower::service_fn;

    use super::*;
    use crate::config::SpanAttributes;

    #[tokio::test]
    async fn a_panic_is_answered_in_the_protocol_of_the_path() {
        for (path, member, kind) in [
            ("/v1/chat/completions", "/error/code", "internal_error"),
            ("/v1/messages", "/error/type", "api_error"),
        ] {
            let broken = service_fn(async |request: Request<Body>| {
                assert!(request.headers().is_empty() && request.uri() == "/b", "with a secret");
                Ok::<_, Infallible>(Response::new(Body::empty()))
            });
            let endpoints = Arc::new([Endpoint::new(path, &[Method::POST], broken)]);
            let observer = Arc::new(Observer::new(SpanAttributes::default(), Vec::new(), []));
            let front = Front::new(endpoints, observer, &[], Router::new());
            let request = Request::post(path).body(Body::empty()).unwrap();
            let response = front.answer(request).await;
            assert_eq!(response.status(), 500);
            // The same request would meet the same mistake.
            assert_eq!(response.headers()["x-should-retry"], "false");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body.pointer(member), Some(&json!(kind)));
            assert!(!body.to_string().contains("secret"), "{body}");
        }
    }
}

//! What the benches share: requests as a server hands them on, and something to answer them.

pub mod redis;
mod sessions;
pub mod turns;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use affinity_layer::{
    PinnedModel,
    headers::{AFFINITY_HEADER, MODEL_HEADER, PINNED_HEADER, ROUTE_HEADER},
};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::Full;
use tower_service::Service;

pub use sessions::{Random, claim, key, selection};

/// What a bench reports when it cannot measure.
pub type Failure = Box<dyn std::error::Error>;

/// Of requests and responses.
pub type Body = Full<Bytes>;

/// The header fields of a common client library.
const FIELDS: [(HeaderName, &str); 8] = [
    (HOST, "localhost:12000"),
    (USER_AGENT, "OpenAI/Python 2.8.0"),
    (CONTENT_TYPE, "application/json"),
    (CONTENT_LENGTH, "512"),
    (AUTHORIZATION, "Bearer sk-0123456789abcdef0123456789abcdef"),
    (HeaderName::from_static("x-stainless-lang"), "python"),
    (HeaderName::from_static("x-stainless-os"), "Linux"),
    (HeaderName::from_static("x-stainless-retry-count"), "0"),
];

/// The header that names the session.
pub const SESSION: HeaderName = HeaderName::from_static("x-model-affinity");

/// A request as hyper makes it: the values are slices of one buffer.
pub fn request(session: Option<&str>) -> Request<Body> {
    let fields = || FIELDS.into_iter().chain(session.map(|session| (SESSION, session)));
    let buffer = Bytes::from(fields().map(|(_, value)| value).collect::<String>());
    let mut rest = buffer.clone();
    let mut request = Request::new(Body::default());
    *request.method_mut() = http::Method::POST;
    for (name, value) in fields() {
        let value = HeaderValue::from_maybe_shared(rest.split_to(value.len()));
        request.headers_mut().insert(name, value.unwrap_or(HeaderValue::from_static("?")));
    }
    // A server puts something there too, such as the address of the client.
    request.extensions_mut().insert(0_u32);
    request
}

/// The id of session `n`: as long as a UUID.
pub fn session(n: u64) -> String {
    format!("{n:016x}-4567-89ab-cdef01234567")
}

/// What cannot be done for less: puts something as large as a `PinnedModel` into the extensions of a
/// request with a session id, and sets the headers of the contract.
#[derive(Clone, Debug)]
pub struct Told {
    /// Model and route, where there is one.
    pub selection: Option<[HeaderValue; 2]>,
}

/// As large as what the layer puts there.
#[derive(Clone)]
struct Blob(#[expect(dead_code, reason = "only its size counts")] [u8; size_of::<PinnedModel>()]);

impl Service<Request<Body>> for Told {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if self.selection.is_some() {
            request.extensions_mut().insert(Blob([0; size_of::<PinnedModel>()]));
        }
        drop(request);
        let mut response = answer();
        let headers = response.headers_mut();
        if let Some([model, route]) = &self.selection {
            headers.insert(MODEL_HEADER, model.clone());
            headers.insert(ROUTE_HEADER, route.clone());
        }
        let (pinned, outcome) =
            if self.selection.is_some() { ("true", "hit") } else { ("false", "none") };
        headers.insert(PINNED_HEADER, HeaderValue::from_static(pinned));
        headers.insert(AFFINITY_HEADER, HeaderValue::from_static(outcome));
        ready(Ok(response))
    }
}

/// The inner service: answers at once, with the head that a provider's answer has.
#[derive(Clone, Copy, Debug)]
pub struct Inner;

impl Service<Request<Body>> for Inner {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Ok(answer()))
    }
}

fn answer() -> Response<Body> {
    let mut response = Response::new(Body::default());
    // Room for ours too, as hyper leaves some.
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("1024"));
    *response.headers_mut() = headers;
    response
}

//! The layer that stamps `prompt_cache_key` into outgoing bodies.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::session::Session;
use crate::BoxError;
use crate::affinity::ReadBody;
use crate::body::{JsonBody, check_media};

/// Layer that gives the JSON body of a `POST` a `prompt_cache_key`: a hash of the
/// [session of the running task](Session::current), keyed with a secret of yours, so that a provider keeps
/// the session's cache together and does not learn its id.
///
/// - The member is put first into the object; every other byte stays. `content-length` follows.
/// - A body that has one is left as it is, and so is one of another path than
///   [`paths`](Self::paths), one that is not a JSON object, is compressed, or is longer than
///   [`limit`](Self::limit). Outside of a scope nothing is read.
/// - The provider must know the member: OpenAI's Chat Completions and Responses do, others may refuse it.
///
/// It belongs above an [`AffinityLayer`](crate::AffinityLayer). The type of the body must be `From<Bytes>`,
/// such as `Full<Bytes>`. Its error is a [`BoxError`]: that of the transport, or why a body could not be read.
#[derive(Clone)]
#[must_use]
pub struct CacheKeyLayer {
    secret: [u8; 16],
    limit: usize,
    paths: fn(&str) -> bool,
}

impl CacheKeyLayer {
    /// Stamps bodies of up to 2 MiB. `secret` is that of your deployment; without knowing it, nobody can tell
    /// which session a hash belongs to.
    pub fn new(secret: [u8; 16]) -> Self {
        let is_openai =
            |path: &str| ["/chat/completions", "/responses"].iter().any(|it| path.ends_with(it));
        Self { secret, limit: 2 * 1024 * 1024, paths: is_openai }
    }

    /// The longest body in bytes that is read for it; one of a longer declared length goes on as it is, and
    /// one that turns out to be longer is an error. Default: 2 MiB.
    pub fn limit(self, bytes: usize) -> Self {
        Self { limit: bytes, ..self }
    }

    /// Which paths are stamped. Default: those that end in `/chat/completions` or `/responses`.
    pub fn paths(self, paths: fn(&str) -> bool) -> Self {
        Self { paths, ..self }
    }
}

impl fmt::Debug for CacheKeyLayer {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheKeyLayer").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for CacheKeyLayer {
    type Service = StampCacheKey<S>;

    fn layer(&self, inner: S) -> StampCacheKey<S> {
        StampCacheKey { inner, layer: self.clone() }
    }
}

/// Middleware of a [`CacheKeyLayer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct StampCacheKey<S> {
    inner: S,
    layer: CacheKeyLayer,
}

impl<S, B> Service<Request<B>> for StampCacheKey<S>
where
    S: Service<Request<B>, Error: Into<BoxError>> + Clone + Send + 'static,
    S::Future: Send,
    B: Body + ReadBody + From<Bytes> + Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = CacheKeyFuture<S::Future, S::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let layer = &self.layer;
        let longest = u64::try_from(layer.limit).unwrap_or(u64::MAX);
        let is_stamped = request.method() == Method::POST
            && (layer.paths)(request.uri().path())
            && matches!(check_media(request.headers(), true), Ok(None))
            && request.body().size_hint().lower() <= longest;
        let Some(session) = Session::current().filter(|_| is_stamped) else {
            return CacheKeyFuture { kind: Kind::Untouched { inner: self.inner.call(request) } };
        };
        // The clone stays behind; the service that is ready now takes the request.
        let standby = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, standby);
        let (name, limit) = (session.hashed(&layer.secret), layer.limit);
        let stamped = async move {
            let (mut head, mut body) = request.into_parts();
            let bytes = body.read(limit).await?;
            // What is no JSON here is the provider's to refuse.
            let json = JsonBody::parse(bytes).ok();
            if let Some(sent) = json.and_then(|json| json.with_prompt_cache_key(&name)) {
                if head.headers.contains_key(header::CONTENT_LENGTH) {
                    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(sent.len()));
                }
                body = B::from(sent.to_bytes());
            }
            inner.call(Request::from_parts(head, body)).await.map_err(Into::into)
        };
        CacheKeyFuture { kind: Kind::Stamped { inner: Box::pin(stamped) } }
    }
}

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

pin_project! {
    /// Response future of [`StampCacheKey`].
    pub struct CacheKeyFuture<F, T> {
        #[pin]
        kind: Kind<F, T>,
    }
}

pin_project! {
    #[project = KindProj]
    /// How the request goes on; behind a public struct, so that it can change.
    enum Kind<F, T> {
        Untouched { #[pin] inner: F },
        Stamped { inner: Boxed<T> },
    }
}

impl<F, T, E> Future for CacheKeyFuture<F, T>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Untouched { inner } => inner.poll(cx).map_err(Into::into),
            KindProj::Stamped { inner } => inner.as_mut().poll(cx),
        }
    }
}

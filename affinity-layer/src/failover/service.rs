//! The middleware: a request that has a model gets [attempts](super::attempts), any other passes.
//!
//! Only a request with a [`PinnedModel`] is boxed and cloned, since the attempts are a sequence of calls
//! and waits, written as one `async fn`.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::attempts::Attempts;
use super::settings::Settings;
use crate::PinnedModel;

/// Middleware that goes on with the next candidate when a model fails.
///
/// It adds no error and changes no body: the client gets the response, or the error, of one of the
/// attempts.
///
/// See the [module docs](super).
#[derive(Clone)]
#[must_use]
pub struct Failover<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> Failover<S> {
    pub(super) fn new(inner: S, settings: Arc<Settings>) -> Self {
        Self { inner, settings }
    }
}

impl<S: fmt::Debug> fmt::Debug for Failover<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failover").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// A request body that can be sent to one candidate after another: any that is `Clone`.
///
/// Bodies that come from a connection are not, because they are gone when they have been sent.
#[diagnostic::on_unimplemented(
    message = "a request body of type `{Self}` cannot be sent to a second candidate",
    label = "not `Clone`",
    note = "hold the body in memory above the `FailoverLayer`, as `http_body_util::Full<bytes::Bytes>` \
            after `BodyExt::collect`; `examples/reverse_proxy.rs` of affinity-layer does so"
)]
pub trait RepeatableBody: Clone + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<B: Clone + Send + 'static> RepeatableBody for B {}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Failover<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: RepeatableBody,
    ResBody: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let Some(model) = request.extensions().get::<PinnedModel>().cloned() else {
            return ResponseFuture { kind: Kind::Direct { inner: self.inner.call(request) } };
        };
        // The clone stays behind; the service that is ready now takes the first attempt.
        let standby = self.inner.clone();
        let ready = mem::replace(&mut self.inner, standby.clone());
        let attempts = Attempts { model, settings: self.settings.clone() };
        let inner = Box::pin(attempts.run(ready, standby, request));
        ResponseFuture { kind: Kind::Boxed { inner } }
    }
}

type Boxed<B, E> = Pin<Box<dyn Future<Output = Result<Response<B>, E>> + Send>>;

pin_project! {
    /// Response future of [`Failover`].
    pub struct ResponseFuture<F, B, E> {
        #[pin]
        kind: Kind<F, B, E>,
    }
}

pin_project! {
    #[project = KindProj]
    /// How the request is served; behind a public struct, so that it can change.
    enum Kind<F, B, E> {
        /// The request has no model, so there is no other to go to.
        Direct { #[pin] inner: F },
        /// The attempts, one after another.
        Boxed { inner: Boxed<B, E> },
    }
}

impl<F, B, E> Future for ResponseFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Direct { inner } => inner.poll(cx),
            KindProj::Boxed { inner } => inner.as_mut().poll(cx),
        }
    }
}

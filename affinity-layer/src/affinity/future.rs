use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;
use tracing::Span;

use crate::PinnedModel;
use crate::outcome::Stamp;

type Boxed<B, E> = Pin<Box<dyn Future<Output = Result<Response<B>, E>> + Send>>;

pin_project! {
    /// Response future of [`Affinity`](super::Affinity).
    ///
    /// For a request whose pin was at hand it is the inner service's, and nothing is allocated for it.
    /// Any other is boxed. Dropping it at any time leaves nothing behind.
    pub struct ResponseFuture<F, B, E> {
        #[pin]
        kind: Kind<F, B, E>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<F, B, E> {
        /// The model is known, or none is needed: nothing but the inner service is awaited.
        Direct { #[pin] inner: F, stamp: Stamp, span: Span },
        Boxed { inner: Boxed<B, E> },
        Refused { response: Option<Response<B>> },
    }
}

impl<F, B, E> ResponseFuture<F, B, E> {
    pub(super) fn direct(inner: F, stamp: Stamp, span: Span) -> Self {
        Self { kind: Kind::Direct { inner, stamp, span } }
    }

    /// For a request without a model.
    pub(super) fn untouched(inner: F) -> Self {
        Self::direct(inner, Stamp::NONE, Span::none())
    }

    pub(super) fn boxed(
        inner: impl Future<Output = Result<Response<B>, E>> + Send + 'static,
    ) -> Self {
        Self { kind: Kind::Boxed { inner: Box::pin(inner) } }
    }

    pub(super) fn refused(response: Response<B>) -> Self {
        Self { kind: Kind::Refused { response: Some(response) } }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Direct { inner, stamp, span } => {
                let _entered = span.enter();
                let mut response = ready!(inner.poll(cx))?;
                apply(stamp, &mut response);
                Poll::Ready(Ok(response))
            }
            KindProj::Boxed { inner } => inner.as_mut().poll(cx),
            // A future that has answered is not polled again; waiting is what it may do then.
            KindProj::Refused { response } => {
                response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)))
            }
        }
    }
}

/// Sets our headers, after an inner layer that moved the pin if there was one.
pub(super) fn apply<B>(stamp: &Stamp, response: &mut Response<B>) {
    let moved = response.extensions().get::<PinnedModel>().map(PinnedModel::stamp);
    moved.as_ref().unwrap_or(stamp).apply(response.headers_mut());
}

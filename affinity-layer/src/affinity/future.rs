//! The response future: a hit is a plain struct around the inner future, everything else is boxed.
//!
//! A middleware in tower cannot name the future of an `async fn`, and one that boxes every request pays
//! an allocation on each. So the type distinguishes what a request needs: `Direct` awaits the inner
//! service alone and only has to set our headers afterwards; `Boxed` is the sequence of body, store,
//! router and store, as far as a request needs it; `Refused` is ready at once. The enum is private, so
//! that a new kind is no breaking change.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;
use tracing::Span;

use crate::PinnedModel;
use crate::ext::LeftOut;
use crate::headers::HeaderNames;
use crate::outcome::Stamp;

type Boxed<B, E> = Pin<Box<dyn Future<Output = Result<Response<B>, E>> + Send>>;

pin_project! {
    /// Response future of [`AffinityService`](super::AffinityService).
    ///
    /// For a request whose pin was at hand it is the inner service's, and nothing is allocated for it.
    /// Any other is boxed. Dropping it at any time leaves nothing behind: a request that was deciding for
    /// its session hands the decision to the next one that waits.
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
        /// Something has to be awaited before the inner service: `Arrival::decide` and what follows.
        Boxed { inner: Boxed<B, E> },
        /// The layer answers itself. `None` once it has answered.
        Refused { response: Option<Response<B>> },
    }
}

impl<F, B, E> ResponseFuture<F, B, E> {
    /// For a request that goes straight to the inner service, whose future runs inside `span`.
    pub(super) fn direct(inner: F, stamp: Stamp, span: Span) -> Self {
        Self { kind: Kind::Direct { inner, stamp, span } }
    }

    /// For a request without a model: it is neither counted nor traced.
    pub(super) fn untouched(inner: F, names: HeaderNames) -> Self {
        Self::direct(inner, Stamp::none(names), Span::none())
    }

    /// For a request that waits. The one allocation is made here.
    pub(super) fn boxed(
        inner: impl Future<Output = Result<Response<B>, E>> + Send + 'static,
    ) -> Self {
        Self { kind: Kind::Boxed { inner: Box::pin(inner) } }
    }

    /// For a request that never reaches the inner service.
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

/// Sets our headers on a response, whatever an upstream has sent under their names.
///
/// An inner layer that moved the pin or took a detour has put the [`PinnedModel`] that served into the
/// response's extensions. It has the last word, because it alone knows which model answered.
pub(super) fn apply<B>(stamp: &Stamp, response: &mut Response<B>) {
    let moved = response.extensions().get::<PinnedModel>().map(PinnedModel::stamp);
    let healed = response.extensions().get().map(|left_out: &LeftOut| left_out.kinds.clone());
    let (said, names) = (moved.as_ref().unwrap_or(stamp), &stamp.names);
    said.apply(names, response.headers_mut(), healed.as_ref());
}

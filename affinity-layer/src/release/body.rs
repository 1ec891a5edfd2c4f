use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::PinnedModel;

pin_project! {
    /// Response body of [`Release`](super::Release).
    pub struct ReleaseBody<B> {
        #[pin]
        inner: B,
        model: Option<PinnedModel>,
    }
}

impl<B: Body> ReleaseBody<B> {
    /// A body at whose end the pin of `model` is released.
    pub(super) fn new(inner: B, mut model: Option<PinnedModel>) -> Self {
        if is_over(&inner) {
            release(&mut model);
        }
        Self { inner, model }
    }
}

impl<B: Default> Default for ReleaseBody<B> {
    fn default() -> Self {
        Self { inner: B::default(), model: None }
    }
}

impl<B: fmt::Debug> fmt::Debug for ReleaseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReleaseBody").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<B: Body> Body for ReleaseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        // A server does not poll again once the body is over, so this frame may be the last.
        match &frame {
            Some(Err(_)) => *this.model = None,
            Some(Ok(_)) if !is_over(&*this.inner) => {}
            Some(Ok(_)) | None => release(this.model),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Whether all data is out. Over HTTP/2 the end of the stream may follow in a frame of its own,
/// which nobody asks for once the declared length is reached.
fn is_over<B: Body>(body: &B) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

/// Releases without holding the body up: at once where the store needs no waiting, else in a task.
fn release(model: &mut Option<PinnedModel>) {
    let Some(model) = model.take() else { return };
    let mut releasing = Box::pin(async move {
        if let Err(error) = model.release().await {
            tracing::debug!(%error, "the pin of a final request could not be released");
        }
    });
    let waiting = releasing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
    if waiting && let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(releasing);
    }
}

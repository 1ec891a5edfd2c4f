use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::scan::Scanner;
use crate::PinnedModel;

/// The longest that a release may take beside the response.
const LIMIT: Duration = Duration::from_secs(1);

pin_project! {
    /// Response body of [`Release`](super::Release).
    pub struct ReleaseBody<B> {
        #[pin]
        inner: B,
        pin: Option<Held>,
    }

    impl<B> PinnedDrop for ReleaseBody<B> {
        fn drop(this: Pin<&mut Self>) {
            // A client stops reading a stream with the event that tells of its end.
            if let Some(held) = this.project().pin.take().filter(Held::is_streamed) {
                held.release_if_done();
            }
        }
    }
}

/// A pin that may be released by the body.
struct Held {
    model: PinnedModel,
    /// What reads whether the model is done; without one, every end is the end of the task.
    scanner: Option<Scanner>,
}

impl<B> ReleaseBody<B> {
    /// A body that releases nothing.
    pub(super) fn untouched(inner: B) -> Self {
        Self { inner, pin: None }
    }
}

impl<B: Body> ReleaseBody<B> {
    /// A body at whose end the pin of `model` is released.
    pub(super) fn at_end(inner: B, model: PinnedModel) -> Self {
        Self::new(inner, Held { model, scanner: None })
    }

    /// A body at whose end the pin of `model` is released if the model was done.
    pub(super) fn when_done(inner: B, model: PinnedModel, scanner: Scanner) -> Self {
        Self::new(inner, Held { model, scanner: Some(scanner) })
    }

    fn new(inner: B, held: Held) -> Self {
        if is_over(&inner) {
            held.release_if_done();
            return Self::untouched(inner);
        }
        Self { inner, pin: Some(held) }
    }
}

impl<B: Default> Default for ReleaseBody<B> {
    fn default() -> Self {
        Self::untouched(B::default())
    }
}

impl<B: fmt::Debug> fmt::Debug for ReleaseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReleaseBody").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<B: Body<Data = Bytes>> Body for ReleaseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        let Some(held) = this.pin else {
            return Poll::Ready(frame);
        };
        if let (Some(Ok(frame)), Some(scanner)) = (&frame, &mut held.scanner)
            && let Some(data) = frame.data_ref()
        {
            scanner.feed(data);
        }
        // A server does not poll again once the body is over, so this frame may be the last.
        match &frame {
            Some(Err(_)) => *this.pin = None,
            Some(Ok(_)) if !is_over(&*this.inner) => {}
            Some(Ok(_)) | None => {
                if let Some(held) = this.pin.take() {
                    held.release_if_done();
                }
            }
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

impl Held {
    fn is_streamed(&self) -> bool {
        self.scanner.as_ref().is_some_and(Scanner::is_stream)
    }

    /// Releases without holding the body up: at once where the store needs no waiting, else in a
    /// task.
    fn release_if_done(self) {
        if !self.scanner.is_none_or(Scanner::was_final) {
            return;
        }
        let model = self.model;
        let mut releasing = Box::pin(async move {
            if let Err(error) = model.release().await {
                tracing::debug!(%error, "a pin could not be released at the end of its answer");
            }
        });
        let waiting = releasing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
        if waiting && let Ok(runtime) = Handle::try_current() {
            runtime.spawn(timeout(LIMIT, releasing));
        }
    }
}

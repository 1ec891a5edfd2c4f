use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Timeout, sleep, timeout};

use super::scan::Scanner;
use crate::hint::with_held;
use crate::{AffinityStore, PinnedModel};

/// The longest that a release may take beside the response.
const LIMIT: Duration = Duration::from_secs(1);

/// The longest that the last piece waits for the release.
const HOLD: Duration = Duration::from_millis(50);

pin_project! {
    /// Response body of [`Release`](super::Release).
    pub struct ReleaseBody<B> {
        #[pin]
        inner: B,
        state: State,
    }

    impl<B> PinnedDrop for ReleaseBody<B> {
        fn drop(this: Pin<&mut Self>) {
            // A client stops reading a stream with the event that tells of its end.
            if let State::Watching(held) = std::mem::take(this.project().state)
                && held.is_streamed()
            {
                held.release_if_done();
            }
        }
    }
}

#[derive(Default)]
enum State {
    /// There is nothing to do, or no more.
    #[default]
    Passing,
    Watching(Box<Held>),
    /// The last piece, or the end, waits for the release.
    Releasing {
        release: Pin<Box<Releasing>>,
        last: Option<Frame<Bytes>>,
    },
}

/// A release that goes on whoever waits for it, and however long.
type Releasing = Timeout<JoinHandle<()>>;

/// A pin that may be released by the body.
pub(super) struct Held {
    pub(super) model: PinnedModel,
    /// What reads the answer; without one, its end is that of the body.
    pub(super) scanner: Option<Scanner>,
    /// Every end is the end of the task, also if the model is not done.
    pub(super) always: bool,
}

impl<B> ReleaseBody<B> {
    /// A body that releases nothing.
    pub(super) fn untouched(inner: B) -> Self {
        Self { inner, state: State::Passing }
    }
}

impl<B: Body> ReleaseBody<B> {
    /// A body that releases a pin at the end of the answer.
    pub(super) fn watching(inner: B, held: Held) -> Self {
        if is_over(&inner) {
            // There is no piece that could wait for it.
            held.release_if_done();
            return Self::untouched(inner);
        }
        Self { inner, state: State::Watching(Box::new(held)) }
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
        loop {
            match this.state {
                State::Passing => return this.inner.poll_frame(cx),
                State::Releasing { release, last } => {
                    // Late or not, the answer goes on.
                    let _ = ready!(release.as_mut().poll(cx));
                    let last = last.take();
                    *this.state = State::Passing;
                    return Poll::Ready(last.map(Ok));
                }
                State::Watching(held) => {
                    let last = match ready!(this.inner.as_mut().poll_frame(cx)).transpose() {
                        Err(error) => {
                            *this.state = State::Passing;
                            return Poll::Ready(Some(Err(error)));
                        }
                        Ok(frame) => frame,
                    };
                    // A server does not poll again once the body is over.
                    let ended = held.has_ended_with(last.as_ref()) || is_over(&*this.inner);
                    if !ended && last.is_some() {
                        return Poll::Ready(last.map(Ok));
                    }
                    let State::Watching(held) = std::mem::take(this.state) else {
                        continue;
                    };
                    match held.release_if_done() {
                        Some(release) => *this.state = State::Releasing { release, last },
                        None => return Poll::Ready(last.map(Ok)),
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        !matches!(self.state, State::Releasing { .. }) && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.size_hint();
        let State::Releasing { last: Some(last), .. } = &self.state else {
            return inner;
        };
        with_held(&inner, last.data_ref().map_or(0, Bytes::len))
    }
}

/// Whether all data is out. Over HTTP/2 the end of the stream may follow in a frame of its own,
/// which nobody asks for once the declared length is reached.
fn is_over<B: Body>(body: &B) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

impl Held {
    fn is_streamed(&self) -> bool {
        !self.always && self.scanner.as_ref().is_some_and(Scanner::is_stream)
    }

    /// Reads on; says whether the end of the answer was seen.
    fn has_ended_with(&mut self, frame: Option<&Frame<Bytes>>) -> bool {
        let (Some(scanner), Some(data)) = (&mut self.scanner, frame.and_then(Frame::data_ref))
        else {
            return false;
        };
        scanner.feed(data);
        scanner.is_over()
    }

    /// Releases at once where the store needs no waiting, else in a task, which may be waited for.
    fn release_if_done(self) -> Option<Pin<Box<Releasing>>> {
        if !self.always && !self.scanner.is_some_and(Scanner::was_final) {
            return None;
        }
        let mut releasing = Box::pin(release(self.model));
        if releasing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return None;
        }
        let task = Handle::try_current().ok()?.spawn(async {
            let _ = timeout(LIMIT, releasing).await;
        });
        Some(Box::pin(timeout(HOLD, task)))
    }
}

async fn release(model: PinnedModel) {
    match model.release().await {
        // Who has read the answer to its end may ask another replica next.
        Ok(true) => match model.store.coherence() {
            Duration::ZERO => {}
            coherence => sleep(coherence).await,
        },
        Ok(false) => {}
        Err(error) => {
            tracing::debug!(%error, "a pin could not be released at the end of its answer");
        }
    }
}

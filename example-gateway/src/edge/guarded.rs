//! The body of an answer, which holds its places until it is over, or until its client has taken nothing
//! of it for too long.
//!
//! Over HTTP/1 a client that takes nothing stops its connection, which is noticed there. Over HTTP/2 it
//! stops one stream, by a window that stays at 0, and the connection lives on. What hyper was given may then
//! wait in hyper or in h2, for ever and out of sight. So over HTTP/2:
//!
//! 1. A part of the body notes when some of it was written, and when all was ([`Part`]).
//! 2. The next part, and the end, come when the last part was written. One part of a stream at most waits for
//!    its client, and as long as one waits, the stream's task is there to be ended.
//! 3. A stream of which nothing was taken for too long is ended with its task, which resets it: its client
//!    learns of it, and nothing of it is kept.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::{Buf, Bytes};
use futures_util::future::{AbortHandle, Abortable};
use http_body::{Body as _, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::time::Instant;

tokio::task_local! {
    /// Ends the task of the stream of which it is a part.
    static STREAM: AbortHandle;
}

/// Runs the tasks of HTTP/2 connections, each of which is a stream. An [`Untaken`] answer ends its own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Streams;

impl<F: Future<Output: Send + 'static> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let (end, ended) = AbortHandle::new_pair();
        tokio::spawn(STREAM.scope(end, Abortable::new(stream, ended)));
    }
}

/// Drops `G` with its end, or when it is dropped itself.
#[derive(Debug)]
pub(super) struct Guarded<G> {
    body: Body,
    guard: Option<G>,
    /// Over HTTP/2, what the client has not taken.
    untaken: Option<Arc<Untaken>>,
}

/// What waits for the client of a stream.
#[derive(Debug)]
pub(super) struct Untaken {
    stream: AbortHandle,
    waits: Mutex<Waits>,
}

#[derive(Debug, Default)]
struct Waits {
    /// Since when the client has taken nothing of the part that it could take, if there is one.
    since: Option<Instant>,
    /// Asks for the next part.
    next: Option<Waker>,
}

/// A part of a body.
#[derive(Debug)]
pub(super) struct Part {
    bytes: Bytes,
    untaken: Option<Arc<Untaken>>,
}

impl<G> Guarded<G> {
    /// An answer that goes out in the task of its stream, if it has one.
    pub(super) fn new(body: Body, guard: G) -> Self {
        // An empty body is not polled for its end.
        if body.is_end_stream() {
            return Self { body, guard: None, untaken: None };
        }
        let untaken = STREAM.try_with(|stream| {
            Arc::new(Untaken { stream: stream.clone(), waits: Mutex::default() })
        });
        Self { body, guard: Some(guard), untaken: untaken.ok() }
    }

    /// What its client has not taken, over HTTP/2.
    pub(super) fn untaken(&self) -> Option<Weak<Untaken>> {
        self.untaken.as_ref().map(Arc::downgrade)
    }
}

impl Untaken {
    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the stream when its client took nothing for `limit`, and returns `None`; else the time for which
    /// that cannot be the case.
    pub(super) fn end_after(&self, limit: Duration) -> Option<Duration> {
        let Some(since) = self.waits().since else { return Some(limit) };
        let left = limit.checked_sub(since.elapsed()).filter(|left| !left.is_zero());
        if left.is_none() {
            tracing::debug!(
                "stream reset: its client took nothing of the answer (send_timeout_ms)"
            );
            self.stream.abort();
        }
        left
    }

    /// Waits until no part waits for the client.
    fn poll_taken(&self, cx: &Context<'_>) -> Poll<()> {
        let mut waits = self.waits();
        if waits.since.is_none() {
            return Poll::Ready(());
        }
        waits.next = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Buf for Part {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(untaken) = &self.untaken {
            untaken.waits().since = Some(Instant::now());
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(untaken) = &self.untaken {
            let mut waits = untaken.waits();
            waits.since = None;
            let next = waits.next.take();
            drop(waits);
            next.map(Waker::wake).unwrap_or_default();
        }
    }
}

impl<G: Unpin> http_body::Body for Guarded<G> {
    type Data = Part;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Part>, axum::Error>>> {
        let answer = &mut *self;
        if let Some(untaken) = &answer.untaken {
            ready!(untaken.poll_taken(cx));
        }
        let frame = ready!(Pin::new(&mut answer.body).poll_frame(cx));
        let is_over = !matches!(frame, Some(Ok(_))) || answer.body.is_end_stream();
        if is_over && answer.untaken.is_none() {
            answer.guard = None;
        }
        Poll::Ready(frame.map(|frame| {
            Ok(frame?.map_data(|bytes| {
                let untaken = answer.untaken.clone().filter(|_| !bytes.is_empty());
                if let Some(untaken) = &untaken {
                    untaken.waits().since = Some(Instant::now());
                }
                Part { bytes, untaken }
            }))
        }))
    }

    fn is_end_stream(&self) -> bool {
        // Over HTTP/2, the end comes on its own, after the last part was taken.
        self.untaken.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{FutureExt, StreamExt};
    use http_body_util::BodyExt;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    /// Two pieces, after which the provider thinks.
    fn body() -> Body {
        let piece = || Ok::<_, Infallible>(Bytes::from_static(b"piece"));
        let pieces = futures_util::stream::iter([piece(), piece()]);
        Body::from_stream(pieces.chain(futures_util::stream::pending()))
    }

    async fn after(seconds: u64, untaken: &Weak<Untaken>) -> Option<Duration> {
        tokio::time::advance(SECOND * u32::try_from(seconds).unwrap()).await;
        untaken.upgrade().unwrap().end_after(LIMIT)
    }

    /// Does `work` in the task of a stream; says whether it came to its end.
    async fn in_stream<F: Future<Output = ()>>(work: F) -> bool {
        let (end, ended) = AbortHandle::new_pair();
        STREAM.scope(end, Abortable::new(work, ended)).await.is_ok()
    }

    async fn part<G: Unpin>(answer: &mut Guarded<G>) -> Part {
        answer.frame().await.unwrap().unwrap().into_data().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_of_which_its_client_takes_nothing_ends_and_one_that_waits_for_its_provider_does_not()
     {
        let held = Arc::new(());
        let ended = in_stream(async {
            let mut answer = Guarded::new(body(), held.clone());
            let untaken = answer.untaken().unwrap();
            let mut first = part(&mut answer).await;
            assert_eq!(after(59, &untaken).await, Some(SECOND));
            // A byte now and then is enough, as is a part.
            first.advance(1);
            assert_eq!(after(59, &untaken).await, Some(SECOND));
            drop(first);
            drop(part(&mut answer).await);
            assert!(answer.frame().now_or_never().is_none());
            assert_eq!(after(3600, &untaken).await, Some(LIMIT), "the provider thinks");
            assert_eq!(Arc::strong_count(&held), 2);
        });
        assert!(ended.await);

        // The part waits in h2 when the task waits for the next one.
        let ended = in_stream(async {
            let mut answer = Guarded::new(body(), held.clone());
            let untaken = answer.untaken().unwrap();
            let _part = part(&mut answer).await;
            assert_eq!(after(60, &untaken).await, None);
            answer.frame().await;
        });
        assert!(!ended.await);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn over_http2_the_next_part_and_the_end_come_when_the_last_part_was_taken() {
        let held = Arc::new(());
        let ended = in_stream(async {
            let mut answer = Guarded::new(body(), held.clone());
            let first = part(&mut answer).await;
            assert!(answer.frame().now_or_never().is_none());
            drop(first);
            assert!(answer.frame().now_or_never().is_some());

            let mut answer = Guarded::new(Body::from("text"), held.clone());
            let only = part(&mut answer).await;
            assert!(!answer.is_end_stream() && answer.frame().now_or_never().is_none());
            assert_eq!(Arc::strong_count(&held), 3, "its place is taken as long");
            drop(only);
            assert!(answer.frame().await.is_none());
        });
        assert!(ended.await);
    }

    #[tokio::test]
    async fn over_http1_the_place_is_free_with_the_last_part() {
        let held = Arc::new(());
        let mut answer = Guarded::new(Body::from("text"), held.clone());
        assert!(answer.untaken().is_none());
        let _part = part(&mut answer).await;
        assert!(answer.is_end_stream());
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

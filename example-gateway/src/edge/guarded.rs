//! The body of an answer, which holds its places until it is over, or until its client has taken nothing
//! of it for too long.
//!
//! Over HTTP/1 a client that takes nothing stops its connection, which is noticed there. Over HTTP/2 it
//! stops one stream by a window of 0, and the connection lives on: hyper then does not ask the body
//! for more, and nobody but this body knows since when.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;

/// Drops `G` with its last frame, when it is dropped itself, or when it is let go.
#[derive(Debug)]
pub(super) struct Guarded<G>(Arc<Mutex<Answer<G>>>);

#[derive(Debug)]
struct Answer<G> {
    /// `None` once it was let go.
    body: Option<Body>,
    guard: Option<G>,
    /// Since when the client could take more and did not; `None` while the provider has nothing to take.
    untaken: Option<Instant>,
}

/// An answer that can be let go.
pub(super) trait LetGo: fmt::Debug + Send + Sync {
    /// Lets go of all that the answer holds when its client took nothing for `limit`, and returns `None`;
    /// else the time for which that cannot be the case.
    fn let_go_after(&self, limit: Duration) -> Option<Duration>;
}

/// The client took nothing for too long.
#[derive(Debug)]
struct Untaken;

impl fmt::Display for Untaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client took nothing of the answer for too long (send_timeout_ms)")
    }
}

impl std::error::Error for Untaken {}

impl<G: fmt::Debug + Send + 'static> Guarded<G> {
    pub(super) fn new(body: Body, guard: G) -> Self {
        // An empty body is not polled for its end.
        let guard = (!body.is_end_stream()).then_some(guard);
        let untaken = Some(Instant::now());
        Self(Arc::new(Mutex::new(Answer { body: Some(body), guard, untaken })))
    }

    /// The answer, for as long as it lasts.
    pub(super) fn watched(&self) -> Weak<dyn LetGo> {
        let answer: Weak<Mutex<Answer<G>>> = Arc::downgrade(&self.0);
        answer
    }
}

impl<G> Guarded<G> {
    fn answer(&self) -> MutexGuard<'_, Answer<G>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<G: fmt::Debug + Send> LetGo for Mutex<Answer<G>> {
    fn let_go_after(&self, limit: Duration) -> Option<Duration> {
        let mut answer = self.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(since) = answer.untaken else { return Some(limit) };
        let left = limit.checked_sub(since.elapsed()).filter(|left| !left.is_zero());
        if left.is_none() {
            tracing::debug!(why = %Untaken, "answer let go");
            (answer.body, answer.guard) = (None, None);
        }
        left
    }
}

impl<G> http_body::Body for Guarded<G> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut answer = self.answer();
        let Some(body) = &mut answer.body else {
            return Poll::Ready(Some(Err(axum::Error::new(Untaken))));
        };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        let is_over = match &polled {
            Poll::Ready(frame) => !matches!(frame, Some(Ok(_))) || body.is_end_stream(),
            Poll::Pending => false,
        };
        answer.untaken = (polled.is_ready() && !is_over).then(Instant::now);
        if is_over {
            answer.guard = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.answer().body.as_ref().is_some_and(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.answer().body.as_ref().map_or_else(SizeHint::default, http_body::Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{FutureExt, StreamExt};
    use http_body_util::BodyExt;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    async fn after(seconds: u64, answer: &Weak<dyn LetGo>) -> Option<Duration> {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        answer.upgrade().unwrap().let_go_after(LIMIT)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_its_client_does_not_take_is_let_go_and_one_that_waits_for_its_provider_is_not()
     {
        let held = Arc::new(());
        let piece = || Ok::<_, Infallible>(Bytes::from_static(b"piece"));
        let pieces = futures_util::stream::iter([piece(), piece()]);
        let body = Body::from_stream(pieces.chain(futures_util::stream::pending()));
        let mut answer = Guarded::new(body, held.clone());
        let watched = answer.watched();
        assert_eq!(after(59, &watched).await, Some(Duration::from_secs(1)));
        // A piece now and then is enough.
        assert!(answer.frame().await.unwrap().is_ok());
        assert_eq!(after(59, &watched).await, Some(Duration::from_secs(1)));
        assert!(answer.frame().await.unwrap().is_ok());
        assert!(answer.frame().now_or_never().is_none());
        assert_eq!(after(3600, &watched).await, Some(LIMIT), "the provider thinks");
        assert_eq!(Arc::strong_count(&held), 2);

        let mut answer = Guarded::new(Body::from("text"), held.clone());
        let watched = answer.watched();
        assert_eq!(after(60, &watched).await, None);
        assert_eq!(Arc::strong_count(&held), 2, "only the first still holds it");
        assert!(answer.frame().await.unwrap().is_err());
    }
}

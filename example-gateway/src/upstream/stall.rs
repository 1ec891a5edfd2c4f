//! A provider's answer that must not stop halfway.
//!
//! A provider that dies without closing its connection would hold a request and its place for ever. The limit
//! is for one silence and not for the whole, because a good answer may take an hour; and only the provider's
//! silence counts, because a slow client is not its fault.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use super::callee::{Callee, warn_of};
use super::hop;

pin_project! {
    /// Breaks off with [`Stalled`] when nothing has arrived for `limit`. The time that the client takes is
    /// not counted: whatever is there when it reads again is passed on.
    #[derive(Debug)]
    pub(crate) struct Stall<B> {
        #[pin]
        body: B,
        limit: Duration,
        #[pin]
        wait: Option<Sleep>,
        waiting: bool,
        callee: Callee,
    }
}

impl<B> Stall<B> {
    pub(crate) fn new(body: B, limit: Duration, callee: Callee) -> Self {
        Self { body, limit, wait: None, waiting: false, callee }
    }
}

/// The provider sent nothing for this long.
#[derive(Debug)]
pub(crate) struct Stalled(Duration);

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the provider sent nothing for {:?} (upstream_idle_timeout_ms)", self.0)
    }
}

impl std::error::Error for Stalled {}

/// A frame whose trailers, if it is one of those, say only what a provider may.
fn without_ours(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            hop::strip_trailers(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for Stall<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        if let Poll::Ready(frame) = this.body.poll_frame(cx) {
            *this.waiting = false;
            return Poll::Ready(frame.map(|frame| frame.map(without_ours).map_err(Into::into)));
        }
        if !std::mem::replace(this.waiting, true) {
            match this.wait.as_mut().as_pin_mut() {
                Some(wait) => wait.reset(Instant::now() + *this.limit),
                // Made at the first wait: many an answer comes in one piece.
                None => this.wait.set(Some(tokio::time::sleep(*this.limit))),
            }
        }
        let over = this.wait.as_pin_mut().is_some_and(|wait| wait.poll(cx).is_ready());
        if !over {
            return Poll::Pending;
        }
        let stalled = Stalled(*this.limit);
        warn_of!(this.callee, error = %stalled, "answer broken off");
        Poll::Ready(Some(Err(stalled.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};
    use tokio_stream::StreamExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_part_has_the_limit_for_itself() {
        let parts = tokio_stream::iter([9, 9, 9, 11]).then(|seconds| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"part")))
        });
        let body = StreamBody::new(Box::pin(parts));
        let mut body = Box::pin(Stall::new(body, Duration::from_secs(10), Callee::anybody()));
        for _ in 0..3 {
            body.frame().await.unwrap().unwrap();
            // The client's own time.
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the provider sent nothing for 10s (upstream_idle_timeout_ms)"
        );
    }
}

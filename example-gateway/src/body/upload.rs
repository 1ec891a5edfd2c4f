//! A body that goes on to a provider while it arrives: uploads, which may be larger than what is held of any
//! other body.
//!
//! Nothing of it is kept, so its size costs no memory. It is bounded all the same, for it takes a place among
//! the requests under way:
//!
//! 1. by its length, declared or not;
//! 2. by the client's silence: no wait for the next piece is longer than [`Bounds::patience`];
//! 3. by its pace: all waits together may last as long as one, and a second more for every 16 KiB. A
//!    client that sends a byte now and then is soon over that.
//!
//! Only the client's own time counts. A provider that takes its time to read does not make an upload slow.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::Body as ClientBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// The bytes that buy a client a second: 16 KiB.
const PACE: u64 = 16 * 1024;

/// How much a client may send, and how slowly.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The most bytes.
    pub bytes: u64,
    /// The longest wait for the next piece.
    pub patience: Duration,
}

/// Why an upload was broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadFault {
    /// It is longer than it may be.
    TooLarge,
    /// The client was silent for too long, or sent too little.
    TooSlow,
    /// The client is gone, or broke the framing.
    Broken,
}

/// What is known of an upload while it passes. Clones watch the same one.
#[derive(Clone, Debug, Default)]
pub struct UploadWatch(Arc<Watched>);

#[derive(Debug, Default)]
struct Watched {
    pieces: AtomicU64,
    fault: OnceLock<UploadFault>,
}

impl UploadWatch {
    /// How many pieces have passed.
    #[must_use]
    pub fn pieces(&self) -> u64 {
        self.0.pieces.load(Ordering::Relaxed)
    }

    /// Why it was broken off, if it was.
    #[must_use]
    pub fn fault(&self) -> Option<UploadFault> {
        self.0.fault.get().copied()
    }
}

/// A client's body within [`Bounds`].
#[derive(Debug)]
pub struct Upload {
    body: ClientBody,
    bounds: Bounds,
    received: u64,
    /// All waits that are over.
    waited: Duration,
    /// The wait that is under way.
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    watch: UploadWatch,
}

impl Upload {
    /// Bounds `body`.
    #[must_use]
    pub fn new(body: ClientBody, bounds: Bounds) -> Self {
        let (waited, watch) = (Duration::ZERO, UploadWatch::default());
        Self { body, bounds, received: 0, waited, since: None, timer: None, watch }
    }

    /// What tells how it goes, also when the body is gone.
    #[must_use]
    pub fn watch(&self) -> UploadWatch {
        self.watch.clone()
    }

    fn fail(&self, fault: UploadFault) -> BoxError {
        // The first one is why.
        let _ = self.watch.0.fault.set(fault);
        format!("the upload was broken off: {fault:?}").into()
    }

    /// When the wait that began at `since` is too long.
    fn deadline(&self, since: Instant) -> Instant {
        let earned = Duration::from_secs(self.received / PACE);
        let left = self.bounds.patience.saturating_add(earned).saturating_sub(self.waited);
        since + left.min(self.bounds.patience)
    }

    fn taken(&mut self, data: &Bytes) -> Result<(), BoxError> {
        self.received = self.received.saturating_add(data.len() as u64);
        if self.received > self.bounds.bytes {
            return Err(self.fail(UploadFault::TooLarge));
        }
        self.watch.0.pieces.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            if let Some(since) = this.since.take() {
                this.waited = this.waited.saturating_add(since.elapsed());
            }
            return Poll::Ready(match frame {
                None => None,
                Some(Err(_)) => Some(Err(this.fail(UploadFault::Broken))),
                // Trailers are not passed on.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Some(this.taken(&data).map(|()| Frame::data(data))),
                    Err(_) => None,
                },
            });
        }
        if this.since.is_none() {
            let since = *this.since.insert(Instant::now());
            let deadline = this.deadline(since);
            match &mut this.timer {
                Some(timer) => timer.as_mut().reset(deadline),
                None => this.timer = Some(Box::pin(sleep_until(deadline))),
            }
        }
        let is_late = this.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
        match is_late {
            true => Poll::Ready(Some(Err(this.fail(UploadFault::TooSlow)))),
            false => Poll::Pending,
        }
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

    /// How an upload ends whose pieces of `size` bytes come after these pauses in seconds.
    async fn sent(pauses: &'static [u64], size: usize, bytes: u64) -> (u64, Option<UploadFault>) {
        let pieces = tokio_stream::iter(pauses).then(move |seconds| async move {
            tokio::time::sleep(Duration::from_secs(*seconds)).await;
            Ok::<_, BoxError>(Frame::data(Bytes::from(vec![0; size])))
        });
        let body = ClientBody::new(StreamBody::new(Box::pin(pieces)));
        let mut upload = Upload::new(body, Bounds { bytes, patience: Duration::from_secs(10) });
        let watch = upload.watch();
        while let Some(Ok(_)) = upload.frame().await {}
        (watch.pieces(), watch.fault())
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_may_take_long_and_not_be_silent_or_drip() {
        let large = 1 << 20;
        assert_eq!(sent(&[9; 100], large, u64::MAX).await, (100, None));
        assert_eq!(sent(&[9, 9, 11], large, u64::MAX).await, (2, Some(UploadFault::TooSlow)));
        // Each piece in time, and all of them too slow: ten seconds of waiting are all there is.
        assert_eq!(sent(&[3; 100], 1, u64::MAX).await, (3, Some(UploadFault::TooSlow)));
        assert_eq!(sent(&[0; 9], 10, 45).await, (4, Some(UploadFault::TooLarge)));
        assert_eq!(sent(&[0; 9], 10, 90).await, (9, None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_that_the_provider_takes_is_not_the_client_s() {
        let pieces = tokio_stream::iter([(), (), ()])
            .map(|()| Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"x"))));
        let body = ClientBody::new(StreamBody::new(pieces));
        let bounds = Bounds { bytes: 9, patience: Duration::from_secs(10) };
        let mut upload = Upload::new(body, bounds);
        while let Some(frame) = upload.frame().await {
            frame.unwrap();
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert_eq!((upload.watch().pieces(), upload.watch().fault()), (3, None));
    }

    #[tokio::test]
    async fn a_client_that_breaks_off_breaks_the_upload() {
        let pieces = tokio_stream::iter([Err::<Frame<Bytes>, BoxError>("gone".into())]);
        let body = ClientBody::new(StreamBody::new(pieces));
        let bounds = Bounds { bytes: 9, patience: Duration::from_secs(10) };
        let mut upload = Upload::new(body, bounds);
        assert!(upload.frame().await.unwrap().is_err());
        assert_eq!(upload.watch().fault(), Some(UploadFault::Broken));
    }
}

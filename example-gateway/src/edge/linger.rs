//! Bodies that nobody reads to their end, as those of refused requests.
//!
//! A client that sends its whole body before it reads would never see why it was refused: closed with bytes
//! unread, a connection is reset, and what was sent to the client is lost with it. So the rest of the body is
//! read and forgotten, as nginx does, within limits of size and time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::activity::{Activity, Running};

/// What is read and forgotten of one body at most, in bytes.
const MOST: usize = 64 << 20;

/// How long that may take, and how long a client may pause meanwhile; as in nginx.
const TIME: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(5);

/// The body of a request; dropped before its end, it is read on in a task of its own.
#[derive(Debug)]
pub(super) struct Lingering<B: Body<Data = Bytes> + Send + Unpin + 'static> {
    /// `None` once it has ended.
    body: Option<B>,
    /// The connection, which is busy as long as the body comes; `None` where nothing is read on.
    activity: Option<Arc<Activity>>,
}

impl<B: Body<Data = Bytes> + Send + Unpin + 'static> Lingering<B> {
    /// The body of the request of `parts`. Nothing is read on in HTTP/2, which ends a stream alone, nor if
    /// the client awaits `100 Continue`, which reading would send.
    pub(super) fn new(parts: &Parts, body: B, activity: &Arc<Activity>) -> Self {
        let reads_on =
            parts.version != Version::HTTP_2 && !parts.headers.contains_key(header::EXPECT);
        Self { body: Some(body), activity: reads_on.then(|| activity.clone()) }
    }
}

impl<B: Body<Data = Bytes> + Send + Unpin + 'static> Body for Lingering<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: Body<Data = Bytes> + Send + Unpin + 'static> Drop for Lingering<B> {
    fn drop(&mut self) {
        let (Some(body), Some(activity)) = (self.body.take(), self.activity.take()) else { return };
        if body.is_end_stream() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let running = Running::begin(&activity);
            runtime.spawn(async move {
                read_on(body).await;
                drop(running);
            });
        }
    }
}

/// Reads `body` until it ends, or a limit is reached.
async fn read_on<B: Body<Data = Bytes> + Unpin>(mut body: B) {
    let mut left = MOST;
    let read = async {
        while let Ok(Some(Ok(frame))) = timeout(PAUSE, body.frame()).await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // What is left then is not worth waiting for.
    let _ = timeout(TIME, read).await;
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use http::Request;
    use http_body_util::StreamBody;
    use tokio::sync::mpsc;
    use tokio::time::Instant;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;

    type Sender = mpsc::Sender<Bytes>;

    fn body(request: http::request::Builder) -> (Sender, impl Sized) {
        let (sender, receiver) = mpsc::channel(1);
        let frames =
            ReceiverStream::new(receiver).map(|data| Ok::<_, std::io::Error>(Frame::data(data)));
        let (parts, ()) = request.body(()).unwrap().into_parts();
        (sender, Lingering::new(&parts, StreamBody::new(frames), &Activity::begin()))
    }

    /// How long pieces of 1 MiB are taken, one each `pause`, and how many.
    async fn taken(sender: Sender, pause: Duration) -> (Duration, usize) {
        let (began, mut pieces) = (Instant::now(), 0);
        while sender.send(Bytes::from(vec![0; 1 << 20])).await.is_ok() {
            pieces += 1;
            tokio::time::sleep(pause).await;
        }
        (began.elapsed(), pieces)
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_body_is_read_on_within_limits_of_size_and_time() {
        let (sender, dropped) = body(Request::post("/"));
        drop(dropped);
        let (_, pieces) = taken(sender, Duration::ZERO).await;
        assert!((64..=66).contains(&pieces), "{pieces}");

        let (sender, dropped) = body(Request::post("/"));
        drop(dropped);
        let (time, _) = taken(sender, Duration::from_secs(1)).await;
        assert!((30..=32).contains(&time.as_secs()), "{time:?}");

        let (sender, dropped) = body(Request::post("/"));
        drop(dropped);
        let began = Instant::now();
        sender.closed().await;
        assert_eq!(began.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn where_reading_on_would_do_harm_a_dropped_body_is_dropped() {
        for request in [
            Request::post("/").header("expect", "100-continue"),
            Request::post("/").version(Version::HTTP_2),
        ] {
            let (sender, dropped) = body(request);
            drop(dropped);
            assert!(sender.is_closed());
        }
    }
}

//! `GET /admin/v1/events`: one reader's stream.
//!
//! A slow reader is told that it has lost messages and gets a new snapshot after a pause. To wait for it would
//! hold messages in memory without a limit; to skip some in silence would leave it with a page that is wrong.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{HeaderValue, Response, StatusCode, header};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio::time::{sleep, timeout};

use super::feed::Live;
use crate::error::ApiError;
use crate::protocol::Protocol;

/// Something is said at least this often, so that both sides notice when the other is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Pause before a reader that was too slow gets everything again.
const BREATH: Duration = Duration::from_secs(1);

/// The stream of events, or 503 if there are too many readers or the gateway stops.
pub(crate) async fn events(State(live): State<Live>) -> Response<Body> {
    let Ok(place) = live.places.clone().try_acquire_owned() else {
        let text = "too many readers of events";
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", text);
        return error.response(Protocol::Chat);
    };
    let mut response = Response::new(Body::from_stream(messages(live, place)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would keep the events until it has some kilobytes of them.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// How far a reader is.
enum Reader {
    /// Nothing is known yet.
    New,
    /// Something was missed.
    Lost,
    /// Everything up to the next message is known.
    Following(broadcast::Receiver<Bytes>),
}

fn messages(
    live: Live,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold((Reader::New, place), move |(reader, place)| {
        let live = live.clone();
        async move {
            let (message, reader) = reader.next(&live).await?;
            Some((Ok(message), (reader, place)))
        }
    })
}

impl Reader {
    async fn next(self, live: &Live) -> Option<(Bytes, Self)> {
        let mut messages = match self {
            Self::Following(messages) => messages,
            Self::Lost => {
                sleep(BREATH).await;
                return Self::join(live);
            }
            Self::New => return Self::join(live),
        };
        match timeout(KEEP_ALIVE, messages.recv()).await {
            Ok(Ok(message)) => Some((message, Self::Following(messages))),
            Ok(Err(RecvError::Lagged(_))) => {
                let message = Bytes::from_static(b"event: lost\ndata: {}\n\n");
                Some((message, Self::Lost))
            }
            Ok(Err(RecvError::Closed)) => None,
            Err(_) => Some((Bytes::from_static(b": still here\n\n"), Self::Following(messages))),
        }
    }

    fn join(live: &Live) -> Option<(Bytes, Self)> {
        live.join().map(|(snapshot, messages)| (snapshot, Self::Following(messages)))
    }
}

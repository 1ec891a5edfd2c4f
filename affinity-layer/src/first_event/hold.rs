//! Reads on in a body until an answer begins, and keeps what was read.
//!
//! The frames are read by the [beginning](crate::answer) of their answer and pushed to the [`HeldBody`]
//! as they are. The wait ends with the first sign, with the body, at the limit of time or at that of
//! memory. At a limit the response counts as served: a slow model is no failed one, and a client that has
//! a head can wait by its own limits.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body, Frame};
use tokio::time::{Instant, timeout_at};

use super::HeldBody;
use crate::answer::{Beginning, BeginningReader};

/// The most memory that held pieces take, in bytes; the piece that exceeds it is the last. It is this large
/// because a `response.created` repeats the instructions and tools of its request. The pieces count
/// themselves too, since a body in pieces of one byte would otherwise take many times its length.
const MOST_BYTES: usize = 256 * 1024;

/// What became of a response that was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Held {
    /// The answer has begun, or was not held for longer.
    Served,
    /// The answer is an error.
    Error,
    /// The body ended before the answer began.
    Ended,
    /// The body broke before the answer began.
    Broken,
}

/// Holds `response` until its answer has begun, for no longer than `limit`. The response that is
/// returned has the same head and the same body.
///
/// This is what [`FirstEventLayer`](super::FirstEventLayer) does, for callers that want to know what
/// happened. Only a response of status 200 is held; any other, and any with a limit of zero, comes back as
/// [`Held::Served`]. A body that breaks breaks again for the reader of the response, after the bytes that
/// came before.
///
/// A caller that drops the future drops the response with it.
///
/// ```
/// use std::time::Duration;
///
/// use affinity_layer::first_event::{Held, hold};
/// use http::Response;
/// use http_body_util::{BodyExt, Full};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let body = "data: {\"error\":{\"message\":\"overloaded\"}}\n\n";
/// let response = Response::builder().header("content-type", "text/event-stream");
/// let response = response.body(Full::<bytes::Bytes>::from(body)).expect("a valid response");
///
/// let (response, held) = hold(response, Duration::from_secs(2)).await;
/// assert_eq!(held, Held::Error);
/// // The body still holds every byte.
/// let bytes = response.into_body().collect().await.expect("a body that never fails").to_bytes();
/// assert_eq!(bytes, body);
/// # }
/// ```
pub async fn hold<B>(response: Response<B>, limit: Duration) -> (Response<HeldBody<B>>, Held)
where
    B: Body<Data = Bytes> + Unpin,
{
    let (head, body) = response.into_parts();
    let mut body = HeldBody::untouched(body);
    if head.status != StatusCode::OK || limit.is_zero() {
        return (Response::from_parts(head, body), Held::Served);
    }
    let mut reader = BeginningReader::new(&head);
    let deadline = Instant::now() + limit;
    let held = loop {
        let Ok(frame) = timeout_at(deadline, next_frame(body.rest())).await else {
            break Held::Served;
        };
        let found = match frame {
            None => break Held::Ended,
            Some(Err(error)) => {
                body.break_with(error);
                break Held::Broken;
            }
            Some(Ok(frame)) => {
                let found = frame.data_ref().map(|data| reader.feed(data));
                body.push(frame);
                found
            }
        };
        match found {
            Some(Beginning::Served) => break Held::Served,
            Some(Beginning::Error) => break Held::Error,
            Some(Beginning::Open) | None if body.cost() > MOST_BYTES => break Held::Served,
            Some(Beginning::Open) | None => {}
        }
    };
    (Response::from_parts(head, body), held)
}

async fn next_frame<B: Body + Unpin>(body: &mut B) -> Option<Result<Frame<B::Data>, B::Error>> {
    poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

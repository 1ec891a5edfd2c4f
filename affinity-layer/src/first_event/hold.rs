use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body, Frame};
use tokio::time::{Instant, timeout_at};

use super::HeldBody;
use crate::answer::{Beginning, BeginningReader};

/// The most memory that held pieces take. A `response.created` repeats the instructions and tools of its
/// request.
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
/// happened. Only a response of status 200 is held.
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

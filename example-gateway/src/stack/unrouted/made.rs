//! What a provider says that it has made: the ids in its answer.
//!
//! The answer is a small object. As much of it as may be one is read before any of it goes on, so that its ids
//! are noted before the client can use them; what is larger, or no JSON, passes unread.

use std::pin::Pin;
use std::task::{Context, Poll};

use affinity_layer::body::is_json;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{Response, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use serde_json::Value;

/// The largest answer that is read.
const LARGEST: usize = 64 * 1024;

/// Where ids are in the answers: of what was made, of the file that an upload became, and of what a batch
/// has written.
const IDS: [&str; 4] = ["/id", "/file/id", "/output_file_id", "/error_file_id"];

/// The same answer, and the ids of what it says was made.
pub(super) async fn ids(answer: Response<Body>) -> (Response<Body>, Vec<String>) {
    let is_read = answer.status().is_success()
        && is_json(answer.headers())
        && !answer.headers().contains_key(header::CONTENT_ENCODING)
        && answer.body().size_hint().lower() <= LARGEST as u64;
    if !is_read {
        return (answer, Vec::new());
    }
    let (head, mut body) = answer.into_parts();
    let mut read = BytesMut::new();
    let mut broken = None;
    while read.len() <= LARGEST && !body.is_end_stream() {
        match body.frame().await {
            // What follows trailers is the end.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => read.extend_from_slice(&data),
                Err(_) => break,
            },
            Some(Err(error)) => {
                broken = Some(error);
                break;
            }
            None => break,
        }
    }
    let read = read.freeze();
    let object = serde_json::from_slice::<Value>(&read).unwrap_or_default();
    let ids = IDS.iter().filter_map(|place| object.pointer(place)?.as_str().map(str::to_owned));
    let ids = ids.collect();
    (Response::from_parts(head, Body::new(Resumed { read, broken, rest: body })), ids)
}

/// A body whose beginning was read.
#[derive(Debug)]
struct Resumed {
    read: Bytes,
    /// How it broke off behind what was read.
    broken: Option<axum::Error>,
    rest: Body,
}

impl http_body::Body for Resumed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.read.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.read)))));
        }
        match self.broken.take() {
            Some(error) => Poll::Ready(Some(Err(error))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.broken.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (read, rest) = (self.read.len() as u64, self.rest.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;

    use super::*;

    fn answer(kind: &str, pieces: &[&'static str]) -> Response<Body> {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok::<_, axum::Error>(Frame::data(Bytes::from(*piece))))
            .collect();
        let body = Body::new(StreamBody::new(tokio_stream::iter(pieces)));
        Response::builder().header("content-type", kind).body(body).unwrap()
    }

    #[tokio::test]
    async fn the_ids_are_read_and_the_answer_is_whole() {
        for (kind, pieces, expected) in [
            (
                "application/json",
                &["{\"id\":\"file", "-1\",\"object\":\"file\"}"][..],
                &["file-1"][..],
            ),
            ("application/json", &["{\"id\":\"u\",\"file\":{\"id\":\"f\"}}"], &["u", "f"]),
            ("application/json", &["{\"id\":\"b\",\"output_file_id\":\"f\"}"], &["b", "f"]),
            ("application/json", &["{\"id\":7}"], &[]),
            ("application/json", &["[1"], &[]),
            ("application/json", &[], &[]),
            ("text/plain", &["{\"id\":\"file-1\"}"], &[]),
        ] {
            let (answer, found) = ids(answer(kind, pieces)).await;
            assert_eq!(found, expected, "{pieces:?}");
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, pieces.concat(), "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn what_is_too_large_to_be_one_object_passes() {
        let large: &'static str = Box::leak("x".repeat(LARGEST).into_boxed_str());
        let (answer, found) = ids(answer("application/json", &["{\"id\":\"", large, "\"}"])).await;
        assert!(found.is_empty());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), LARGEST + 9);
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_not_made_whole() {
        let pieces = [Ok(Frame::data(Bytes::from("{\"id\":"))), Err(axum::Error::new("broken"))];
        let body = Body::new(StreamBody::new(tokio_stream::iter(pieces)));
        let answer = Response::builder().header("content-type", "application/json");
        let (answer, found) = ids(answer.body(body).unwrap()).await;
        assert!(found.is_empty());
        let mut body = answer.into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "{\"id\":");
        assert!(body.frame().await.unwrap().is_err());
        assert!(body.frame().await.is_none());
    }
}

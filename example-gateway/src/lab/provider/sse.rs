//! Server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header;
use serde_json::Value;

/// Characters of text or arguments in one event: small, so that every answer takes several.
const PIECE: usize = 12;

#[derive(Debug)]
pub(super) struct Event {
    name: Option<String>,
    data: String,
}

impl Event {
    /// An event without a name, as in chat completions.
    pub(super) fn data(data: &Value) -> Self {
        Self { name: None, data: data.to_string() }
    }

    /// An event that is named after the `type` of its data, as the other two protocols do.
    pub(super) fn typed(data: &Value) -> Self {
        Self { name: data["type"].as_str().map(str::to_owned), data: data.to_string() }
    }

    /// The end of a chat completions stream.
    pub(super) fn done() -> Self {
        Self { name: None, data: "[DONE]".to_owned() }
    }

    fn encode(&self) -> Bytes {
        let name = self.name.iter().map(|name| format!("event: {name}\n")).collect::<String>();
        Bytes::from(format!("{name}data: {}\n\n", self.data))
    }
}

/// A stream of `events`, `delay` apart, each in a frame of its own.
pub(super) fn response(events: Vec<Event>, delay: Duration) -> Response {
    let frames =
        stream::unfold((events.into_iter(), true), move |(mut events, first)| async move {
            let event = events.next()?;
            if !first && !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            Some((Ok::<_, Infallible>(event.encode()), (events, false)))
        });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Body::from_stream(frames)).into_response()
}

/// Cuts `text` into pieces, one for each event.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = rest.char_indices().nth(PIECE).map_or(rest.len(), |(at, _)| at);
        let (piece, tail) = rest.split_at(end);
        rest = tail;
        (!piece.is_empty()).then_some(piece)
    })
}

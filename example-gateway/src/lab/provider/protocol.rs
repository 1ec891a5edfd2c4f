//! The three protocols behind one face.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::conversation::{Answer, Conversation};
use super::error::Failure;
use super::sse::Event;
use super::{chat, messages, responses};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Chat,
    Messages,
    Responses,
}

impl Protocol {
    /// The protocol whose errors a path answers with.
    pub(super) fn of(path: &str) -> Self {
        let path = path.strip_prefix("/v1").unwrap_or(path);
        if path.starts_with("/messages") { Self::Messages } else { Self::Chat }
    }

    pub(super) fn parse(self, request: &Value) -> Result<Conversation, Failure> {
        match self {
            Self::Chat => chat::parse(request),
            Self::Messages => messages::parse(request),
            Self::Responses => responses::parse(request),
        }
    }

    /// The whole answer as one JSON body.
    pub(super) fn plain(self, answer: &Answer) -> Value {
        match self {
            Self::Chat => chat::plain(answer),
            Self::Messages => messages::plain(answer),
            Self::Responses => responses::plain(answer),
        }
    }

    /// The same answer as the events of a stream.
    pub(super) fn events(self, answer: &Answer) -> Vec<Event> {
        match self {
            Self::Chat => chat::events(answer),
            Self::Messages => messages::events(answer),
            Self::Responses => responses::events(answer),
        }
    }

    pub(super) fn failure(self, failure: &Failure) -> Response {
        let body = match self {
            Self::Messages => {
                let not_found = failure.status == http::StatusCode::NOT_FOUND;
                let kind = if not_found { "not_found_error" } else { "invalid_request_error" };
                json!({"type": "error", "error": {"type": kind, "message": failure.message}})
            }
            Self::Chat | Self::Responses => json!({"error": {
                "message": failure.message,
                "type": "invalid_request_error",
                "param": failure.param,
                "code": failure.code,
            }}),
        };
        (failure.status, Json(body)).into_response()
    }
}

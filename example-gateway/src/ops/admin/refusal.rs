//! What the admin API refuses, and in which words.
//!
//! The shape is OpenAI's on every path, because one client reads them all. `docs/admin.md` lists the codes.

use std::borrow::Cow;

use affinity_layer::{StoreError, StoreErrorKind, store::Unready};
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::error::ApiError;
use crate::protocol::Protocol;

/// An error in OpenAI's shape.
#[derive(Debug)]
pub(super) struct Refusal(ApiError);

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.0.response(Protocol::Chat)
    }
}

impl Refusal {
    pub(super) fn code(&self) -> &'static str {
        self.0.code()
    }
}

pub(super) fn refusal(
    status: StatusCode,
    code: &'static str,
    text: impl Into<Cow<'static, str>>,
) -> Refusal {
    Refusal(ApiError::new(status, code, text))
}

pub(super) fn invalid(code: &'static str, text: impl Into<Cow<'static, str>>) -> Refusal {
    refusal(StatusCode::BAD_REQUEST, code, text)
}

pub(super) fn not_found() -> Refusal {
    refusal(StatusCode::NOT_FOUND, "pin_not_found", "no pin stands under this name")
}

pub(super) fn unserved() -> Refusal {
    let text = "this model is not served here; GET /admin/v1/status lists those that are";
    refusal(StatusCode::NOT_FOUND, "model_not_found", text)
}

/// The store failed, or what it was asked makes no sense to it. Where it refuses, the text says why, such
/// as the command that its access list forbids.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn store(error: StoreError) -> Refusal {
    let text = match Unready::behind(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    match error.kind() {
        StoreErrorKind::InvalidCursor => invalid("invalid_cursor", text),
        _ => refusal(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", text),
    }
}

/// The parameters of a request.
pub(super) fn query<T>(read: Result<Query<T>, QueryRejection>) -> Result<T, Refusal> {
    match read {
        Ok(Query(read)) => Ok(read),
        Err(rejection) => Err(invalid("invalid_query", rejection.body_text())),
    }
}

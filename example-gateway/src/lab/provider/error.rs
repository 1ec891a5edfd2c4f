//! Why a request is refused.

use axum::extract::rejection::BytesRejection;
use axum::http::{Method, StatusCode};

/// A refusal, not yet in the shape of a protocol.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) message: String,
    pub(super) param: Option<&'static str>,
    pub(super) code: Option<&'static str>,
}

impl Failure {
    /// 400; `param` names the field at fault.
    pub(super) fn invalid(message: &str, param: Option<&'static str>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.to_owned(), param, code: None }
    }

    /// 400 for a field that must be there.
    pub(super) fn missing(param: &'static str) -> Self {
        let message = format!("Missing required parameter: '{param}'.");
        Self { code: Some("missing_required_parameter"), ..Self::invalid(&message, Some(param)) }
    }

    /// 413 for a body over the limit, 400 for one that breaks off.
    pub(super) fn unread(error: &BytesRejection) -> Self {
        Self { status: error.status(), ..Self::invalid(&error.body_text(), None) }
    }

    /// 404 for a path that is not served.
    pub(super) fn not_found(method: &Method, path: &str) -> Self {
        let message = format!("Unknown request URL: {method} {path}");
        Self { status: StatusCode::NOT_FOUND, ..Self::invalid(&message, None) }
    }

    /// 405.
    pub(super) fn method_not_allowed(method: &Method) -> Self {
        let message = format!("Not allowed to {method} here");
        Self { status: StatusCode::METHOD_NOT_ALLOWED, ..Self::invalid(&message, None) }
    }
}

//! The gateway's own errors, in the shape of each protocol.
//!
//! An [`ApiError`] is a status, a code and a text. It gets its shape when it becomes a response, because the
//! SDKs of each vendor read errors only in their own. Beside that it says two things that no body can:
//!
//! - to the client's SDK, whether to try again: `retry-after`, or `x-should-retry: false`;
//! - to [failover](affinity_layer::failover) above the proxy, what failed: by a mark in the extensions of
//!   the response.
//!
//! `docs/http-api.md` lists the codes, which clients may rely on.

use std::borrow::Cow;

use affinity_layer::Rejection;
use affinity_layer::ext::{LastingFailure, NotReached, Replaced, SecondChance, TimedOut};
use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::json;

use crate::protocol::Shape;

/// An answer of the gateway's own, not yet in the shape of a protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    param: Option<&'static str>,
    message: Cow<'static, str>,
    retry: Retry,
    failure: Failure,
}

/// What failover makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// What the status says.
    Usual,
    /// The provider did not come to answer, through no fault of its model.
    SecondChance,
    /// There was no connection to the provider.
    NotReached(NotReached),
    /// There was no answer in time; whether others had one from the same address.
    TimedOut { is_silent: bool },
    /// The model has failed, and will again.
    Lasting,
    /// The same, by an answer that the client does not see.
    Replaced(Replaced),
}

/// Whether the same request may succeed later. The status alone makes clients try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    /// As the status says.
    Usual,
    /// Soon: `retry-after`.
    Soon,
    /// Never: `x-should-retry: false`, which the OpenAI SDKs heed.
    Never,
}

impl ApiError {
    /// An error with a text for people; it must not hold what a client may not see.
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        let (message, retry) = (message.into(), Retry::Usual);
        Self { status, code, param: None, message, retry, failure: Failure::Usual }
    }

    /// 400.
    pub(crate) fn invalid(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 500, for what must not happen.
    pub(crate) fn internal() -> Self {
        let text = "internal error";
        let error = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", text);
        Self { retry: Retry::Never, ..error }
    }

    /// 503, when there is no place for the request now.
    pub(crate) fn overloaded() -> Self {
        let text = "too many requests are under way; try again in a moment";
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", text);
        Self { retry: Retry::Soon, ..error }
    }

    /// 503, for a body that there is no memory for now.
    pub(crate) fn no_memory(text: &'static str) -> Self {
        Self { message: Cow::Borrowed(text), ..Self::overloaded() }
    }

    /// What went wrong, for programs.
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// 404.
    pub(crate) fn not_found(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", text)
    }

    /// 404, for a model that is neither configured nor an alias.
    pub(crate) fn no_model() -> Self {
        let text = "this model is not served here; GET /v1/models lists those that are";
        Self::new(StatusCode::NOT_FOUND, "model_not_found", text).param("model")
    }

    /// 413.
    pub(crate) fn too_large(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", text)
    }

    /// 408.
    pub(crate) fn too_slow(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", text)
    }

    /// 503, while the store is away that alone could tell.
    pub(crate) fn store_unavailable() -> Self {
        let text = "where this lives cannot be looked up now; try again in a moment";
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", text);
        Self { retry: Retry::Soon, ..error }
    }

    /// Whether the same request may be sent again at once.
    pub(crate) fn asks_again(&self) -> bool {
        self.failure == Failure::SecondChance
    }

    /// Names the field of the body that is at fault.
    pub(crate) fn param(mut self, param: &'static str) -> Self {
        self.param = Some(param);
        self
    }

    /// Asks for another attempt with the same model, before another one is tried.
    pub(crate) fn second_chance(self) -> Self {
        Self { failure: Failure::SecondChance, ..self }
    }

    /// Says that nothing of the request was sent, and what there was no connection to.
    pub(crate) fn not_reached(self, missing: NotReached) -> Self {
        Self { failure: Failure::NotReached(missing), ..self }
    }

    /// Says that there was no answer in time, and whether nobody had one meanwhile.
    pub(crate) fn timed_out(self, is_silent: bool) -> Self {
        Self { failure: Failure::TimedOut { is_silent }, ..self }
    }

    /// The same as [`lasting`](Self::lasting), in place of what the provider has answered.
    pub(crate) fn in_place_of(self, answer: Replaced) -> Self {
        Self { failure: Failure::Replaced(answer), retry: Retry::Never, ..self }
    }

    /// Asks for another model, and tells a client that gets it after all not to try again.
    pub(crate) fn lasting(self) -> Self {
        Self { failure: Failure::Lasting, retry: Retry::Never, ..self }
    }

    /// The response in the shape of a protocol, or of the API that a client speaks.
    pub(crate) fn response(&self, shape: impl Into<Shape>) -> Response<Body> {
        let body = match shape.into() {
            Shape::Anthropic => json!({
                "type": "error",
                "error": {"type": self.anthropic_type(), "message": self.message},
            }),
            Shape::Google => json!({"error": {
                "code": self.status.as_u16(),
                "message": self.message,
                "status": self.google_status(),
            }}),
            Shape::OpenAi => json!({"error": {
                "message": self.message,
                "type": self.openai_type(),
                "param": self.param,
                "code": self.code,
            }}),
        };
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        let retry = match self.retry {
            Retry::Usual => None,
            Retry::Soon => Some((header::RETRY_AFTER, "1")),
            Retry::Never => Some((HeaderName::from_static("x-should-retry"), "false")),
        };
        if let Some((name, value)) = retry {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        match self.failure {
            Failure::Usual => {}
            Failure::SecondChance => drop(response.extensions_mut().insert(SecondChance)),
            Failure::NotReached(missing) => drop(response.extensions_mut().insert(missing)),
            Failure::TimedOut { is_silent } => {
                response.extensions_mut().insert(TimedOut::new(is_silent));
            }
            Failure::Lasting => drop(response.extensions_mut().insert(LastingFailure)),
            Failure::Replaced(answer) => {
                response.extensions_mut().insert(LastingFailure);
                response.extensions_mut().insert(answer);
            }
        }
        response
    }

    fn openai_type(&self) -> &'static str {
        if self.status == StatusCode::UNAUTHORIZED {
            "authentication_error"
        } else if self.status.is_server_error() {
            "server_error"
        } else {
            "invalid_request_error"
        }
    }

    fn google_status(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "UNAUTHENTICATED",
            StatusCode::FORBIDDEN => "PERMISSION_DENIED",
            StatusCode::NOT_FOUND => "NOT_FOUND",
            StatusCode::SERVICE_UNAVAILABLE => "UNAVAILABLE",
            StatusCode::GATEWAY_TIMEOUT => "DEADLINE_EXCEEDED",
            status if status.is_server_error() => "INTERNAL",
            _ => "INVALID_ARGUMENT",
        }
    }

    fn anthropic_type(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
            StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
            status if status.is_server_error() => "api_error",
            _ => "invalid_request_error",
        }
    }
}

impl From<&Rejection> for ApiError {
    fn from(rejection: &Rejection) -> Self {
        let error = Self::new(rejection.status(), rejection.code(), rejection.to_string());
        let is_overload = *rejection == Rejection::Overloaded;
        Self { retry: if is_overload { Retry::Soon } else { Retry::Usual }, ..error }
    }
}

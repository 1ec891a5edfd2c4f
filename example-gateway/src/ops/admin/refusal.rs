//! What the admin API refuses, and in which words.

use std::borrow::Cow;

use affinity_layer::{ModelName, StoreError, StoreErrorKind};
use axum::body::Body;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::de::DeserializeOwned;

use super::Admin;
use crate::error::ApiError;
use crate::protocol::Protocol;
use crate::stack::intake::collect;
use crate::upstream::providers::Requested;

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

/// The store failed, or what it was asked makes no sense to it.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn store(error: StoreError) -> Refusal {
    match error.kind() {
        StoreErrorKind::InvalidCursor => invalid("invalid_cursor", error.to_string()),
        _ => refusal(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", error.to_string()),
    }
}

/// The parameters of a request.
pub(super) fn query<T>(read: Result<Query<T>, QueryRejection>) -> Result<T, Refusal> {
    match read {
        Ok(Query(read)) => Ok(read),
        Err(rejection) => Err(invalid("invalid_query", rejection.body_text())),
    }
}

impl Admin {
    /// The body of a request, within the limits.
    pub(super) async fn read<T: DeserializeOwned>(&self, body: Body) -> Result<T, Refusal> {
        let bytes = collect(body, &self.limits).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| invalid("invalid_json", format!("the body cannot be read: {error}")))
    }

    /// The model that a request means.
    pub(super) fn served(&self, name: &str) -> Result<ModelName, Refusal> {
        match self.upstreams.requested(name) {
            Some(Requested::Model(model)) => Ok(model),
            Some(Requested::Auto) | None => Err(unserved()),
        }
    }

    /// The same, for one that sessions are to be given.
    pub(super) fn open(&self, name: &str) -> Result<ModelName, Refusal> {
        let model = self.served(name)?;
        if self.upstreams.drains().holds(&model) {
            return Err(refusal(StatusCode::CONFLICT, "model_drained", "this model is drained"));
        }
        Ok(model)
    }
}

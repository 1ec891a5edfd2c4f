//! [`PinnedModel`] as an axum extractor.

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::PinnedModel;

/// The request has no model: the handler is not below an
/// [`AffinityLayer`](crate::AffinityLayer), or neither router nor request named one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingPinnedModel;

impl IntoResponse for MissingPinnedModel {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, "no model was selected for this request")
            .into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for PinnedModel {
    type Rejection = MissingPinnedModel;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingPinnedModel> {
        parts.extensions.get::<Self>().cloned().ok_or(MissingPinnedModel)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for PinnedModel {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        _: &S,
    ) -> Result<Option<Self>, std::convert::Infallible> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

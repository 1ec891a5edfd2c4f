//! [`PinnedModel`] as an axum extractor.
//!
//! A handler that takes a `PinnedModel` must be below an [`AffinityLayer`](crate::AffinityLayer); one that
//! can do without takes an `Option<PinnedModel>`. Only `axum-core` is needed for it, so the library depends
//! on no web framework.
//!
//! ```
//! use affinity_layer::PinnedModel;
//!
//! async fn chat(model: PinnedModel) -> String {
//!     format!("an answer of {}", model.model())
//! }
//!
//! async fn echo(model: Option<PinnedModel>) -> String {
//!     model.map_or_else(|| "no model".into(), |model| model.model().to_string())
//! }
//!
//! let app: axum::Router = axum::Router::new()
//!     .route("/v1/chat/completions", axum::routing::post(chat))
//!     .route("/echo", axum::routing::get(echo));
//! # let _ = app;
//! ```

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::PinnedModel;

/// The request has no model: the handler is not below an
/// [`AffinityLayer`](crate::AffinityLayer), or neither router nor request named one.
///
/// It is answered with 500, because it is a mistake in the application and not the client's: set a
/// [`default_model`](crate::AffinityLayer::default_model), or take an `Option<PinnedModel>`.
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

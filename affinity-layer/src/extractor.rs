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

use std::fmt;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::PinnedModel;
use crate::pinned::{NoDecision, NoSession, NotAsked};

/// Why a handler that takes a [`PinnedModel`] gets none.
///
/// It is answered with 500 and the cause, because each is a mistake in the application and not the
/// client's. A handler that can do without a model takes an `Option<PinnedModel>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingPinnedModel {
    /// There is no [`AffinityLayer`](crate::AffinityLayer) above the handler. A layer that was added to an
    /// axum router before a route does cover it, one that was added to another router does not.
    NoLayer,
    /// The layer passes such requests on as they are: their method is not one that asks a model, or they
    /// offer another protocol.
    NotAsked,
    /// The request names no session, and the layer does not
    /// [route](crate::AffinityLayer::route_unkeyed) those.
    NoSession,
    /// The router failed, or no route matched, and neither the request nor a
    /// [`default_model`](crate::AffinityLayer::default_model) names a model.
    NoDecision,
}

impl fmt::Display for MissingPinnedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLayer => "no model: the handler is not below an AffinityLayer",
            Self::NotAsked => "no model: the affinity layer routes no requests of this method",
            Self::NoSession => "no model: the request names no session, and such are not routed",
            Self::NoDecision => {
                "no model: the router named none, nor did the request, and there is no default model"
            }
        })
    }
}

impl std::error::Error for MissingPinnedModel {}

impl IntoResponse for MissingPinnedModel {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for PinnedModel {
    type Rejection = MissingPinnedModel;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingPinnedModel> {
        if let Some(model) = parts.extensions.get::<Self>() {
            return Ok(model.clone());
        }
        Err(if parts.extensions.get::<NotAsked>().is_some() {
            MissingPinnedModel::NotAsked
        } else if parts.extensions.get::<NoSession>().is_some() {
            MissingPinnedModel::NoSession
        } else if parts.extensions.get::<NoDecision>().is_some() {
            MissingPinnedModel::NoDecision
        } else {
            MissingPinnedModel::NoLayer
        })
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

//! The admin API: shows and changes what is kept here, on an address of its own.
//!
//! 1. Every path but those of [`public`] needs the token.
//! 2. Answers are JSON, errors have OpenAI's shape.

mod bulk;
mod change;
mod cooldowns;
mod drains;
mod ledger;
mod paths;
mod pins;
mod refusal;
pub(crate) mod state;
mod status;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tower_http::catch_panic::CatchPanicLayer;

use self::state::Admin;
use crate::edge::auth;
use crate::edge::front::panicked;
use crate::error::ApiError;
use crate::extensions::{Introduction, Peer};
use crate::ops::{live, ui};
use crate::protocol::Protocol;
use crate::stack::answers::{not_found, wrong_method};

/// What the admin listener serves to requests that carry `token`.
pub(crate) fn router(admin: Admin, token: &SecretString) -> Router {
    let live = admin.live.clone();
    Router::new()
        .route("/admin/v1/status", get(status::status))
        .route("/admin/v1/ledger", get(ledger::ledger))
        .route("/admin/v1/ledger/sessions", get(ledger::sessions))
        .route("/admin/v1/ledger/decisions", get(ledger::decisions))
        .route("/admin/v1/drains", get(drains::list))
        .route("/admin/v1/cooldowns", get(cooldowns::list).delete(cooldowns::clear))
        .route("/admin/v1/models/{*named}", post(drains::drain).delete(drains::undrain))
        .merge(paths::pins())
        .with_state(admin)
        .merge(live::router(live))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(token.clone(), check))
        .merge(public())
        .layer(CatchPanicLayer::custom(|_| panicked(Protocol::Chat)))
}

/// What needs no token, because it holds nothing that is secret.
fn public() -> Router {
    ui::router()
}

/// Lets a request in if it carries the token, compared in constant time, so that the time of the answer
/// does not reveal how much was right.
async fn check(State(token): State<SecretString>, request: Request, next: Next) -> Response {
    let token = token.expose_secret().as_bytes();
    if auth::bearer(request.headers()).any(|shown| bool::from(shown.ct_eq(token))) {
        if let Some(introduction) = request.extensions().get::<Introduction>() {
            introduction.make();
        }
        return next.run(request).await;
    }
    if let Some(Peer(peer)) = request.extensions().get() {
        tracing::debug!(%peer, "a request without the token of the admin API was refused");
    }
    let text = "the token of the admin API is needed: Authorization: Bearer TOKEN";
    ApiError::new(StatusCode::UNAUTHORIZED, "invalid_api_key", text).response(Protocol::Chat)
}

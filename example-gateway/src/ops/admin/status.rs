//! What runs here.
//!
//! For an operator who wants to know which models may be named in other calls, and whether sessions are kept
//! where the configuration says.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::state::Admin;

/// `GET /admin/v1/status`
pub(super) async fn status(State(admin): State<Admin>) -> Json<Value> {
    let Admin { sessions, upstreams, condition, live, .. } = admin;
    let models: Vec<_> = upstreams.configured().map(|model| model.as_str()).collect();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "store": {"type": sessions.kind(), "ready": sessions.are_shared()},
        "sessions": sessions.len(),
        "models": models,
        "unnamed_clients": live.unnamed(),
        "configuration": condition.configuration_json(true),
    }))
}

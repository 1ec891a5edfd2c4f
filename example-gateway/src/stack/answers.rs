//! What the gateway answers itself: lists, health, and what it does not serve.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::protocol::Protocol;
use crate::stack::sessions::Sessions;
use crate::telemetry::metrics::{self, Metrics};
use crate::upstream::providers::Upstreams;

pub(crate) async fn models(State(upstreams): State<Arc<Upstreams>>) -> Json<Value> {
    let models = upstreams.models().map(|provider| {
        json!({
            "id": provider.model,
            "object": "model",
            "created": 0,
            "owned_by": provider.prefix(),
        })
    });
    Json(json!({"object": "list", "data": models.collect::<Vec<_>>()}))
}

/// A gateway whose Redis is away still serves, on what it knows; taking every replica out of service for
/// it would turn a loss of memory into an outage. So this is 200, and says what is missing. If the store
/// is required and cannot be read, this replica can serve no session, but another one perhaps can: 503.
pub(crate) async fn ready(State(sessions): State<Sessions>) -> (StatusCode, Json<Value>) {
    let (code, status, store) = match sessions.unready() {
        None => (StatusCode::OK, "ready", "ready".to_owned()),
        Some(cause) if cause.only_degrades() => {
            (StatusCode::OK, "degraded", format!("not ready: {cause}"))
        }
        Some(cause) if sessions.are_required() && !cause.can_read() => {
            let store = format!("not ready: {cause}; sessions are refused until it is ready");
            (StatusCode::SERVICE_UNAVAILABLE, "not ready", store)
        }
        Some(cause) if sessions.are_required() => {
            let store = format!("not ready: {cause}; new sessions are refused until it is ready");
            (StatusCode::OK, "degraded", store)
        }
        Some(cause) => {
            let store = format!("not ready: {cause}; new sessions are kept in this replica");
            (StatusCode::OK, "degraded", store)
        }
    };
    let calls = sessions.stats().map(|stats| {
        json!({
            "found": stats.found,
            "absent": stats.absent,
            "timeouts": stats.timeouts,
            "errors": stats.errors,
            "refused": stats.refused,
        })
    });
    (code, Json(json!({"status": status, "parts": {"store": store}, "redis_calls": calls})))
}

/// What was counted so far.
pub(crate) async fn scrape(
    State((metrics, sessions)): State<(Metrics, Sessions)>,
) -> Response<Body> {
    metrics::sessions(sessions.place(), sessions.len(), sessions.unready().as_ref());
    let mut response = Response::new(Body::from(metrics.render()));
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

pub(crate) async fn not_found(method: Method, uri: Uri) -> Response<Body> {
    if method == Method::CONNECT {
        return wrong_method(uri, HeaderMap::new()).await;
    }
    let error = ApiError::new(StatusCode::NOT_FOUND, "not_found", "this path is not served");
    error.response(Protocol::of(uri.path()))
}

/// Told of a path that takes only the methods of `allow`.
pub(crate) fn only(allow: &'static str, uri: &Uri, headers: &HeaderMap) -> Response<Body> {
    let mut response = refuse_method(uri, headers);
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        // The field is part of this status (RFC 9110, section 15.5.6).
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    response
}

pub(crate) async fn wrong_method(uri: Uri, headers: HeaderMap) -> Response<Body> {
    refuse_method(&uri, &headers)
}

fn refuse_method(uri: &Uri, headers: &HeaderMap) -> Response<Body> {
    let protocol = headers.get(header::UPGRADE).map(HeaderValue::as_bytes);
    if protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket")) {
        return no_websocket(uri);
    }
    let text = "this path does not take the method";
    let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text);
    error.response(Protocol::of(uri.path()))
}

/// Codex offers a WebSocket before it posts. After this answer it posts at once; after any other, it
/// tries six more times, over some seconds.
fn no_websocket(uri: &Uri) -> Response<Body> {
    let text = "there is no WebSocket here; send a POST";
    let error = ApiError::new(StatusCode::UPGRADE_REQUIRED, "no_websocket", text);
    let mut response = error.response(Protocol::of(uri.path()));
    // The field is part of this status (RFC 9110, section 15.5.22): what to speak instead.
    let fields = [(header::UPGRADE, "HTTP/1.1"), (header::CONNECTION, "upgrade")];
    for (name, value) in fields {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

//! What the gateway answers itself: lists, health, and what it does not serve.
//!
//! They are handlers of axum, without a session and without a provider. [`app`](crate::app) puts each on its
//! path. Lists come in the shape of the API that the client speaks, because the SDKs of both vendors ask for
//! them at the same path.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::paths::Served;
use crate::protocol::{Shape, is_google, speaks_anthropic};
use crate::stack::condition::Condition;
use crate::stack::router_state::RouterState;
use crate::stack::sessions::Sessions;
use crate::telemetry::metrics::{self, Metrics, Scrape};
use crate::upstream::providers::Upstreams;

/// All that may be asked for.
pub(crate) async fn models(
    State(upstreams): State<Arc<Upstreams>>,
    headers: HeaderMap,
) -> Json<Value> {
    let list = upstreams.listed().map(|(id, owner)| entry(id, owner, &headers));
    let list = list.collect::<Vec<_>>();
    if !speaks_anthropic(&headers) {
        return Json(json!({"object": "list", "data": list}));
    }
    let id = |entry: Option<&Value>| entry.map(|entry| entry["id"].clone());
    let (first, last) = (id(list.first()), id(list.last()));
    Json(json!({"data": list, "has_more": false, "first_id": first, "last_id": last}))
}

/// One of them, whether the slash in its name is escaped or not.
pub(crate) async fn model(
    State(upstreams): State<Arc<Upstreams>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let name = uri.path().strip_prefix("/v1/models/").unwrap_or_default();
    let name = percent_decode_str(name).decode_utf8().unwrap_or_default();
    let Some(owner) = upstreams.owner_of(&name) else {
        return ApiError::no_model().response(Shape::of(uri.path(), &headers));
    };
    Json(entry(&name, owner, &headers)).into_response()
}

/// A model in the shape of the API that the client expects.
fn entry(id: &str, owner: &str, headers: &HeaderMap) -> Value {
    if speaks_anthropic(headers) {
        // When a model was made is known to its vendor.
        let made = "1970-01-01T00:00:00Z";
        return json!({"type": "model", "id": id, "display_name": id, "created_at": made});
    }
    json!({"id": id, "object": "model", "created": 0, "owned_by": owner})
}

/// What `/readyz` looks at.
#[derive(Clone, Debug)]
pub(crate) struct Readiness {
    pub(crate) sessions: Sessions,
    pub(crate) router: RouterState,
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) condition: Condition,
}

/// A gateway whose Redis is away still serves, on what it knows; taking every replica out of service for
/// it would turn a loss of memory into an outage. So this is 200, and says what is missing. If the store
/// is required and cannot be read, this replica can serve no session, but another one perhaps can: 503.
/// So is one that stops. A router that fails degrades every replica alike.
pub(crate) async fn ready(State(readiness): State<Readiness>) -> (StatusCode, Json<Value>) {
    let Readiness { sessions, router, upstreams, condition } = readiness;
    condition.was_asked();
    let (mut code, mut status, store) = store_part(&sessions);
    if router.is_failing() && status == "ready" {
        status = "degraded";
    }
    if condition.is_draining() {
        (code, status) = (StatusCode::SERVICE_UNAVAILABLE, "draining");
    }
    let calls = sessions.stats().map(|stats| {
        json!({
            "found": stats.found,
            "absent": stats.absent,
            "renewals": stats.renewals,
            "timeouts": stats.timeouts,
            "errors": stats.errors,
            "refused": stats.refused,
        })
    });
    let body = json!({
        "status": status,
        "parts": {"store": store, "router": router.text(), "models": models_part(&upstreams)},
        "redis_calls": calls,
        "configuration": condition.configuration_json(false),
    });
    (code, Json(body))
}

/// Other models serve meanwhile, so those that cool down make this replica no less ready.
fn models_part(upstreams: &Upstreams) -> String {
    let cooling: Vec<_> = upstreams.passed_over().into_iter().collect();
    match cooling.is_empty() {
        true => "ready".to_owned(),
        false => format!("cooling down: {}", cooling.join(", ")),
    }
}

fn store_part(sessions: &Sessions) -> (StatusCode, &'static str, String) {
    match sessions.unready() {
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
    }
}

/// What was counted so far.
pub(crate) async fn scrape(
    State((metrics, sessions, upstreams)): State<(Metrics, Sessions, Arc<Upstreams>)>,
) -> Response<Body> {
    metrics::sessions(sessions.place(), sessions.len(), sessions.unready().as_ref());
    metrics::cooling(upstreams.targets());
    let Scrape { text, place } = metrics.scrape();
    let length = HeaderValue::from(text.len());
    let body = Full::new(text).map_frame(move |frame| {
        let _until_it_is_taken = &place;
        frame
    });
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

/// As [`not_found`], with the path that was probably meant.
pub(crate) async fn not_served(
    State(served): State<Served>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    if method == Method::CONNECT {
        return wrong_method(uri, headers).await;
    }
    unknown(&uri, &headers, served.nearest(uri.path()))
}

pub(crate) async fn not_found(method: Method, uri: Uri, headers: HeaderMap) -> Response<Body> {
    if method == Method::CONNECT {
        return wrong_method(uri, headers).await;
    }
    unknown(&uri, &headers, None)
}

fn unknown(uri: &Uri, headers: &HeaderMap, nearest: Option<&str>) -> Response<Body> {
    let error = if is_google(uri.path()) { no_gemini() } else { no_path(nearest) };
    error.response(Shape::of(uri.path(), headers))
}

/// There is no such path; `nearest` is the one that was probably meant.
pub(crate) fn no_path(nearest: Option<&str>) -> ApiError {
    let text = match nearest {
        Some(nearest) => format!("this path is not served; the nearest that is: {nearest}"),
        None => "this path is not served".to_owned(),
    };
    ApiError::not_found(text)
}

/// Gemini's own clients show this message to their user.
fn no_gemini() -> ApiError {
    let text = "Gemini's own API is not served here: use a client of OpenAI or Anthropic. Served are \
                POST /v1/chat/completions, /v1/messages and /v1/responses; GET /v1/models lists the \
                models, those of Gemini among them if they are configured";
    ApiError::not_found(text)
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
    if is_google(uri.path()) {
        return unknown(uri, headers, None);
    }
    let protocol = headers.get(header::UPGRADE).map(HeaderValue::as_bytes);
    if protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket")) {
        return no_websocket(uri, headers);
    }
    let text = "this path does not take the method";
    let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text);
    error.response(Shape::of(uri.path(), headers))
}

/// Codex offers a WebSocket before it posts. After this answer it posts at once; after any other, it
/// tries six more times, over some seconds.
pub(crate) fn no_websocket(uri: &Uri, headers: &HeaderMap) -> Response<Body> {
    let text = "there is no WebSocket here; send a POST";
    let error = ApiError::new(StatusCode::UPGRADE_REQUIRED, "no_websocket", text);
    let mut response = error.response(Shape::of(uri.path(), headers));
    // The field is part of this status (RFC 9110, section 15.5.22): what to speak instead.
    let fields = [(header::UPGRADE, "HTTP/1.1"), (header::CONNECTION, "upgrade")];
    for (name, value) in fields {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

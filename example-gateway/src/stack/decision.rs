//! The decision API: which model a request would go to, and nothing is sent there.
//!
//! `/routing/v1/...` is for programs that call the providers themselves and ask us for models only. The
//! request passes intake and the affinity layer like one that is served: it claims a pin, and later requests
//! on either path are given the same model.

use std::convert::Infallible;
use std::sync::Arc;

use affinity_layer::ModelName;
use axum::body::Body;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use serde::Serialize;

use crate::body::Envelope;
use crate::protocol::Protocol;
use crate::stack::turns::record::note_session;
use crate::telemetry::context;
use crate::upstream::providers::Upstreams;

/// The answer: `models` ranked, `model` the first of them.
#[derive(Debug, Serialize)]
struct Decision<'a> {
    models: Vec<&'a ModelName>,
    model: &'a ModelName,
    route: Option<&'a str>,
    trace_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    pinned: bool,
}

/// Answers with the decision that the layers above have made.
///
/// # Errors
///
/// None: a failure is a response.
pub(crate) async fn decide(
    upstreams: Arc<Upstreams>,
    request: Request<Envelope>,
) -> Result<Response<Body>, Infallible> {
    let (request, _) = request.into_parts();
    let protocol = Protocol::of(request.uri.path());
    note_session(&request.extensions);
    let given = match upstreams.target(&request.extensions, protocol) {
        Ok(target) => target.model,
        Err(error) => return Ok(error.response(protocol)),
    };
    // A client continues with the next of the list when the first fails, so the one in use leads, and
    // only models that accept the request are listed.
    let others = given.candidates().iter();
    let others = others.filter(|other| *other != given.model() && upstreams.takes(other, &request));
    let decision = Decision {
        models: std::iter::once(given.model()).chain(others).collect(),
        model: given.model(),
        route: given.route().map(|route| route.as_str()),
        trace_id: trace_id(&request.headers),
        session_id: given.key().filter(|key| key.kind().is_sent()).map(|key| key.session()),
        pinned: given.is_pinned(),
    };
    let body = serde_json::to_vec(&decision).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

/// The id of the caller's trace, else of ours, else a new one.
fn trace_id(headers: &HeaderMap) -> String {
    context::trace_id(headers)
        .unwrap_or_else(|| RandomIdGenerator::default().new_trace_id().to_string())
}

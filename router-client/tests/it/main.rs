//! The routers against real servers on the loopback, and their limits on paused time.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "clippy lets test functions panic, but not the helpers that they share"
)]

mod failures;
mod limits;
mod llm;
mod plano;
mod server;

use affinity_layer::{ModelName, RouteName, RouteRequest};
use http::Request;
use router_client::{Preference, Preferences};
use serde_json::{Value, json};

fn preferences(routes: &[(&str, &str, &[&str])]) -> Preferences {
    Preferences::new(routes.iter().map(|(name, description, models)| {
        Preference::new(RouteName::new(name).unwrap(), *description, models_of(models))
    }))
}

fn models_of(names: &[&str]) -> Vec<ModelName> {
    names.iter().map(|name| ModelName::new(name).unwrap()).collect()
}

/// What a client asks, with headers that must not leave the process and some that must.
fn question(path: &str, body: &Value) -> RouteRequest {
    let request = Request::post(path)
        .header("authorization", "Bearer client-secret")
        .header("x-api-key", "client-secret")
        .header("cookie", "client-secret")
        .header("x-model-affinity", "session-1")
        .header("x-tenant", "acme")
        .header("x-request-id", "request-1")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("tracestate", "vendor=1");
    let (parts, ()) = request.body(()).unwrap().into_parts();
    RouteRequest::new(parts, body.to_string().into())
}

fn chat(text: &str) -> RouteRequest {
    question("/v1/chat/completions", &json!({"messages": [{"role": "user", "content": text}]}))
}

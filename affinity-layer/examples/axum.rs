//! The line in an axum app: one `.layer(...)` around the handlers that call a model.
//!
//!     cargo run -p affinity-layer --features axum --example axum [ADDRESS]
//!
//! With an address it serves, and without it asks itself twice and checks the answers.

// An example prints what it found.
#![allow(clippy::print_stdout)]

use affinity_layer::{
    AffinityLayer, BoxError, MemoryStore, ModelName, PinnedModel, RouteDecision, RouteRequest,
};
use axum::body::Body;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::Request;
use serde_json::{Value, json};
use tower::{ServiceExt, service_fn};

/// A router of your own: any tower service from a request to a ranked list of models.
async fn route(request: RouteRequest) -> Result<RouteDecision, BoxError> {
    let hard = request.body.len() > 1000;
    let model = ModelName::new(if hard { "openai/gpt-4o" } else { "openai/gpt-4o-mini" })?;
    Ok(RouteDecision::new([model]))
}

/// Takes the model as an extractor. A real handler would call it.
async fn chat(model: PinnedModel, Json(body): Json<Value>) -> Json<Value> {
    let turns = body.get("messages").and_then(Value::as_array).map_or(0, Vec::len);
    Json(json!({"model": model.model(), "content": format!("an answer to {turns} messages")}))
}

fn app() -> Router {
    let affinity = AffinityLayer::new(MemoryStore::default(), service_fn(route));
    Router::new()
        .route("/v1/chat/completions", post(chat).layer(affinity))
        // What no model answers needs no layer; under one it would pass untouched.
        .route("/healthz", get(|| async { "ok" }))
}

/// One turn of a session: the model that answered, and how it was found.
async fn turn(app: &Router, messages: usize) -> Result<(String, String), BoxError> {
    let message = json!({"role": "user", "content": "What is the weather in Paris?"});
    let body = json!({"messages": vec![message; messages]});
    let request = Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .header("x-model-affinity", "task-1")
        .body(Body::from(body.to_string()))?;
    let response = app.clone().oneshot(request).await?;
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let (model, how) = (header("x-plano-model"), header("x-plano-affinity"));
    Ok((model.unwrap_or_default().to_owned(), how.unwrap_or_default().to_owned()))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    if let Some(address) = std::env::args().nth(1) {
        let listener = tokio::net::TcpListener::bind(address).await?;
        return Ok(axum::serve(listener, app()).await?);
    }
    let app = app();
    let first = turn(&app, 1).await?;
    assert_eq!(first, ("openai/gpt-4o-mini".to_owned(), "claimed".to_owned()));
    // The conversation has grown, and the router would choose the larger model now.
    let second = turn(&app, 100).await?;
    assert_eq!(second, ("openai/gpt-4o-mini".to_owned(), "hit".to_owned()));
    println!("both turns were answered by {}", second.0);
    Ok(())
}

//! A reverse proxy in front of providers of models: bodies are checked, the affinity layer decides, the
//! failover layer goes on with the next candidate when a provider fails, the model is put into the body, and
//! the answer is streamed back.
//!
//!     cargo run -p affinity-layer --features axum,body --example reverse_proxy
//!
//! It starts two simulated providers on free ports of this machine, of which one fails half way, runs a
//! session through the proxy and checks who answered.

// An example prints what it found.
#![allow(clippy::print_stdout)]

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use affinity_layer::body::{CheckBodyLayer, ModelBody, ModelBodyLayer};
use affinity_layer::{
    AffinityLayer, BoxError, FailoverLayer, MemoryStore, ModelName, PinnedModel, RouteDecision,
    RouteRequest,
};
use axum::body::Body;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tower::{ServiceBuilder, ServiceExt, service_fn};

/// The body that a provider is sent.
type Sent = ModelBody<Body>;

/// Sends each request to the provider of its model.
#[derive(Clone)]
struct Proxy {
    client: Client<HttpConnector, Sent>,
    /// By the name before the slash of a model.
    providers: Arc<HashMap<&'static str, Uri>>,
}

impl Proxy {
    async fn send(&self, request: Request<Sent>) -> Result<Response<Body>, BoxError> {
        let (mut head, body) = request.into_parts();
        let pinned = head.extensions.get::<PinnedModel>().ok_or("no model is known")?;
        let (provider, _) = pinned.model().as_str().split_once('/').ok_or("no provider")?;
        let base = self.providers.get(provider).ok_or("an unknown provider")?;
        let authority = base.authority().ok_or("no address")?;
        head.uri = format!("http://{authority}{}", head.uri.path()).parse()?;
        // The client's key is for this proxy and no business of the provider's.
        head.headers.remove(header::HOST);
        let key = HeaderValue::from_static("Bearer provider-key");
        head.headers.insert(header::AUTHORIZATION, key);
        Ok(self.client.request(Request::from_parts(head, body)).await?.map(Body::new))
    }
}

/// A provider that answers with its own name and the request as it came, and 503 while it is `down`.
async fn start_provider(name: &'static str, down: Arc<AtomicBool>) -> Result<Uri, BoxError> {
    let complete = async move |body: String| {
        if down.load(Ordering::Relaxed) {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        Ok(Json(json!({"provider": name, "received": body})))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("http://{}", listener.local_addr()?).parse()?;
    let app = Router::new().route("/v1/chat/completions", post(complete));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(uri)
}

/// The proxy for `providers`. Layers are listed from the outside in.
fn app(providers: HashMap<&'static str, Uri>) -> Router {
    let router = service_fn(|_: RouteRequest| async {
        let ranked = ["one/large", "two/large"].into_iter().map(ModelName::new);
        Ok::<_, BoxError>(RouteDecision::new(ranked.collect::<Result<Vec<_>, _>>()?))
    });
    let client = Client::builder(TokioExecutor::new()).build_http();
    let proxy = Proxy { client, providers: Arc::new(providers) };
    let served = ServiceBuilder::new()
        .layer(CheckBodyLayer::new().limit(32 * 1024 * 1024))
        .layer(AffinityLayer::new(MemoryStore::default(), router).body_limit(32 * 1024 * 1024))
        .layer(FailoverLayer::new())
        // `one/large` is `large` at the provider `one`.
        .layer(ModelBodyLayer::new().named(|model: &ModelName| {
            model.as_str().split_once('/').map_or(model.as_str(), |(_, id)| id)
        }))
        .service_fn(move |request: Request<Sent>| {
            let proxy = proxy.clone();
            async move {
                let answer = proxy.send(request).await;
                Ok::<_, Infallible>(
                    answer.unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response()),
                )
            }
        });
    Router::new().route_service("/v1/chat/completions", served)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let down = Arc::new(AtomicBool::new(false));
    let one = start_provider("one", down.clone()).await?;
    let two = start_provider("two", Arc::default()).await?;
    let app = app(HashMap::from([("one", one), ("two", two)]));
    let post = |body: &'static str| {
        let request = Request::post("/v1/chat/completions")
            .header("content-type", "application/json")
            .header("x-model-affinity", "task-1")
            .body(Body::from(body));
        let app = app.clone();
        async move { Ok::<_, BoxError>(app.oneshot(request?).await?) }
    };

    let turns = [("claimed", "one/large"), ("hit", "one/large"), ("repinned", "two/large")];
    for (turn, (how, model)) in turns.into_iter().chain([("hit", "two/large")]).enumerate() {
        down.store(turn >= 2, Ordering::Relaxed);
        let response = post(r#"{ "n": 1.50, "model":"auto", "messages":[] }"#).await?;
        assert_eq!(response.status(), StatusCode::OK);
        let headers = response.headers();
        assert_eq!(headers.get("x-plano-affinity").ok_or("no outcome")?, how, "turn {turn}");
        assert_eq!(headers.get("x-plano-model").ok_or("no model")?, model, "turn {turn}");
        let answer = response.into_body().collect().await?.to_bytes();
        let answer: Value = serde_json::from_slice(&answer)?;
        let received = answer.get("received").and_then(Value::as_str);
        // Every other byte is the client's.
        assert_eq!(received, Some(r#"{ "n": 1.50, "model":"large", "messages":[] }"#));
    }
    let refused = post(r#"{"model":"auto","Model":"large","messages":[]}"#).await?;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    println!("the session moved once, when its provider failed, and stayed there");
    Ok(())
}

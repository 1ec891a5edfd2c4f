//! A reverse proxy in front of providers of models: the affinity layer decides, the failover layer goes
//! on with the next candidate when a provider fails, and the answer is streamed back.
//!
//!     cargo run -p affinity-layer --features axum --example reverse_proxy
//!
//! It starts two simulated providers on free ports of this machine, of which one fails half way, runs a
//! session through the proxy and checks who answered.

// An example prints what it found.
#![allow(clippy::print_stdout)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use affinity_layer::{
    AffinityLayer, BoxError, FailoverLayer, MemoryStore, ModelName, PinnedModel, RouteDecision,
    RouteRequest,
};
use axum::body::Body;
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Map, Value, json};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

/// Sends each request to the provider of its model.
#[derive(Clone)]
struct Proxy {
    client: Client<HttpConnector, Full<Bytes>>,
    /// By the name before the slash of a model.
    providers: Arc<HashMap<&'static str, Uri>>,
}

impl Proxy {
    async fn send(self, request: Request<Full<Bytes>>) -> Result<Response<Body>, BoxError> {
        let (mut head, body) = request.into_parts();
        let pinned = head.extensions.get::<PinnedModel>().ok_or("no model is known")?;
        let (provider, id) = pinned.model().as_str().split_once('/').ok_or("no provider")?;
        let base = self.providers.get(provider).ok_or("an unknown provider")?;
        let body = with_model(body, id).await?;
        let authority = base.authority().ok_or("no address")?;
        head.uri = format!("http://{authority}{}", head.uri.path()).parse()?;
        // The client's key is for this proxy and no business of the provider's.
        head.headers.remove(header::HOST);
        head.headers.remove(header::CONTENT_LENGTH);
        let key = HeaderValue::from_static("Bearer provider-key");
        head.headers.insert(header::AUTHORIZATION, key);
        Ok(self.client.request(Request::from_parts(head, body)).await?.map(Body::new))
    }
}

/// The body with another `model`.
async fn with_model(body: Full<Bytes>, model: &str) -> Result<Full<Bytes>, BoxError> {
    let bytes = body.collect().await?.to_bytes();
    let mut body: Map<String, Value> = serde_json::from_slice(&bytes)?;
    body.insert("model".to_owned(), model.into());
    Ok(Full::from(serde_json::to_vec(&body)?))
}

/// A provider that answers with its own name, and 503 while it is `down`.
async fn start_provider(name: &'static str, down: Arc<AtomicBool>) -> Result<Uri, BoxError> {
    let complete = async move |Json(body): Json<Value>| {
        if down.load(Ordering::Relaxed) {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        Ok(Json(json!({"provider": name, "model": body.get("model")})))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("http://{}", listener.local_addr()?).parse()?;
    let app = Router::new().route("/v1/chat/completions", post(complete));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(uri)
}

/// The proxy for `providers`. Layers are listed from the outside in.
fn proxy(
    providers: HashMap<&'static str, Uri>,
) -> impl Service<Request<Full<Bytes>>, Response = Response<Body>, Error = BoxError> + Clone {
    let router = service_fn(|_: RouteRequest| async {
        let ranked = ["one/large", "two/large"].into_iter().map(ModelName::new);
        Ok::<_, BoxError>(RouteDecision::new(ranked.collect::<Result<Vec<_>, _>>()?))
    });
    let client = Client::builder(TokioExecutor::new()).build_http();
    let proxy = Proxy { client, providers: Arc::new(providers) };
    ServiceBuilder::new()
        .layer(AffinityLayer::new(MemoryStore::default(), router))
        .layer(FailoverLayer::new())
        .service_fn(move |request| proxy.clone().send(request))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let down = Arc::new(AtomicBool::new(false));
    let one = start_provider("one", down.clone()).await?;
    let two = start_provider("two", Arc::default()).await?;
    let proxy = proxy(HashMap::from([("one", one), ("two", two)]));

    let turns = [("claimed", "one/large"), ("hit", "one/large"), ("repinned", "two/large")];
    for (turn, (how, model)) in turns.into_iter().chain([("hit", "two/large")]).enumerate() {
        down.store(turn >= 2, Ordering::Relaxed);
        let request = Request::post("/v1/chat/completions")
            .header("content-type", "application/json")
            .header("x-model-affinity", "task-1")
            .body(Full::from(r#"{"model":"auto","messages":[]}"#))?;
        let response = proxy.clone().oneshot(request).await?;
        assert_eq!(response.status(), StatusCode::OK);
        let headers = response.headers();
        assert_eq!(headers.get("x-plano-affinity").ok_or("no outcome")?, how, "turn {turn}");
        assert_eq!(headers.get("x-plano-model").ok_or("no model")?, model, "turn {turn}");
    }
    println!("the session moved once, when its provider failed, and stayed there");
    Ok(())
}

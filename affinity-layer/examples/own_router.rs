//! A custom router that asks a service over the network, within a time limit and a bound on
//! concurrent calls. Both are tower layers around it.
//!
//!     cargo run -p affinity-layer --features axum --example own_router
//!
//! It starts the service that it asks on a free port of this machine, runs one session, and checks that
//! the service was asked once.

// An example prints what it found.
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use affinity_layer::{
    AffinityLayer, BoxError, MemoryStore, ModelName, PinnedModel, RouteDecision, RouteName,
    RouteRequest,
};
use axum::body::Body;
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceBuilder, ServiceExt};

/// What the service is asked. It is sent the text alone: the client's headers hold credentials.
#[derive(Deserialize, Serialize)]
struct Question {
    text: String,
}

/// What it answers: the models to use, best first.
#[derive(Deserialize, Serialize)]
struct Answer {
    models: Vec<ModelName>,
    route: RouteName,
}

/// Asks `service` which models are right for a request.
#[derive(Clone)]
struct RemoteRouter {
    client: Client<HttpConnector, Full<Bytes>>,
    service: Uri,
}

impl RemoteRouter {
    fn new(service: Uri) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), service }
    }

    async fn ask(self, request: RouteRequest) -> Result<RouteDecision, BoxError> {
        let body: Value = serde_json::from_slice(&request.body)?;
        let last = body.pointer("/messages").and_then(|messages| messages.as_array()?.last());
        let text = last.and_then(|message| message.get("content")?.as_str()).unwrap_or_default();
        let question = serde_json::to_vec(&Question { text: text.to_owned() })?;
        let question = Request::post(self.service)
            .header("content-type", "application/json")
            .body(Full::from(question))?;
        let answer = self.client.request(question).await?;
        if !answer.status().is_success() {
            return Err(format!("the service answered {}", answer.status()).into());
        }
        // An answer without a limit would be held without a limit.
        let answer = Limited::new(answer.into_body(), 64 * 1024).collect().await?;
        let Answer { models, route } = serde_json::from_slice(&answer.to_bytes())?;
        Ok(RouteDecision::new(models).with_route(route))
    }
}

impl Service<RouteRequest> for RemoteRouter {
    type Response = RouteDecision;
    type Error = BoxError;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<RouteDecision, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RouteRequest) -> Self::Future {
        Box::pin(self.clone().ask(request))
    }
}

type BoxRouter = BoxCloneSyncService<RouteRequest, RouteDecision, BoxError>;

/// The router as the layer gets it. When it is too slow or too busy, the request goes on with the
/// model that it asks for, and nothing is pinned.
fn router(service: Uri) -> BoxRouter {
    BoxCloneSyncService::new(
        ServiceBuilder::new()
            .load_shed()
            .concurrency_limit(64)
            .timeout(Duration::from_secs(2))
            .service(RemoteRouter::new(service)),
    )
}

/// Stands for the service that knows the models. It counts what it was asked.
async fn start_service(asked: Arc<AtomicUsize>) -> Result<Uri, BoxError> {
    let decide = async move |Json(question): Json<Question>| {
        asked.fetch_add(1, Ordering::Relaxed);
        let (model, route) = match question.text.contains("code") {
            true => ("anthropic/claude-sonnet-4-5", "code"),
            false => ("openai/gpt-4o-mini", "small talk"),
        };
        match (ModelName::new(model), RouteName::new(route)) {
            (Ok(model), Ok(route)) => Ok(Json(Answer { models: vec![model], route })),
            _ => Err(StatusCode::INTERNAL_SERVER_ERROR),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let service = format!("http://{}/decide", listener.local_addr()?).parse()?;
    let app = Router::new().route("/decide", post(decide));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(service)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let asked = Arc::new(AtomicUsize::new(0));
    let service = start_service(asked.clone()).await?;
    let chat = async |model: PinnedModel| model.model().to_string();
    let app: Router = Router::new()
        .route("/v1/chat/completions", post(chat))
        .layer(AffinityLayer::new(MemoryStore::default(), router(service)));

    for text in ["Please review this code.", "Thanks!", "Is it raining?"] {
        let body =
            json!({"model": "openai/gpt-4o", "messages": [{"role": "user", "content": text}]});
        let request = Request::post("/v1/chat/completions")
            .header("x-model-affinity", "task-1")
            .body(Body::from(body.to_string()))?;
        let response = app.clone().oneshot(request).await?;
        let model = response.into_body().collect().await?.to_bytes();
        assert_eq!(model, "anthropic/claude-sonnet-4-5", "{text}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    println!("three turns, one model, and the service was asked once");
    Ok(())
}

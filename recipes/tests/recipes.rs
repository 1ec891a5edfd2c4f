//! Each recipe as it is, against the simulated provider and against one that shows what it was sent.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test reports what is wrong by a panic"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use affinity_layer::client::Session;
use affinity_layer::{BoxError, ModelName, RouteDecision, RouteRequest, RouterService};
use affinity_recipes::{SECRET, hyper_client, openai, reqwest_client};
use affinity_tests::{Gateway, Upstream, ok_json};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{ServiceExt, service_fn};

/// Names another model at each call.
fn router(calls: &Arc<AtomicUsize>) -> impl RouterService + use<> {
    let calls = calls.clone();
    service_fn(move |_: RouteRequest| {
        let models = ["openai/gpt-4o", "openai/gpt-4o-mini"];
        let model = models[calls.fetch_add(1, Ordering::SeqCst) % 2];
        async move { Ok::<_, BoxError>(RouteDecision::new([ModelName::new(model)?])) }
    })
}

fn body(turn: usize) -> Value {
    json!({"model": "auto", "messages": [{"role": "user", "content": format!("turn {turn}")}]})
}

/// One turn by a client; returns the model that the answer names.
trait Turn {
    async fn turn(&self, turn: usize) -> String;
}

struct Hyper<R>(R, String);

impl<
    R: tower::Service<Request<Full<Bytes>>, Response = hyper_client::Answer, Error = BoxError> + Clone,
> Turn for Hyper<R>
{
    async fn turn(&self, turn: usize) -> String {
        let request = Request::post(format!("{}/v1/chat/completions", self.1))
            .header("content-type", "application/json")
            .body(Full::from(body(turn).to_string()))
            .unwrap();
        let answer = self.0.clone().oneshot(request).await.unwrap();
        let answer = answer.into_body().collect().await.unwrap().to_bytes();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        answer["model"].as_str().unwrap().to_owned()
    }
}

struct Reqwest<R>(R, String);

impl<R> Turn for Reqwest<R>
where
    R: tower::Service<
            Request<reqwest::Body>,
            Response = http::Response<reqwest::Body>,
            Error = BoxError,
        > + Clone,
{
    async fn turn(&self, turn: usize) -> String {
        let request = reqwest::Client::new()
            .post(format!("{}/v1/chat/completions", self.1))
            .header("content-type", "application/json")
            .body(body(turn).to_string());
        let request = request.build().unwrap().try_into().unwrap();
        let answer = reqwest::Response::from(self.0.clone().oneshot(request).await.unwrap());
        let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        answer["model"].as_str().unwrap().to_owned()
    }
}

impl Turn for async_openai::Client<async_openai::config::OpenAIConfig> {
    async fn turn(&self, turn: usize) -> String {
        let answer: Value = self.chat().create_byot(body(turn)).await.unwrap();
        answer["model"].as_str().unwrap().to_owned()
    }
}

/// Two tasks of three turns, one after the other.
async fn two_tasks(agent: &impl Turn) -> [Vec<String>; 2] {
    let task = async |id: &str| {
        let work = async {
            let mut models = Vec::new();
            for turn in 0..3 {
                models.push(agent.turn(turn).await);
            }
            models
        };
        Session::new(id).unwrap().scope(work).await
    };
    [task("task-1").await, task("task-2").await]
}

/// With the simulated provider, each task keeps its model; no provider learns what the task is called.
async fn checked<T: Turn>(agent: impl Fn(Arc<AtomicUsize>, String) -> T) {
    let provider = Gateway::command(&["provider", "--listen", "127.0.0.1:0"]).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let [first, second] = two_tasks(&agent(calls.clone(), provider.url())).await;
    assert_eq!((first, second), (vec!["gpt-4o".to_owned(); 3], vec!["gpt-4o-mini".to_owned(); 3]));
    assert_eq!(calls.load(Ordering::SeqCst), 2);

    let seeing = Upstream::start(|seen| {
        ok_json(&json!({"id": "x", "object": "chat.completion", "model": seen.json()["model"], "choices": []}))
    })
    .await;
    let agent = agent(Arc::new(AtomicUsize::new(0)), seeing.url());
    two_tasks(&agent).await;
    // Outside of a task nothing is pinned, and no cache key is sent.
    agent.turn(9).await;
    let seen = seeing.seen();
    assert_eq!(seen.len(), 7);
    for (request, id) in seen.iter().zip(["task-1"; 3].into_iter().chain(["task-2"; 3])) {
        let sent = String::from_utf8_lossy(&request.body).into_owned();
        let fields = format!("{:?}", request.fields);
        assert!(!fields.contains(id) && !sent.contains(id), "{fields} {sent}");
        let hashed = Session::new(id).unwrap().hashed(&SECRET);
        assert_eq!(request.json()["prompt_cache_key"], hashed);
        assert_eq!(request.all("content-length"), [request.body.len().to_string()]);
    }
    assert_eq!(seen[6].json().get("prompt_cache_key"), None);
}

#[tokio::test]
async fn a_client_of_hyper_util_keeps_the_model_of_its_task() {
    checked(|calls, url| Hyper(hyper_client::agent(router(&calls)), url)).await;
}

#[tokio::test]
async fn a_client_of_reqwest_keeps_the_model_of_its_task() {
    let client = || reqwest::Client::builder().no_proxy().build().unwrap();
    checked(|calls, url| Reqwest(reqwest_client::agent(router(&calls), client()), url)).await;
}

#[tokio::test]
async fn a_client_of_async_openai_keeps_the_model_of_its_task() {
    checked(|calls, url| openai::agent(router(&calls), &url, "key")).await;
}

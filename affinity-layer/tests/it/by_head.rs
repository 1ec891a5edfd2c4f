//! Requests that are routed by their head alone: other methods, and streams.

use std::convert::Infallible;

use affinity_layer::{BodyId, BoxError, ModelName, RouteDecision, RouteRequest};
use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tower::{ServiceExt, service_fn};

use crate::common::*;

fn is_shard(head: &Parts) -> bool {
    head.uri.path().starts_with("/shards") || head.headers.contains_key("grpc")
}

fn request(method: Method, path: &str, body: Body) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header("x-model-affinity", "s");
    request.body(body).unwrap()
}

#[tokio::test]
async fn any_method_is_routed_where_its_head_says_so_and_passes_elsewhere() {
    let calls = Calls::default();
    let service = stack(layer(calls.router()).by_head(is_shard));
    let get = |path| send(&service, request(Method::GET, path, Body::empty()));
    assert_eq!(get("/shards/1").await, said("vendor/m1", false, "claimed"));
    assert_eq!(get("/shards/1").await, said("vendor/m1", true, "hit"));
    assert_eq!((get("/models").await.affinity.as_str(), calls.count()), ("none", 1));
    // The same session, with a body.
    assert_eq!(turn(&service, "s").await, said("vendor/m1", true, "hit"));
}

#[tokio::test]
async fn a_stream_is_routed_before_its_first_message() {
    let asked = service_fn(|request: RouteRequest| async move {
        assert!(request.body.is_empty(), "nothing was read for the router");
        Ok::<_, BoxError>(RouteDecision::new([ModelName::new("backend-1")?]))
    });
    // Neither a limit nor ids in bodies make it read.
    let layer = layer(asked).by_head(is_shard).body_limit(0).body_ids([BodyId::PromptCacheKey]);
    let service = stack(layer);
    let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
    let messages = UnboundedReceiverStream::new(receiver).map(Ok::<_, Infallible>);
    let mut call = request(Method::POST, "/chat.Chat/Talk", Body::from_stream(messages));
    call.headers_mut().insert("grpc", "1".parse().unwrap());
    // The response is there, and its body is the stream that was sent, while the client still sends.
    let response = service.clone().oneshot(call).await.unwrap();
    assert_eq!(header(response.headers(), "x-plano-affinity"), "claimed");
    let mut echoed = response.into_body();
    for message in ["one", "two"] {
        sender.send(message.into()).unwrap();
        let frame = echoed.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), message);
    }
    // Without a session, too.
    let mut unnamed = request(Method::POST, "/shards", Body::from("x"));
    unnamed.headers_mut().remove("x-model-affinity");
    assert_eq!(send(&service, unnamed).await, said("backend-1", false, "none"));
}

#[tokio::test]
async fn without_a_decision_the_default_is_used_and_the_body_is_not_asked_for_a_model() {
    let failing =
        service_fn(|_: RouteRequest| async { Err::<RouteDecision, _>(BoxError::from("x")) });
    let layer = layer(failing).by_head(is_shard).default_model(model("shard-0"));
    let service = stack(layer);
    let body = r#"{"model":"vendor/asked"}"#;
    let by_head = send(&service, request(Method::POST, "/shards", Body::from(body))).await;
    assert_eq!(by_head, said("shard-0", false, "router-unavailable"));
    let by_body = send(&service, request(Method::POST, "/v1/x", Body::from(body))).await;
    assert_eq!(by_body, said("vendor/asked", false, "router-unavailable"));
}

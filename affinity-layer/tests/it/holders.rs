//! It is noted which model made what lives at its provider.

use std::time::Duration;

use affinity_layer::answer::Holders;
use affinity_layer::key::BodyIds;
use affinity_layer::{
    AffinityLayer, AnswerLayer, FailoverLayer, MemoryStore, PinnedModel, Scope, SharedStore,
};
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::common::*;

/// The router's first choice, and its second.
const A: &str = "vendor/m1";
const B: &str = "vendor/spare";

/// What is noted after `request` was answered with `answer` by the best model that is not `failing`.
async fn noting(
    request: Request<Full<Bytes>>,
    kind: &'static str,
    answer: &'static str,
    failing: &'static str,
) -> Holders {
    let holders = Holders::new(SharedStore::new(MemoryStore::default()));
    let handler = move |request: Request<Full<Bytes>>| async move {
        let model = request.extensions().get::<PinnedModel>().unwrap().model().clone();
        let mut response = Response::builder().header("content-type", kind);
        if model.as_str() == failing {
            response = response.status(StatusCode::BAD_GATEWAY);
        }
        Ok::<_, std::convert::Infallible>(response.body(Body::from(answer)).unwrap())
    };
    let service = ServiceBuilder::new()
        .layer(AffinityLayer::new(MemoryStore::default(), Calls::default().router()))
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(AnswerLayer::new().holders(holders.clone()))
        .layer(FailoverLayer::new())
        .service(service_fn(handler));
    service.oneshot(request).await.unwrap().into_body().collect().await.unwrap();
    holders
}

fn post(path: &str) -> Request<Full<Bytes>> {
    Request::post(path).body(Full::from("{}")).unwrap()
}

async fn holder(holders: &Holders, scope: Option<&str>, id: &str) -> Option<String> {
    let scope = scope.map(|scope| Scope::new(scope).unwrap());
    holders.find(scope.as_ref(), id).await.unwrap().map(|model| model.to_string())
}

const PLAIN: &str = r#"{"id":"resp_1","output":[{"type":"code_interpreter_call","container_id":"cntr_1"},
    {"type":"function_call","id":"fc_1","parsed":{"file_id":"made-up"}}]}"#;
const STREAM: &str = "data: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\"}}\n\n\
    data: {\"type\":\"response.output_item.added\",\"item\":{\"container_id\":\"cntr_1\"}}\n\n\
    data: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\"}}\n\n";
const MESSAGE: &str = r#"{"id":"msg_1","container":{"id":"cntr_1"},"content":[
    {"type":"tool_use","input":{"file_id":"made-up","container":{"id":"made-up"}}},
    {"type":"tool_result","content":{"content":[{"file_id":"file_1"}]}}]}"#;

#[tokio::test]
async fn a_response_is_found_at_the_model_that_made_it_also_without_a_session() {
    for (kind, answer) in [("application/json", PLAIN), ("text/event-stream", STREAM)] {
        for (failing, model) in [("", A), (A, B)] {
            let mut sessions = [post("/v1/responses"), post("/v1/responses")];
            sessions[1].headers_mut().insert("x-session-id", "s".parse().unwrap());
            for request in sessions {
                let holders = noting(request, kind, answer, failing).await;
                for id in ["resp_1", "cntr_1"] {
                    assert_eq!(holder(&holders, None, id).await.as_deref(), Some(model), "{id}");
                }
                for id in ["made-up", "fc_1", "resp_2", ""] {
                    assert_eq!(holder(&holders, None, id).await, None, "{id}");
                }
            }
        }
    }
}

#[tokio::test]
async fn what_an_answer_of_messages_leaves_behind_is_noted_and_its_own_id_is_not() {
    let holders = noting(post("/v1/messages"), "application/json", MESSAGE, "").await;
    for id in ["cntr_1", "file_1"] {
        assert_eq!(holder(&holders, None, id).await.as_deref(), Some(A), "{id}");
    }
    for id in ["msg_1", "made-up"] {
        assert_eq!(holder(&holders, None, id).await, None, "{id}");
    }
    let holders = noting(post("/v1/chat/completions"), "application/json", PLAIN, "").await;
    assert_eq!(holder(&holders, None, "resp_1").await, None);
}

#[tokio::test]
async fn what_one_tenant_made_is_not_found_by_another() {
    let mut request = post("/v1/responses");
    request.extensions_mut().insert(Scope::new("acme").unwrap());
    let holders = noting(request, "application/json", PLAIN, "").await;
    assert_eq!(holder(&holders, Some("acme"), "resp_1").await.as_deref(), Some(A));
    for scope in [None, Some("other")] {
        assert_eq!(holder(&holders, scope, "resp_1").await, None, "{scope:?}");
    }
}

#[tokio::test]
async fn a_response_that_is_not_stored_is_not_noted() {
    let mut request = post("/v1/responses");
    request.extensions_mut().insert(BodyIds::default().not_kept());
    let holders = noting(request, "application/json", PLAIN, "").await;
    assert_eq!(holder(&holders, None, "resp_1").await, None);
}

#[tokio::test]
async fn an_answer_names_at_most_eight_objects() {
    let answer = "{\"content\":[{\"file_id\":\"f0\"},{\"file_id\":\"f1\"},{\"file_id\":\"f2\"},\
        {\"file_id\":\"f3\"},{\"file_id\":\"f4\"},{\"file_id\":\"f5\"},{\"file_id\":\"f6\"},\
        {\"file_id\":\"f7\"},{\"file_id\":\"f8\"}]}";
    let holders = noting(post("/v1/messages"), "application/json", answer, "").await;
    assert_eq!(holder(&holders, None, "f7").await.as_deref(), Some(A));
    assert_eq!(holder(&holders, None, "f8").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_note_ends_with_its_lifetime_and_a_use_does_not_prolong_it() {
    let store = SharedStore::new(MemoryStore::default());
    let holders = Holders::new(store).lifetime(Duration::from_secs(60));
    holders.note(None, "file_1", &model(A)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(holder(&holders, None, "file_1").await.as_deref(), Some(A));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(holder(&holders, None, "file_1").await, None);
}

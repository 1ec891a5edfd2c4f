//! The client's side: the session of the running task on outgoing requests.

use std::sync::{Arc, Mutex};

use affinity_layer::BoxError;
use affinity_layer::client::{CacheKeyLayer, Session, SessionLayer, WithholdLayer};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::common::header;

const SECRET: [u8; 16] = *b"a secret of ours";

type Sent = Arc<Mutex<Vec<(HeaderMap, String)>>>;
type Client = BoxCloneSyncService<Request<Full<Bytes>>, Response<()>, BoxError>;

/// Notes what is sent.
fn client(sent: &Sent, withholds: bool) -> Client {
    let sent = sent.clone();
    let transport = service_fn(move |request: Request<Full<Bytes>>| {
        let sent = sent.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body = String::from_utf8(body.into()).unwrap();
            sent.lock().unwrap().push((head.headers, body));
            Ok::<_, BoxError>(Response::new(()))
        }
    });
    let client = ServiceBuilder::new()
        .layer(SessionLayer::new())
        .layer(CacheKeyLayer::new(SECRET).limit(100))
        .option_layer(withholds.then(WithholdLayer::new))
        .service(transport);
    BoxCloneSyncService::new(client.map_err(BoxError::from))
}

fn request(path: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("content-type", "application/json")
        .header("content-length", body.len())
        .body(Full::from(body))
        .unwrap()
}

/// What is sent for `request` in the scope of `session`.
async fn sent(session: &str, request: Request<Full<Bytes>>) -> (HeaderMap, String) {
    let sent = Sent::default();
    let call = client(&sent, false).oneshot(request);
    Session::new(session).unwrap().scope(call).await.unwrap();
    let (headers, body) = sent.lock().unwrap().pop().unwrap();
    (headers, body)
}

#[tokio::test]
async fn the_session_of_the_task_is_stamped_as_header_and_as_a_hash_that_hides_it() {
    let (headers, body) = sent("task-1", request("/v1/chat/completions", r#"{"n": 1.0}"#)).await;
    assert_eq!(header(&headers, "x-model-affinity"), "task-1");
    let name = Session::new("task-1").unwrap().hashed(&SECRET);
    assert_eq!(body, format!(r#"{{"prompt_cache_key":"{name}","n": 1.0}}"#));
    assert_eq!(header(&headers, "content-length"), body.len().to_string());
    assert!(!body.contains("task-1"));
    let (_, other) = sent("task-2", request("/v1/chat/completions", r#"{"n": 1.0}"#)).await;
    assert_ne!(other, body);
}

#[tokio::test]
async fn what_a_request_says_itself_is_never_overwritten() {
    let body = r#"{"prompt_cache_key":"mine"}"#;
    let mut named = request("/v1/responses", body);
    named.headers_mut().insert("x-session-id", "own".parse().unwrap());
    let (headers, unchanged) = sent("task-1", named).await;
    assert_eq!((header(&headers, "x-model-affinity"), unchanged.as_str()), ("", body));
    assert_eq!(header(&headers, "x-session-id"), "own");
}

#[tokio::test]
async fn bodies_that_cannot_take_a_cache_key_go_on_as_they_are() {
    let long: &'static str = format!("{{\"a\":\"{}\"}}", "x".repeat(100)).leak();
    for (path, body) in [
        ("/v1/messages", "{}"),
        ("/v1/responses", "[]"),
        ("/v1/responses", "no json"),
        ("/v1/responses", r#"{"model":1,"model":2}"#),
        ("/v1/responses", long),
    ] {
        let (headers, unchanged) = sent("task-1", request(path, body)).await;
        assert_eq!((unchanged.as_str(), header(&headers, "x-model-affinity")), (body, "task-1"));
        assert_eq!(header(&headers, "content-length"), body.len().to_string());
    }
    let mut untyped = request("/v1/responses", "{}");
    untyped.headers_mut().remove("content-type");
    assert_eq!(sent("task-1", untyped).await.1, "{}");
}

#[tokio::test]
async fn outside_of_a_scope_nothing_is_stamped_and_a_spawned_task_is_outside() {
    let sent = Sent::default();
    let client = client(&sent, false);
    let call = || client.clone().oneshot(request("/v1/responses", "{}"));
    call().await.unwrap();
    let session = Session::new("task-1").unwrap();
    session
        .scope(async {
            tokio::spawn(call()).await.unwrap().unwrap();
            tokio::spawn(Session::inherit(call())).await.unwrap().unwrap();
        })
        .await;
    let sent = sent.lock().unwrap();
    let stamped: Vec<_> =
        sent.iter().map(|(headers, _)| header(headers, "x-model-affinity")).collect();
    assert_eq!(stamped, ["", "", "task-1"]);
    assert_eq!(sent[0].1, "{}");
}

#[tokio::test]
async fn no_header_that_names_a_session_leaves_where_they_are_withheld() {
    let sent = Sent::default();
    let mut request = request("/v1/responses", "{}");
    for name in ["x-claude-code-session-id", "session-id", "x-parent-session-id", "accept"] {
        request.headers_mut().insert(name, "1".parse().unwrap());
    }
    let call = client(&sent, true).oneshot(request);
    Session::new("task-1").unwrap().scope(call).await.unwrap();
    let (headers, body) = sent.lock().unwrap().pop().unwrap();
    let mut names: Vec<_> = headers.keys().map(|name| name.as_str().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["accept", "content-length", "content-type"]);
    assert!(body.starts_with("{\"prompt_cache_key\":"), "it is no id");
}

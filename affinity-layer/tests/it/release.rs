//! A final request keeps its pin until the response has ended.

use std::convert::Infallible;

use affinity_layer::{AffinityLayer, AnswerLayer, MemoryStore};
use axum::body::{Body, Bytes};
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use crate::common::*;

type Chunk = Result<Bytes, std::io::Error>;

/// Answers with a stream that the test feeds.
fn streaming(
    store: &MemoryStore,
) -> (
    mpsc::Sender<Chunk>,
    impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone,
) {
    let (sender, receiver) = mpsc::channel::<Chunk>(4);
    let receiver = std::sync::Arc::new(std::sync::Mutex::new(Some(receiver)));
    let handler = move |_: Request<Body>| {
        let body = receiver.lock().unwrap().take();
        let body = body.map_or(Body::empty(), |body| Body::from_stream(ReceiverStream::new(body)));
        let response = Response::builder().header("content-type", "text/event-stream");
        async move { Ok::<_, Infallible>(response.body(body).unwrap()) }
    };
    let service = ServiceBuilder::new()
        .layer(AffinityLayer::new(store.clone(), Calls::default().router()))
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(AnswerLayer::new().final_answer(true))
        .service(service_fn(handler));
    (sender, service)
}

fn turn() -> Request<Body> {
    post(&[("x-model-affinity", "s")])
}

fn event(reason: &str) -> Chunk {
    let choice = format!(r#"{{"delta":{{}},"finish_reason":{reason}}}"#);
    Ok(Bytes::from(format!("data: {{\"choices\":[{choice}]}}\n\n")))
}

fn last_turn() -> Request<Body> {
    post(&[("x-model-affinity", "s"), ("x-plano-affinity", "final")])
}

#[tokio::test]
async fn the_pin_stands_while_the_stream_runs_and_ends_with_it() {
    let store = MemoryStore::default();
    let (sender, service) = streaming(&store);
    let mut body = service.oneshot(last_turn()).await.unwrap().into_body();
    sender.send(Ok(Bytes::from("data: 1\n\n"))).await.unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: 1\n\n");
    assert_eq!(store.len(), 1);
    drop(sender);
    assert!(body.frame().await.is_none());
    assert!(store.is_empty());
}

#[tokio::test]
async fn a_stream_that_breaks_keeps_the_pin() {
    let store = MemoryStore::default();
    let (sender, service) = streaming(&store);
    let mut body = service.oneshot(last_turn()).await.unwrap().into_body();
    sender.send(Err(std::io::Error::other("reset"))).await.unwrap();
    assert!(body.frame().await.unwrap().is_err());
    drop((sender, body));
    assert_eq!(store.len(), 1);
}

#[tokio::test]
async fn a_client_that_hangs_up_keeps_the_pin() {
    let store = MemoryStore::default();
    let (sender, service) = streaming(&store);
    let mut body = service.oneshot(last_turn()).await.unwrap().into_body();
    sender.send(Ok(Bytes::from("data: 1\n\n"))).await.unwrap();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(store.len(), 1);
}

/// The client has its answer with this piece, though the provider keeps the stream open.
#[tokio::test]
async fn the_pin_goes_with_the_piece_that_ends_the_answer() {
    let done = |last: &str| format!("data: {{\"stop_reason\":\"end_turn\"}}\n\n{last}\n\n");
    let completed = r#"{"type":"response.completed","response":{"status":"completed"}}"#;
    for last in ["data: [DONE]", "data: {\"type\":\"message_stop\"}", &format!("data: {completed}")]
    {
        for request in [turn(), last_turn()] {
            let store = MemoryStore::default();
            let (sender, service) = streaming(&store);
            let mut body = service.clone().oneshot(request).await.unwrap().into_body();
            sender.send(event("null")).await.unwrap();
            assert!(body.frame().await.unwrap().is_ok() && store.len() == 1, "not before");
            sender.send(Ok(Bytes::from(done(last)))).await.unwrap();
            let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!((store.len(), piece), (0, done(last).into()), "{last}");
            service.oneshot(turn()).await.unwrap();
            drop(sender);
            assert!(body.frame().await.is_none());
            assert_eq!(store.len(), 1, "the end of the body ends no newer pin");
        }
    }
}

#[tokio::test]
async fn a_stream_that_breaks_after_its_end_has_released() {
    let store = MemoryStore::default();
    let (sender, service) = streaming(&store);
    let body = service.oneshot(last_turn()).await.unwrap().into_body();
    sender.send(Ok(Bytes::from("data: [DONE]\n\n"))).await.unwrap();
    sender.send(Err(std::io::Error::other("reset"))).await.unwrap();
    assert!(body.collect().await.is_err());
    assert!(store.is_empty());
}

/// A body of declared length whose end comes in a frame of its own, as over HTTP/2.
#[derive(Debug)]
struct Declared(&'static [u8]);

impl http_body::Body for Declared {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        let data = Bytes::from_static(std::mem::take(&mut self.0));
        std::task::Poll::Ready((!data.is_empty()).then(|| Ok(http_body::Frame::data(data))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.0.len() as u64)
    }
}

#[tokio::test]
async fn a_body_of_declared_length_ends_with_its_last_byte() {
    let store = MemoryStore::default();
    let handler = async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Declared(b"all")));
    let service = ServiceBuilder::new()
        .layer(AffinityLayer::new(store.clone(), Calls::default().router()))
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(AnswerLayer::new())
        .service(service_fn(handler));
    let mut body = service.oneshot(last_turn()).await.unwrap().into_body();
    assert_eq!(store.len(), 1);
    body.frame().await.unwrap().unwrap();
    assert!(store.is_empty(), "nobody polls again");
}

#[tokio::test]
async fn a_response_without_a_body_ends_at_once() {
    let store = MemoryStore::default();
    let (_sender, service) = streaming(&store);
    service.clone().oneshot(post(&[("x-model-affinity", "s")])).await.unwrap();
    assert_eq!(store.len(), 1);
    let response = service.oneshot(last_turn()).await.unwrap();
    assert_eq!(header(response.headers(), "x-plano-affinity"), "hit");
    assert!(store.is_empty());
}

/// Whether the pin stands after a turn whose stream had these chunks and then ended as told.
async fn stands_after(chunks: Vec<Chunk>, ends: bool) -> bool {
    let store = MemoryStore::default();
    let (sender, service) = streaming(&store);
    let mut body = service.oneshot(turn()).await.unwrap().into_body();
    for chunk in chunks {
        sender.send(chunk).await.unwrap();
        let _ = body.frame().await.unwrap();
        assert_eq!(store.len(), 1, "not before the end");
    }
    if ends {
        drop(sender);
        assert!(body.frame().await.is_none());
    }
    drop(body);
    !store.is_empty()
}

#[tokio::test]
async fn the_pin_goes_when_the_model_says_that_it_is_done() {
    let (text, stop, tool) = (|| event("null"), || event("\"stop\""), || event("\"tool_calls\""));
    assert!(!stands_after(vec![text(), stop()], true).await);
    assert!(stands_after(vec![text(), tool()], true).await, "the loop goes on");
    assert!(stands_after(vec![text()], true).await, "it has not said");
}

#[tokio::test]
async fn a_client_may_hang_up_with_the_last_event_and_not_before() {
    assert!(!stands_after(vec![event("null"), event("\"stop\"")], false).await);
    assert!(stands_after(vec![event("null")], false).await);
    assert!(stands_after(vec![event("\"tool_calls\"")], false).await);
}

#[tokio::test]
async fn a_stream_that_breaks_after_the_reason_keeps_the_pin() {
    let broken = || Err(std::io::Error::other("reset"));
    assert!(stands_after(vec![event("\"stop\""), broken()], false).await);
}

#[tokio::test]
async fn plain_answers_of_the_other_protocols_release_too() {
    for (status, encoding, body, released) in [
        (200, "identity", r#"{"stop_reason":"end_turn"}"#, true),
        (200, "identity", r#"{"stop_reason":"tool_use"}"#, false),
        (200, "identity", r#"{"status":"completed","output":[]}"#, true),
        (200, "identity", r#"{"status":"completed","output":[{"type":"function_call"}]}"#, false),
        (200, "gzip", r#"{"stop_reason":"end_turn"}"#, false),
        (500, "identity", r#"{"stop_reason":"end_turn"}"#, false),
    ] {
        let store = MemoryStore::default();
        let handler = move |_: Request<Body>| async move {
            let response = Response::builder().status(status);
            let response = response.header("content-type", "application/json");
            let response = response.header("content-encoding", encoding);
            Ok::<_, Infallible>(response.body(Body::from(body)).unwrap())
        };
        let service = ServiceBuilder::new()
            .layer(AffinityLayer::new(store.clone(), Calls::default().router()))
            .map_response(|response: Response<_>| response.map(Body::new))
            .layer(AnswerLayer::new().final_answer(true))
            .service(service_fn(handler));
        let response = service.oneshot(turn()).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);
        assert_eq!(store.is_empty(), released, "{status} {encoding} {body}");
    }
}

#[tokio::test]
async fn an_old_turn_does_not_release_a_newer_pin() {
    let store = MemoryStore::default();
    let (sender, service) = streaming(&store);
    let mut old = service.clone().oneshot(turn()).await.unwrap().into_body();
    let refresh = post(&[("x-model-affinity", "s"), ("x-plano-affinity", "refresh")]);
    service.oneshot(refresh).await.unwrap();
    sender.send(event("\"stop\"")).await.unwrap();
    drop(sender);
    old.frame().await.unwrap().unwrap();
    assert!(old.frame().await.is_none());
    assert_eq!(store.len(), 1);
}

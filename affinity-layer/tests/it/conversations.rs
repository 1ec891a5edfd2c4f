//! Conversations of the Responses API, which go on by the id of one of their responses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use affinity_layer::{
    AffinityLayer, AnswerLayer, BodyId, BoxError, Expiry, FailoverLayer, Fingerprint, MemoryStore,
    PinnedModel, Scope,
};
use axum::body::{Body, Bytes};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::common::*;

const PATH: &str = "/v1/responses";

/// A provider that gives ids in turn, plain or in a stream; `vendor/m1` can be made to fail.
#[derive(Clone, Default)]
struct Provider {
    streams: bool,
    ids: Arc<AtomicUsize>,
    m1_fails: Arc<AtomicBool>,
}

impl Provider {
    fn answer(&self, request: &Request<Full<Bytes>>) -> Response<Body> {
        let model = request.extensions().get::<PinnedModel>().unwrap().model();
        let response = Response::builder();
        if model.as_str() == "vendor/m1" && self.m1_fails.load(Ordering::SeqCst) {
            return response.status(503).body(Body::empty()).unwrap();
        }
        let id = format!("resp_{}", self.ids.fetch_add(1, Ordering::SeqCst) + 1);
        let whole = json!({"object": "response", "output": [{"id": "msg_1"}], "id": id});
        if !self.streams {
            let response = response.header("content-type", "application/json");
            return response.body(Body::from(whole.to_string())).unwrap();
        }
        let events = ["response.created", "response.completed"].map(|kind| {
            let data = json!({"type": kind, "response": whole});
            Ok::<_, BoxError>(format!("event: {kind}\ndata: {data}\n\n"))
        });
        let response = response.header("content-type", "text/event-stream");
        response.body(Body::from_stream(tokio_stream::iter(events))).unwrap()
    }
}

type Service = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, BoxError>;

fn stacked(layer: AffinityLayer<MemoryStore>, provider: &Provider) -> Service {
    unlinked(layer.body_ids([BodyId::PreviousResponseId]), provider)
}

/// The same without a setting that follows responses.
fn unlinked(layer: AffinityLayer<MemoryStore>, provider: &Provider) -> Service {
    let provider = provider.clone();
    let service = ServiceBuilder::new()
        .layer(layer)
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(AnswerLayer::new())
        .layer(FailoverLayer::new())
        .service(service_fn(move |request| {
            let response = provider.answer(&request);
            async move { Ok::<_, BoxError>(response) }
        }));
    BoxCloneSyncService::new(service)
}

/// The service, its store, and the router's calls.
fn gateway(provider: &Provider) -> (Service, MemoryStore, Calls) {
    let (store, calls) = (MemoryStore::default(), Calls::default());
    let layer = AffinityLayer::new(store.clone(), calls.router());
    (stacked(layer, provider), store, calls)
}

fn begins() -> Request<Full<Bytes>> {
    request(&json!({"input": "hello"}))
}

fn follows(id: &str) -> Request<Full<Bytes>> {
    request(&json!({"input": "and now?", "previous_response_id": id}))
}

fn request(body: &Value) -> Request<Full<Bytes>> {
    Request::post(PATH).body(Full::from(body.to_string())).unwrap()
}

/// What was said, and the id of the response.
async fn ask(service: &Service, request: Request<Full<Bytes>>) -> (Said, String) {
    let (head, body) = service.clone().oneshot(request).await.unwrap().into_parts();
    let told = |name| header(&head.headers, name).to_owned();
    let said = Said {
        status: head.status.as_u16(),
        model: told("x-plano-model"),
        pinned: told("x-plano-pinned"),
        affinity: told("x-plano-affinity"),
    };
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let id = body.split('"').find(|text| text.starts_with("resp_")).unwrap_or_default();
    (said, id.to_owned())
}

#[tokio::test]
async fn a_conversation_holds_its_model_plain_and_streamed() {
    for streams in [false, true] {
        let (service, _, calls) = gateway(&Provider { streams, ..Provider::default() });
        let (first, mut id) = ask(&service, begins()).await;
        assert_eq!(first, said("vendor/m1", false, "claimed"));
        let (other, _) = ask(&service, begins()).await;
        assert_eq!(other, said("vendor/m2", false, "claimed"), "another conversation");
        for _ in 0..4 {
            let (later, next) = ask(&service, follows(&id)).await;
            assert_eq!(later, said("vendor/m1", true, "hit"), "streams: {streams}");
            id = next;
        }
        assert_eq!(calls.count(), 2);
    }
}

#[tokio::test]
async fn what_branches_off_from_an_older_response_is_the_same_conversation() {
    let (service, _, calls) = gateway(&Provider::default());
    let (_, first) = ask(&service, begins()).await;
    let (_, second) = ask(&service, follows(&first)).await;
    for id in [&first, &second, &first] {
        assert_eq!(ask(&service, follows(id)).await.0, said("vendor/m1", true, "hit"));
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn a_session_that_moves_moves_for_all_of_its_responses() {
    let provider = Provider::default();
    let (service, _, _) = gateway(&provider);
    let (_, first) = ask(&service, begins()).await;
    let (_, second) = ask(&service, follows(&first)).await;
    provider.m1_fails.store(true, Ordering::SeqCst);
    let (moved, third) = ask(&service, follows(&first)).await;
    assert_eq!(moved, said("vendor/spare", false, "repinned"));
    for id in [&first, &second, &third] {
        assert_eq!(ask(&service, follows(id)).await.0, said("vendor/spare", true, "hit"));
    }
}

#[tokio::test]
async fn an_id_that_is_not_known_begins_a_conversation() {
    let (service, store, calls) = gateway(&Provider::default());
    let (unknown, id) = ask(&service, follows("resp_of_another_time")).await;
    assert_eq!(unknown, said("vendor/m1", false, "claimed"));
    assert_eq!(ask(&service, follows(&id)).await.0, said("vendor/m1", true, "hit"));
    assert_eq!((calls.count(), store.len()), (1, 3), "a pin and two links");
}

#[tokio::test]
async fn what_nobody_can_go_on_with_is_not_kept() {
    let (service, store, _) = gateway(&Provider::default());
    for body in [
        json!({"input": "hello", "store": false}),
        json!({"input": "hello", "conversation": "conv_1"}),
    ] {
        assert_eq!(ask(&service, request(&body)).await.0.affinity, "none", "{body}");
    }
    let chat = Request::post("/v1/chat/completions").body(Full::from("{}")).unwrap();
    assert_eq!(ask(&service, chat).await.0.affinity, "none");
    assert!(store.is_empty());
    let (first, id) = ask(&service, begins()).await;
    let last = request(&json!({"previous_response_id": id, "store": false}));
    assert_eq!(ask(&service, last).await.0, said(&first.model, true, "hit"));
}

#[tokio::test]
async fn no_tenant_follows_the_response_of_another() {
    let (service, _, _) = gateway(&Provider::default());
    let of = |tenant: &str, mut request: Request<Full<Bytes>>| {
        request.extensions_mut().insert(Scope::new(tenant).unwrap());
        request
    };
    let (_, id) = ask(&service, of("a", begins())).await;
    let (theirs, _) = ask(&service, of("b", follows(&id))).await;
    assert_eq!(theirs, said("vendor/m2", false, "claimed"));
    assert_eq!(ask(&service, follows(&id)).await.0, said("vendor/m3", false, "claimed"));
    let ours = ask(&service, of("a", follows(&id))).await.0;
    assert_eq!(ours, said("vendor/m1", true, "hit"));
}

#[tokio::test]
async fn a_link_and_a_pin_cannot_be_named_by_a_header() {
    let (service, _, _) = gateway(&Provider::default());
    let (_, id) = ask(&service, begins()).await;
    for forged in [id.clone(), format!("%response={id}")] {
        let mut request = follows(&id);
        request.headers_mut().insert("x-model-affinity", forged.parse().unwrap());
        assert_eq!(ask(&service, request).await.0.affinity, "claimed", "{forged}");
    }
}

#[tokio::test]
async fn a_session_with_an_id_of_its_own_needs_no_links() {
    let (service, store, _) = gateway(&Provider::default());
    let mut named = begins();
    named.headers_mut().insert("x-model-affinity", "s".parse().unwrap());
    ask(&service, named).await;
    assert_eq!(store.len(), 1);
}

#[tokio::test]
async fn a_conversation_that_is_known_by_what_was_said_goes_on_by_its_responses() {
    let calls = Calls::default();
    let layer = layer(calls.router()).fingerprint(Fingerprint::new("secret"));
    let service = unlinked(layer, &Provider::default());
    let (first, id) = ask(&service, begins()).await;
    assert_eq!(first, said("vendor/m1", false, "claimed"));
    let (stranger, other) = ask(&service, begins()).await;
    assert_eq!(stranger, said("vendor/m2", false, "claimed"), "a stranger says the same");
    assert_eq!(ask(&service, follows(&id)).await.0, said("vendor/m1", true, "hit"));
    assert_eq!(ask(&service, follows(&other)).await.0, said("vendor/m2", true, "hit"));
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_link_lives_as_long_as_a_pin_may() {
    let calls = Calls::default();
    let (idle, age) = (Duration::from_secs(10), Duration::from_secs(60));
    let layer = layer(calls.router()).expiry(Expiry::sliding(idle, age));
    let service = stacked(layer, &Provider::default());
    let (_, first) = ask(&service, begins()).await;
    let mut last = first.clone();
    for _ in 0..5 {
        tokio::time::advance(Duration::from_secs(9)).await;
        last = ask(&service, follows(&last)).await.1;
    }
    // 45 s after the first, of which the last 9 without a use.
    assert_eq!(ask(&service, follows(&first)).await.0, said("vendor/m1", true, "hit"));
    tokio::time::advance(Duration::from_secs(11)).await;
    let idle = ask(&service, follows(&last)).await.0;
    assert_eq!(idle, said("vendor/m2", false, "claimed"), "the pin ended, and nothing else");
    assert_eq!(ask(&service, follows(&last)).await.0, said("vendor/m2", true, "hit"));
}

#[tokio::test]
async fn the_session_ends_with_a_final_request_for_all_responses() {
    let (service, _, _) = gateway(&Provider::default());
    let (_, first) = ask(&service, begins()).await;
    let mut last = follows(&first);
    last.headers_mut().insert("x-plano-affinity", "final".parse().unwrap());
    assert_eq!(ask(&service, last).await.0, said("vendor/m1", true, "hit"));
    assert_eq!(ask(&service, follows(&first)).await.0, said("vendor/m2", false, "claimed"));
    assert_eq!(ask(&service, follows(&first)).await.0, said("vendor/m2", true, "hit"));
}

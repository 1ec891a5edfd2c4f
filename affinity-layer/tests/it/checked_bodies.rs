//! Bodies that are checked before they are routed, and sent on with the model replaced.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::Mutex;

use affinity_layer::body::{
    BodyError, BodyRefusal, CheckBodyLayer, MediaError, ModelBody, ModelBodyLayer,
};
use affinity_layer::{AffinityLayer, BoxError, FailoverLayer, MemoryStore, ModelName, PinnedModel};
use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use tokio_stream::StreamExt as _;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::common::*;

/// What the provider was sent: the model it stands for, the declared length, and the body.
type Received = Arc<Mutex<Vec<(String, String, String)>>>;

/// The stack of the docs over a provider that fails for the models in `failing`.
fn stacked(calls: &Calls, received: &Received, failing: &'static [&'static str]) -> Stack {
    stacked_with(CheckBodyLayer::new().limit(1000), calls, received, failing)
}

fn stacked_with(
    check: CheckBodyLayer,
    calls: &Calls,
    received: &Received,
    failing: &'static [&'static str],
) -> Stack {
    let received = received.clone();
    let provider = service_fn(move |request: Request<ModelBody<Body>>| {
        let received = received.clone();
        async move {
            let model = request.extensions().get::<PinnedModel>().map(|it| it.model().to_string());
            let length = header(request.headers(), "content-length").to_owned();
            let body = request.into_body().collect().await;
            let Ok(body) = body else {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::IM_A_TEAPOT;
                return Ok::<_, Infallible>(response);
            };
            let body = String::from_utf8(body.to_bytes().into()).unwrap();
            let model = model.unwrap_or_default();
            let has_failed = failing.contains(&model.as_str());
            received.lock().unwrap().push((model.clone(), length, body));
            let mut response = Response::new(Body::empty());
            response.headers_mut().insert("given", model.parse().unwrap());
            if has_failed {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            Ok(response)
        }
    });
    let service = ServiceBuilder::new()
        .layer(check)
        .layer(AffinityLayer::new(MemoryStore::default(), calls.router()))
        .layer(FailoverLayer::new())
        .layer(ModelBodyLayer::new().named(|model: &ModelName| {
            model.as_str().split_once('/').map_or(model.as_str(), |(_, id)| id)
        }))
        .service(provider);
    BoxCloneSyncService::new(service.map_err(BoxError::from))
}

fn json(body: impl Into<Body>) -> Request<Body> {
    Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .header("x-model-affinity", "s")
        .body(body.into())
        .unwrap()
}

#[tokio::test]
async fn the_model_is_replaced_and_every_other_byte_is_the_clients() {
    let (calls, received) = (Calls::default(), Received::default());
    let service = stacked(&calls, &received, &[]);
    let client =
        " {\"n\" : 1.50,\t\"model\":\"auto\" , \"tools\":[{\"model\":\"x\"}],\"é\":\"\\u00e9\"}\n";
    let expected = client.replace("auto", "m1");
    for affinity in ["claimed", "hit"] {
        assert_eq!(send(&service, json(client)).await.affinity, affinity);
        let (model, length, body) = received.lock().unwrap().pop().unwrap();
        assert_eq!((model.as_str(), &body), ("vendor/m1", &expected));
        assert_eq!(length, expected.len().to_string());
    }
    // A body without a model stays without one.
    send(&service, json("{}")).await;
    assert_eq!(received.lock().unwrap().pop().unwrap().2, "{}");
}

#[tokio::test]
async fn each_attempt_has_its_own_model_in_the_same_bytes() {
    let (calls, received) = (Calls::default(), Received::default());
    let service = stacked(&calls, &received, &["vendor/m1"]);
    let said = send(&service, json(r#"{"model":"auto"}"#)).await;
    assert_eq!((said.affinity.as_str(), said.model.as_str()), ("repinned", "vendor/spare"));
    let bodies: Vec<_> = received.lock().unwrap().iter().map(|(_, _, body)| body.clone()).collect();
    assert_eq!(bodies, [r#"{"model":"m1"}"#, r#"{"model":"spare"}"#]);
}

#[tokio::test]
async fn what_is_refused_is_not_routed_and_makes_no_pin() {
    let (calls, received) = (Calls::default(), Received::default());
    let service = stacked(&calls, &received, &[]);
    let typed = |value: &'static str, body: &'static str| {
        let mut request = json(body);
        request.headers_mut().insert("content-type", value.parse().unwrap());
        request
    };
    let mut untyped = json("{}");
    untyped.headers_mut().remove("content-type");
    let mut repeated = json("{}");
    repeated.headers_mut().append("content-type", "application/json".parse().unwrap());
    let mut compressed = json("{}");
    compressed.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    let broken = tokio_stream::iter([Ok("{"), Err("broken")]);
    let content = |error| BodyRefusal::Content(error);
    for (request, status, code, refusal) in [
        (untyped, 415, "unsupported_media_type", BodyRefusal::Media(MediaError::NotJson)),
        (
            typed("text/plain", "{}"),
            415,
            "unsupported_media_type",
            BodyRefusal::Media(MediaError::NotJson),
        ),
        (
            typed("application/json; charset=latin1", "{}"),
            400,
            "unsupported_charset",
            BodyRefusal::Media(MediaError::Charset),
        ),
        (
            repeated,
            400,
            "repeated_header",
            BodyRefusal::Media(MediaError::Repeated("content-type")),
        ),
        (compressed, 415, "unsupported_encoding", BodyRefusal::Media(MediaError::Encoding)),
        (json("x".repeat(1001)), 413, "request_too_large", BodyRefusal::TooLarge(1000)),
        (json(Body::from_stream(broken)), 400, "invalid_body", BodyRefusal::Broken),
        (json("[]"), 400, "invalid_json_type", content(BodyError::Type)),
        (
            json(r#"{"model":"a","model":"b"}"#),
            400,
            "duplicate_key",
            content(BodyError::Duplicate("model")),
        ),
        (json(r#"{"Model":"b"}"#), 400, "ambiguous_key", content(BodyError::Disguised("model"))),
        (json(r#"{"stream":1}"#), 400, "invalid_value", content(BodyError::Value("stream"))),
    ] {
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{refusal:?}");
        assert_eq!(response.extensions().get::<BodyRefusal>(), Some(&refusal));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], code, "{body}");
    }
    assert_eq!((calls.count(), received.lock().unwrap().len()), (0, 0));
    assert_eq!(send(&service, json("{}")).await.affinity, "claimed");
}

#[tokio::test]
async fn a_body_of_undeclared_length_is_read_to_the_limit_and_no_further() {
    let (calls, received) = (Calls::default(), Received::default());
    let service = stacked(&calls, &received, &[]);
    let polled = Arc::new(Mutex::new(0));
    let count = polled.clone();
    let endless = tokio_stream::iter(std::iter::repeat_with(move || {
        *count.lock().unwrap() += 1;
        Ok::<_, Infallible>(Bytes::from_static(&[b' '; 100]))
    }));
    let response = service.oneshot(json(Body::from_stream(endless))).await.unwrap();
    assert_eq!((response.status().as_u16(), *polled.lock().unwrap()), (413, 11));
}

#[tokio::test]
async fn what_is_not_checked_streams_through_unread() {
    let (calls, received) = (Calls::default(), Received::default());
    let check = CheckBodyLayer::new().checks(|head: &Parts| head.uri.path() == "/v1/messages");
    let service = stacked_with(check, &calls, &received, &[]);
    let frames = tokio_stream::iter(["not ", "json"])
        .map(|text| Ok::<_, Infallible>(http_body::Frame::data(Bytes::from(text))));
    let mut request = json(Body::new(StreamBody::new(frames)));
    *request.method_mut() = Method::PUT;
    let said = send(&service, request).await;
    assert_eq!((said.status, said.affinity.as_str()), (200, "none"));
    assert_eq!(received.lock().unwrap().pop().unwrap().2, "not json");
    // Routed by its head alone.
    let streamed = send(&service, json("not json")).await;
    assert_eq!((streamed.affinity.as_str(), streamed.model.as_str()), ("claimed", "vendor/m1"));
    assert_eq!(received.lock().unwrap().pop().unwrap().2, "not json");
}

#[tokio::test]
async fn a_streaming_body_is_sent_once_and_never_as_an_empty_one() {
    let (calls, received) = (Calls::default(), Received::default());
    let check = CheckBodyLayer::new().checks(|_: &Parts| false);
    let service = stacked_with(check, &calls, &received, &["vendor/m1"]);
    let response = service.oneshot(json("streamed")).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let received = received.lock().unwrap();
    assert_eq!(received.len(), 1, "the second attempt has no body to send");
    assert_eq!(received[0].2, "streamed");
}

#[tokio::test]
async fn an_application_words_its_own_refusals() {
    let refuse = |refusal: &BodyRefusal, head: &Parts| {
        let mut response = Response::new(Body::from(format!("{}: {refusal}", head.uri.path())));
        *response.status_mut() = refusal.status();
        response
    };
    let provider = service_fn(async |_: Request<affinity_layer::body::CheckedBody<Body>>| {
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let service = ServiceBuilder::new()
        .layer(CheckBodyLayer::new().with_refusal_response(refuse))
        .service(provider);
    let response = service.oneshot(json(r#"{"stream":1}"#)).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "/v1/chat/completions: stream has an invalid value");
}

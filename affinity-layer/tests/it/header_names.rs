//! A service that speaks under names of its own has nothing of ours in any exchange.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use affinity_layer::headers::HeaderNames;
use affinity_layer::{AffinityLayer, AnswerLayer, MemoryStore, PinnedModel};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_http::ServiceBuilderExt;

use crate::common::*;

/// What the service behind the layer was sent, in order.
type Received = Arc<Mutex<Vec<HeaderMap>>>;

/// A service whose provider claims to be the layer, in its head and in its trailers, under two prefixes.
fn service(names: HeaderNames) -> (Stack, Received) {
    let received = Received::default();
    let log = received.clone();
    let provider = service_fn(move |request: Request<Body>| {
        log.lock().unwrap().push(request.headers().clone());
        let trailers = [("x-acme-model", "forged"), ("x-other-model", "kept")];
        let trailers =
            trailers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let frames = [
            Frame::data(Bytes::from_static(b"{}")),
            Frame::trailers(HeaderMap::from_iter(trailers)),
        ];
        let frames = frames.map(Ok::<_, Infallible>);
        let mut response = Response::new(Body::new(StreamBody::new(tokio_stream::iter(frames))));
        for name in ["x-acme-model", "x-acme-epoch", "x-acme-healed"] {
            response.headers_mut().insert(name, HeaderValue::from_static("forged"));
        }
        async move { Ok::<_, Infallible>(response) }
    });
    let affinity = AffinityLayer::new(MemoryStore::default(), Calls::default().router())
        .header_names(names)
        .expose_epoch(true);
    let service = ServiceBuilder::new()
        .layer(affinity)
        .map_response_body(Body::new)
        .layer(AnswerLayer::new().final_answer(true))
        .service(provider);
    (Stack::new(service.map_err(Into::into)), received)
}

/// The whole answer as text, trailers included.
async fn exchange(service: &Stack, request: Request<Body>) -> String {
    let response = service.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned();
    format!("{} {:?} {:?} {trailers:?}", head.status, head.headers, body.to_bytes())
}

#[tokio::test]
async fn nothing_is_left_of_the_default_names_under_another_prefix() {
    let (service, received) = service(HeaderNames::prefixed("x-acme").unwrap());
    let session = ("x-session-id", "s");
    for (control, said) in [
        (None, r#""x-acme-affinity": "claimed""#),
        (None, r#""x-acme-affinity": "hit""#),
        (Some("bypass"), r#""x-acme-affinity": "bypass""#),
        (Some("refresh"), r#""x-acme-affinity": "refreshed""#),
        (Some("final"), r#""x-acme-affinity": "hit""#),
        (None, r#""x-acme-affinity": "claimed""#),
        (Some("finale"), "the affinity control takes one of: bypass, refresh, final"),
    ] {
        let mut headers = vec![session, ("x-acme-model", "mine"), ("x-acme-pinned", "true")];
        headers.extend(control.map(|control| ("x-acme-affinity", control)));
        let answer = exchange(&service, post(&headers)).await;
        assert!(answer.contains(said), "{control:?}: {answer}");
        assert!(!answer.contains("x-plano"), "{answer}");
        assert!(!answer.contains("forged"), "{answer}");
        if answer.starts_with("200") {
            assert!(answer.contains("x-acme-model") && answer.contains("x-acme-route"), "{answer}");
            assert!(answer.contains(r#""x-other-model": "kept""#), "{answer}");
        }
    }
    let mut health = post(&[("x-acme-affinity", "bypass")]);
    *health.method_mut() = Method::GET;
    let answer = exchange(&service, health).await;
    assert!(answer.contains(r#""x-acme-affinity": "none""#) && !answer.contains("x-plano"));
    for headers in received.lock().unwrap().iter() {
        let ours = headers.keys().find(|name| name.as_str().starts_with("x-acme"));
        assert_eq!(ours, None, "a client speaks in the layer's name");
        assert!(headers.keys().all(|name| !name.as_str().starts_with("x-plano")));
    }
}

#[tokio::test]
async fn under_another_prefix_the_default_names_are_headers_like_any_other() {
    let (service, received) = service(HeaderNames::prefixed("x-acme").unwrap());
    for (control, said) in [("anything", "claimed"), ("bypass", "hit")] {
        let request = post(&[("x-session-id", "s"), ("x-plano-affinity", control)]);
        let answer = exchange(&service, request).await;
        assert!(answer.contains(&format!(r#""x-acme-affinity": "{said}""#)), "{answer}");
        let received = received.lock().unwrap().pop().unwrap();
        assert_eq!(header(&received, "x-plano-affinity"), control);
    }
}

#[tokio::test]
async fn without_names_nothing_is_said_and_nothing_controlled() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let handler = service_fn(move |request: Request<Body>| {
        let model = request.extensions().get::<PinnedModel>().unwrap();
        log.lock().unwrap().push((model.model().to_string(), model.outcome().as_str()));
        async { Ok::<_, Infallible>(Response::new(Body::empty())) }
    });
    let affinity = layer(Calls::default().router()).header_names(HeaderNames::none());
    let service = affinity.expose_epoch(true).layer(handler);
    for control in ["final", "bypass", "refresh", "no such control"] {
        let request = post(&[("x-session-id", "s"), ("x-plano-affinity", control)]);
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!((response.status().as_u16(), response.headers().len()), (200, 0));
    }
    let refused = service.oneshot(post(&[("x-session-id", "two words")])).await.unwrap();
    assert_eq!(refused.status(), 400);
    assert!(!format!("{:?}", refused.headers()).contains("x-plano"));
    let hit = ("vendor/m1".to_owned(), "hit");
    let claimed = ("vendor/m1".to_owned(), "claimed");
    assert_eq!(*seen.lock().unwrap(), [claimed, hit.clone(), hit.clone(), hit]);
}

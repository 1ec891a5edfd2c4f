//! Bad input and the answer to give; what a client or an upstream may not say in our name.

use std::time::Duration;

use crate::common::*;
use affinity_layer::{AffinityLayer, MemoryStore, Rejection, Scope};
use axum::body::Body;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use tower::{ServiceBuilder, ServiceExt, service_fn};

pub(crate) async fn refusal(service: &Stack, request: Request<Body>) -> (u16, String, String) {
    let response = service.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    assert!(response.extensions().get::<Rejection>().is_some());
    assert_eq!(header(response.headers(), "content-type"), "application/json");
    assert_eq!(header(response.headers(), "x-plano-pinned"), "false");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let error = &body["error"];
    assert!(error["type"].is_string() && error["param"].is_null(), "{error}");
    let text = |name: &str| error[name].as_str().unwrap().to_owned();
    (status, text("code"), text("message"))
}

fn session(values: &[&[u8]]) -> Request<Body> {
    let mut request = post(&[]);
    for value in values {
        let value = HeaderValue::from_bytes(value).unwrap();
        request.headers_mut().append("x-model-affinity", value);
    }
    request
}

#[tokio::test]
async fn bad_session_ids_are_400() {
    let calls = Calls::default();
    let service = stack(layer(calls.router()));
    let long = [b'x'; 257];
    let huge = vec![b'x'; 300 * 1024];
    let rows: &[&[&[u8]]] = &[
        &[b""],
        &[b"a,b"],
        &[b"a b"],
        &[b"a\tb"],
        &[&long],
        &[&huge],
        &[b"caf\xc3\xa9"],
        &[b"\xf0\x9f\x98\x80"],
        &[b"\x80\xff"],
        &[b"a", b"b"],
        &[b"a", b"b", b"a"],
    ];
    for row in rows {
        let (status, code, message) = refusal(&service, session(row)).await;
        assert_eq!((status, code.as_str()), (400, "invalid_session_id"), "{row:?}");
        assert!(message.len() < 200, "the value is not echoed");
    }
    let (_, _, message) = refusal(&service, session(&[&long])).await;
    assert!(message.contains("256"), "{message}");
    assert_eq!(calls.count(), 0);
}

#[tokio::test]
async fn odd_but_valid_session_ids_are_opaque() {
    let store = MemoryStore::default();
    let service = stack(AffinityLayer::new(store.clone(), Calls::default().router()));
    let long = [b'x'; 256];
    let ids: [&[u8]; 9] =
        [&long, b"implicit:0123", b"plano:affinity:x", b"../x", b"*", b"{a}", b"%00", b"A", b"a"];
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(send(&service, session(&[id])).await.affinity, "claimed", "{id:?}");
        assert_eq!(send(&service, session(&[id, id])).await.affinity, "hit");
        assert_eq!(store.len(), n + 1);
    }
}

#[tokio::test]
async fn a_control_that_is_not_known_is_400() {
    let service = stack(layer(Calls::default().router()));
    for value in ["", "Bypass", "release", "bypass,final"] {
        let request = post(&[("x-model-affinity", "s"), ("x-plano-affinity", value)]);
        let (status, code, _) = refusal(&service, request).await;
        assert_eq!((status, code.as_str()), (400, "invalid_affinity_control"), "{value:?}");
    }
    let twice = post(&[("x-plano-affinity", "bypass"), ("x-plano-affinity", "final")]);
    assert_eq!(refusal(&service, twice).await.1, "invalid_affinity_control");
}

#[tokio::test]
async fn with_a_tenant_header_a_session_needs_its_scope() {
    let layer = layer(Calls::default().router());
    let service = stack(layer.tenant_header(HeaderName::from_static("x-tenant")));
    let ask = |tenants: &[&str], id: &str| {
        let mut headers: Vec<_> = tenants.iter().map(|tenant| ("x-tenant", *tenant)).collect();
        headers.push(("x-model-affinity", id));
        post(&headers)
    };
    let long = "t".repeat(129);
    for (tenants, code) in [
        (&[][..], "missing_scope"),
        (&[""], "missing_scope"),
        (&["a", "b"], "invalid_scope"),
        (&["a b"], "invalid_scope"),
        (&[long.as_str()], "invalid_scope"),
    ] {
        let (status, told, _) = refusal(&service, ask(tenants, "s")).await;
        assert_eq!((status, told.as_str()), (400, code), "{tenants:?}");
    }
    for (n, (tenant, id)) in [("a", "b:c"), ("a:b", "c"), ("b", "b:c")].into_iter().enumerate() {
        let expected = said(&format!("vendor/m{}", n + 1), false, "claimed");
        assert_eq!(send(&service, ask(&[tenant], id)).await, expected);
    }
    assert_eq!(send(&service, ask(&["a", "a"], "b:c")).await.model, "vendor/m1");
    assert_eq!(send(&service, post(&[])).await.affinity, "none", "no session, no scope needed");
}

#[tokio::test]
async fn a_scope_from_an_authentication_layer_takes_precedence() {
    let layer = layer(Calls::default().router());
    let service = stack(layer.tenant_header(HeaderName::from_static("x-tenant")));
    let ask = |scope: &str| {
        let mut request = post(&[("x-model-affinity", "s"), ("x-tenant", "spoofed")]);
        request.extensions_mut().insert(Scope::new(scope).unwrap());
        request
    };
    assert_eq!(send(&service, ask("one")).await.affinity, "claimed");
    assert_eq!(send(&service, ask("two")).await.affinity, "claimed");
    assert_eq!(send(&service, ask("one")).await.affinity, "hit");
}

#[tokio::test(start_paused = true)]
async fn beyond_those_that_may_wait_for_a_decision_a_request_is_503_at_once() {
    let calls = Calls::default();
    let pause = Duration::from_secs(1);
    let service = stack(layer(calls.slow_router(pause)).max_waiters(3));
    let began = tokio::time::Instant::now();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move { turn(&service, "s").await })
        })
        .collect();
    tokio::task::yield_now().await;
    let (status, code, _) = refusal(&service, session(&[b"s"])).await;
    assert_eq!((status, code.as_str()), (503, "overloaded"));
    assert_eq!(began.elapsed(), Duration::ZERO);
    for waiter in waiting {
        assert_eq!(waiter.await.unwrap().model, "vendor/m1");
    }
    assert_eq!(turn(&service, "other").await, said("vendor/m2", false, "claimed"));
    assert_eq!(turn(&service, "s").await, said("vendor/m1", true, "hit"));
}

#[tokio::test]
async fn nobody_else_speaks_in_our_name() {
    let layer = layer(Calls::default().router());
    let handler = |request: Request<Body>| async move {
        let ours = ["x-plano-pinned", "x-plano-model", "x-plano-route", "x-plano-affinity"];
        assert!(ours.iter().all(|name| !request.headers().contains_key(*name)));
        let mut response = Response::new(Body::empty());
        for name in ours {
            response.headers_mut().append(name, HeaderValue::from_static("spoofed"));
            response.headers_mut().append(name, HeaderValue::from_static("spoofed again"));
        }
        Ok::<_, std::convert::Infallible>(response)
    };
    let service = ServiceBuilder::new().layer(layer).service(service_fn(handler));
    let spoofed = [
        ("x-plano-pinned", "true"),
        ("x-plano-model", "vendor/wished"),
        ("x-plano-route", "wished"),
        ("x-plano-affinity", "bypass"),
    ];
    let response = service.clone().oneshot(post(&spoofed)).await.unwrap();
    let all = |name: &str| -> Vec<_> { response.headers().get_all(name).iter().collect() };
    assert_eq!(all("x-plano-pinned"), ["false"]);
    assert_eq!(all("x-plano-model"), ["vendor/m1"]);
    assert_eq!(all("x-plano-route"), ["code generation"]);
    assert_eq!(all("x-plano-affinity"), ["bypass"]);
    let mut get = post(&spoofed);
    *get.method_mut() = http::Method::GET;
    let response = service.oneshot(get).await.unwrap();
    assert!(!response.headers().contains_key("x-plano-route"));
    assert!(!response.headers().contains_key("x-plano-model"));
}

#[tokio::test]
async fn a_closure_replaces_the_answer() {
    let layer = layer(Calls::default().router()).with_rejection_response(
        |rejection: &Rejection, parts: &http::request::Parts| {
            Response::new(Body::from(format!("{} {}", parts.uri, rejection.code())))
        },
    );
    let service = ServiceBuilder::new().layer(layer).service(service_fn(echo));
    let response = service.oneshot(post(&[("x-session-id", "")])).await.unwrap();
    assert_eq!(
        response.extensions().get(),
        Some(&Rejection::InvalidSessionId(affinity_layer::key::InvalidPart::Empty))
    );
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "/v1/chat/completions invalid_session_id");
}

//! A session for clients that send nothing, where nothing reads the answers: only the messages of requests
//! count. `recognised.rs` has all that is known with them.

use std::convert::Infallible;

use affinity_layer::affinity::ReadBody;
use affinity_layer::{BodyId, Fingerprint, Rejection, Scope, ext::RequestedModel};
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::spawn_blocking;
use tower::{Layer, ServiceExt, service_fn};

use crate::common::{self, *};

fn guessing(calls: &Calls) -> Stack {
    stack(layer(calls.router()).fingerprint(Fingerprint::new("secret")).model_lanes(true))
}

/// Sends, and lets the task run that links what was said.
async fn send(service: &Stack, request: Request<Body>) -> Said {
    let said = common::send(service, request).await;
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
    said
}

fn sending(body: &Value) -> Request<Body> {
    post(&[]).map(|_| Body::from(body.to_string()))
}

/// The `turn`th request of a conversation that begins with `opening`.
fn turn(opening: &str, turn: usize) -> Request<Body> {
    let mut messages = vec![json!({"role": "user", "content": opening})];
    for n in 1..turn {
        messages.push(json!({"role": "assistant", "content": format!("answer {n}")}));
        messages.push(json!({"role": "user", "content": format!("question {n}")}));
    }
    sending(&json!({"messages": messages}))
}

#[tokio::test]
async fn a_conversation_that_grows_holds_its_model() {
    let calls = Calls::default();
    let service = guessing(&calls);
    assert_eq!(send(&service, turn("hello", 1)).await, said("vendor/m1", false, "claimed"));
    assert_eq!(send(&service, turn("bye", 1)).await, said("vendor/m2", false, "claimed"));
    for n in 2..5 {
        assert_eq!(send(&service, turn("hello", n)).await, said("vendor/m1", true, "hit"));
        assert_eq!(send(&service, turn("bye", n)).await, said("vendor/m2", true, "hit"));
    }
    assert_eq!(calls.count(), 2);
}

#[tokio::test]
async fn an_id_comes_before_the_guess() {
    let service = guessing(&Calls::default());
    let named = |id: &str| {
        let mut request = turn("hello", 1);
        request.headers_mut().insert("x-model-affinity", id.parse().unwrap());
        request
    };
    assert_eq!(send(&service, named("s")).await.affinity, "claimed");
    assert_eq!(send(&service, turn("hello", 1)).await, said("vendor/m2", false, "claimed"));
    assert_eq!(send(&service, named("s")).await, said("vendor/m1", true, "hit"));

    let calls = Calls::default();
    let both = layer(calls.router()).body_ids([BodyId::PromptCacheKey]);
    let service = stack(both.fingerprint(Fingerprint::random()));
    let cached = |id: &str| sending(&json!({"prompt_cache_key": id, "input": "hello"}));
    assert_eq!(send(&service, cached("a")).await.affinity, "claimed");
    assert_eq!(send(&service, cached("b")).await.affinity, "claimed");
    assert_eq!(send(&service, cached("a")).await.affinity, "hit");
}

#[tokio::test]
async fn tenants_with_the_same_opening_do_not_meet() {
    let service = guessing(&Calls::default());
    let of = |tenant: &str| {
        let mut request = turn("hello", 1);
        request.extensions_mut().insert(Scope::new(tenant).unwrap());
        request
    };
    assert_eq!(send(&service, of("a")).await, said("vendor/m1", false, "claimed"));
    assert_eq!(send(&service, of("b")).await, said("vendor/m2", false, "claimed"));
    assert_eq!(send(&service, of("a")).await, said("vendor/m1", true, "hit"));
}

#[tokio::test]
async fn without_the_tenant_that_is_needed_nothing_is_guessed_or_refused() {
    let layer = layer(Calls::default().router()).fingerprint(Fingerprint::random());
    let service = stack(layer.tenant_header(http::HeaderName::from_static("x-tenant")));
    for n in 1..=2 {
        let expected = said(&format!("vendor/m{n}"), false, "none");
        assert_eq!(send(&service, turn("hello", 1)).await, expected);
    }
}

#[tokio::test]
async fn one_opening_for_two_models_is_two_sessions() {
    let service = guessing(&Calls::default());
    let asking = |wanted: &str| {
        let mut request = turn("hello", 1);
        request.extensions_mut().insert(RequestedModel(model(wanted)));
        request
    };
    assert_eq!(send(&service, asking("vendor/a")).await, said("vendor/m1", false, "claimed"));
    assert_eq!(send(&service, asking("vendor/b")).await, said("vendor/m2", false, "claimed"));
    assert_eq!(send(&service, asking("vendor/a")).await, said("vendor/m1", true, "hit"));
}

#[tokio::test]
async fn what_goes_on_elsewhere_or_asks_nothing_has_no_session() {
    let service = guessing(&Calls::default());
    for body in [
        json!({"input": "hello", "previous_response_id": "r"}),
        json!({"input": "hello", "conversation": "c"}),
        json!({"messages": []}),
        json!("hello"),
    ] {
        assert_eq!(send(&service, sending(&body)).await.affinity, "none", "{body}");
    }
}

#[tokio::test]
async fn the_first_request_is_what_is_instructed_and_what_is_asked() {
    let service = guessing(&Calls::default());
    let user = json!({"role": "user", "content": "hello"});
    let told = |role: &str| json!({"messages": [{"role": role, "content": "be brief"}, user]});
    let with = |tools: Value| json!({"messages": [user], "tools": tools});
    for (n, body) in [json!({"messages": [user]}), told("system")].iter().enumerate() {
        let expected = said(&format!("vendor/m{}", n + 1), false, "claimed");
        assert_eq!(send(&service, sending(body)).await, expected, "{body}");
    }
    let nothing = json!({"role": "user", "content": ""});
    let answer = json!({"role": "assistant", "content": "be brief"});
    for (body, same) in [
        (with(json!([])), 1),
        (with(json!([{"type": "function", "function": {"name": "f"}}])), 1),
        // An empty message asks nothing, and what a model said is no instruction.
        (json!({"messages": [nothing, user]}), 1),
        (json!({"messages": [answer, user]}), 1),
        (told("developer"), 2),
    ] {
        let expected = said(&format!("vendor/m{same}"), true, "hit");
        assert_eq!(send(&service, sending(&body)).await, expected, "{body}");
    }
}

/// A body that is examined on another thread, which is told.
struct Apart(Bytes);

tokio::task_local! {
    static EXAMINED: UnboundedSender<usize>;
}

impl ReadBody for Apart {
    async fn read(&mut self, _: usize) -> Result<Bytes, Rejection> {
        Ok(self.0.clone())
    }

    async fn examine<T: Send + 'static>(
        bytes: Bytes,
        work: impl FnOnce(&[u8]) -> T + Send + 'static,
    ) -> Result<T, Rejection> {
        EXAMINED.with(|examined| examined.send(bytes.len())).unwrap();
        Ok(spawn_blocking(move || work(&bytes)).await.unwrap())
    }
}

#[tokio::test]
async fn a_body_examined_elsewhere_has_the_same_session_and_only_one_without_an_id_is() {
    let layer = layer(Calls::default().router()).fingerprint(Fingerprint::new("secret"));
    let here = stack(layer.clone());
    assert_eq!(send(&here, turn("hello", 1)).await, said("vendor/m1", false, "claimed"));

    let answer = |_: Request<Apart>| async { Ok::<_, Infallible>(Response::new(Body::empty())) };
    let elsewhere = layer.layer(service_fn(answer));
    let (sender, mut examined) = unbounded_channel();
    let body = json!({"messages": [{"role": "user", "content": "hello"}]}).to_string();
    for (id, affinity, times) in [(None, "hit", 2), (Some("s"), "claimed", 0)] {
        let mut request = post(&[]).map(|_| Apart(body.clone().into()));
        if let Some(id) = id {
            request.headers_mut().insert("x-model-affinity", id.parse().unwrap());
        }
        let response = EXAMINED.scope(sender.clone(), elsewhere.clone().oneshot(request)).await;
        assert_eq!(header(response.unwrap().headers(), "x-plano-affinity"), affinity);
        // Once for the ids, once for the opening.
        for _ in 0..times {
            assert_eq!(examined.try_recv().unwrap(), body.len());
        }
        assert!(examined.try_recv().is_err());
    }
}

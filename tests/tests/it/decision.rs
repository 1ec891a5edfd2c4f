//! The decision API, and that it and the proxy know the same sessions.

use affinity_tests::models::{DEFAULT, ONE, TWO};
use affinity_tests::{Gateway, ModelRouter, Request, Setup, Upstream, get, post};
use serde_json::{Value, json};

use crate::chat;

const PATHS: [&str; 3] = ["/chat/completions", "/messages", "/responses"];

async fn start() -> (Upstream, ModelRouter, Gateway) {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let gateway = Setup::routed(&upstream, &router).start().await;
    (upstream, router, gateway)
}

fn body(path: &str) -> String {
    match path {
        "/responses" => json!({"model": DEFAULT, "input": "hello"}).to_string(),
        _ => chat(DEFAULT, "hello"),
    }
}

fn decide(path: &str) -> Request {
    post(&format!("/routing/v1{path}"), body(path))
}

fn proxy(path: &str) -> Request {
    post(&format!("/v1{path}"), body(path))
}

/// The decision without its trace id, which is checked here.
fn decision(answer: &affinity_tests::Response) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let mut json = answer.json();
    let trace = json.as_object_mut().unwrap().remove("trace_id").unwrap();
    let trace = trace.as_str().unwrap();
    assert!(trace.len() == 32 && trace.bytes().all(|b| b.is_ascii_hexdigit()), "{trace}");
    json
}

#[tokio::test]
async fn the_answer_has_the_shape_of_the_contract() {
    let (upstream, router, gateway) = start().await;
    // No session: decided each time, and `session_id` is not there.
    let one = json!({"models": [ONE], "model": ONE, "route": "one", "pinned": false});
    let two = json!({"models": [TWO, ONE], "model": TWO, "route": "two", "pinned": false});
    assert_eq!(decision(&gateway.ask(&decide("/chat/completions")).await), one);
    assert_eq!(decision(&gateway.ask(&decide("/messages")).await), two);
    assert_eq!(decision(&gateway.ask(&decide("/responses")).await), one);

    let answer = gateway.ask(&decide("/responses").session("s")).await;
    assert_eq!(answer.affinity(), ("false", "claimed", TWO));
    let mut claimed = two.clone();
    claimed["session_id"] = json!("s");
    assert_eq!(decision(&answer), claimed);
    claimed["pinned"] = json!(true);
    for path in PATHS {
        let answer = gateway.ask(&decide(path).session("s")).await;
        assert_eq!(answer.affinity(), ("true", "hit", TWO));
        assert_eq!(decision(&answer), claimed);
    }
    assert_eq!((router.calls(), upstream.count()), (4, 0));
}

#[tokio::test]
async fn the_trace_of_the_caller_goes_on() {
    let (_upstream, _router, gateway) = start().await;
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traced = decide("/messages").header("traceparent", &format!("00-{id}-00f067aa0ba902b7-01"));
    assert_eq!(gateway.ask(&traced).await.json()["trace_id"], id);
}

#[tokio::test]
async fn no_match_is_the_requested_model_and_no_route() {
    let upstream = Upstream::echo().await;
    let gateway = Setup::new(&upstream.url()).start().await;
    let asked = post("/routing/v1/chat/completions", chat(TWO, "zzz")).session("s");
    let none =
        json!({"models": [TWO], "model": TWO, "route": null, "session_id": "s", "pinned": false});
    assert_eq!(decision(&gateway.ask(&asked).await), none);
}

#[tokio::test]
async fn a_pin_is_shared_with_the_proxy_both_ways() {
    let (upstream, router, gateway) = start().await;
    for path in PATHS {
        let (first, second) = (format!("a{}", path.len()), format!("b{}", path.len()));
        let made = gateway.ask(&decide(path).session(&first)).await;
        assert_eq!(made.affinity(), ("false", "claimed", ONE));
        let used = gateway.ask(&proxy(path).session(&first)).await;
        assert_eq!((used.status, used.affinity()), (200, ("true", "hit", ONE)));

        let made = gateway.ask(&proxy(path).session(&second)).await;
        assert_eq!(made.affinity(), ("false", "claimed", TWO));
        let used = gateway.ask(&decide(path).session(&second)).await;
        assert_eq!(used.json()["pinned"], true);
        assert_eq!(used.json()["models"], json!([TWO, ONE]));
    }
    assert_eq!((router.calls(), upstream.count()), (6, 6));
}

#[tokio::test]
async fn inline_preferences_count_for_their_request_on_both_paths() {
    // The embedded router, which decides by the words.
    let upstream = Upstream::echo().await;
    let gateway = Setup::new(&upstream.url()).start().await;
    let with = |path: &str| {
        post(
            path,
            format!(
                r#"{{"model":"{DEFAULT}","routing_preferences":[{{"name":"bread","description":"baking bread","models":["{TWO}","{DEFAULT}"]}}],"messages":[{{"role":"user","content":"baking bread"}}] }}"#
            ),
        )
    };
    let decided = decision(&gateway.ask(&with("/routing/v1/chat/completions")).await);
    let expected =
        json!({"models": [TWO, DEFAULT], "model": TWO, "route": "bread", "pinned": false});
    assert_eq!(decided, expected);

    let proxied = gateway.ask(&with("/v1/chat/completions")).await;
    assert_eq!(proxied.affinity(), ("false", "none", TWO));
    assert_eq!(proxied.header("x-plano-route"), Some("bread"));
    let sent = String::from_utf8(upstream.last().body).unwrap();
    let id = TWO.split_once('/').unwrap().1;
    let expected =
        format!(r#"{{"model":"{id}","messages":[{{"role":"user","content":"baking bread"}}] }}"#);
    assert_eq!(sent, expected);

    // The configured preferences are as before.
    let plain = post("/routing/v1/chat/completions", chat(DEFAULT, "baking bread"));
    assert_eq!(gateway.ask(&plain).await.json()["route"], Value::Null);
}

#[tokio::test]
async fn inline_preferences_that_cannot_be_served_are_refused() {
    let upstream = Upstream::echo().await;
    let gateway = Setup::new(&upstream.url()).start().await;
    for preferences in [
        json!([{"name": "a", "description": "b", "models": ["openai/unknown"]}]),
        json!([{"name": "a", "description": "b", "models": []}]),
        json!({"name": "a"}),
        json!("a"),
    ] {
        let body = json!({"model": DEFAULT, "messages": [], "routing_preferences": preferences});
        for path in ["/v1/chat/completions", "/routing/v1/chat/completions"] {
            let refused = gateway.ask(&post(path, &body)).await;
            let expected = (400, "invalid_routing_preferences".to_owned());
            assert_eq!(refused.refusal(), expected, "{path} {body}");
        }
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn bad_json_is_refused_even_with_a_pinned_id() {
    let (_upstream, router, gateway) = start().await;
    let pinned = decide("/chat/completions").session("s");
    assert_eq!(gateway.ask(&pinned).await.affinity().1, "claimed");
    for body in ["{", "", "not json", r#"{"model":"a",}"#] {
        let refused = gateway.ask(&post("/routing/v1/chat/completions", body).session("s")).await;
        assert_eq!(refused.refusal(), (400, "invalid_json".to_owned()), "{body}");
    }
    assert_eq!(gateway.ask(&pinned).await.affinity().1, "hit");
    assert_eq!(router.calls(), 1);
}

#[tokio::test]
async fn other_methods_are_refused_and_make_no_pin() {
    let (_upstream, router, gateway) = start().await;
    for path in PATHS {
        for method in ["GET", "PUT", "DELETE", "OPTIONS", "get", "PATCH"] {
            let request = get(&format!("/routing/v1{path}")).method(method).session("s");
            let refused = gateway.ask(&request).await;
            assert_eq!(refused.status, 405, "{method} {path}");
            if path == "/messages" {
                assert_eq!(refused.json()["type"], "error");
            } else {
                assert_eq!(refused.refusal(), (405, "method_not_allowed".to_owned()));
            }
        }
    }
    assert_eq!(router.calls(), 0);
    assert_eq!(gateway.ask(&decide("/messages").session("s")).await.affinity().1, "claimed");
}

//! Requests that the model of their session cannot take: another one serves them, and the pin stays.

use affinity_tests::{Answer, Gateway, ModelRouter, Request, Upstream, ok_json, post};
use serde_json::{Value, json};

const WORDS: &str = "openai/words";
const EYES: &str = "openai/eyes";
const READER: &str = "openai/reader";
const ALL: &str = "openai/all";

/// The route `one` leads to words and eyes, the route `two` to the reader.
async fn gateway(upstream: &Upstream, router: &str) -> Gateway {
    let models = [(WORDS, "[text]"), (EYES, "[text, image]"), (READER, "[text, file]")];
    let url = upstream.url();
    let mut yaml = String::from("version: v0.4.0\nmodel_providers:\n");
    for (model, input) in models {
        yaml += &format!("  - {{model: {model}, base_url: '{url}', input: {input}}}\n");
    }
    yaml += &format!("  - {{model: {ALL}, base_url: '{url}'}}\n");
    yaml += &format!(
        "routing_preferences:\n  \
         - {{name: one, description: writing poems, models: [{WORDS}, {EYES}]}}\n  \
         - {{name: two, description: solving equations, models: [{READER}]}}\n\
         routing: {{router: {router}}}\n"
    );
    Gateway::start(&yaml).await
}

async fn routed() -> (Upstream, ModelRouter, Gateway) {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let llm = format!("{{type: llm, url: '{}', timeout_ms: 5000}}", router.url());
    let gateway = gateway(&upstream, &llm).await;
    (upstream, router, gateway)
}

/// A message with these parts, in the protocol of the path.
fn ask(path: &str, parts: &Value) -> Request {
    let messages = json!([{"role": "user", "content": parts}]);
    let list = if path.ends_with("responses") { "input" } else { "messages" };
    post(path, json!({"model": "auto", list: messages})).session("s")
}

const CHAT: &str = "/v1/chat/completions";

fn chat(kind: &str) -> Request {
    ask(CHAT, &json!([{"type": "text", "text": "hello"}, {"type": kind, kind: {}}]))
}

fn text() -> Request {
    ask(CHAT, &json!("not an image_url: {\"type\":\"image_url\"}"))
}

#[tokio::test]
async fn an_image_goes_to_the_next_candidate_in_each_protocol() {
    for (path, part) in [
        (CHAT, json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}})),
        ("/v1/messages", json!({"type": "image", "source": {"type": "url", "url": "x"}})),
        ("/v1/messages", json!({"type": "tool_result", "content": [{"type": "image"}]})),
        ("/v1/responses", json!({"type": "input_image", "image_url": "x"})),
    ] {
        let (upstream, router, gateway) = routed().await;
        assert_eq!(gateway.ask(&text()).await.affinity(), ("false", "claimed", WORDS));
        for _ in 0..2 {
            let answer = gateway.ask(&ask(path, &json!([part]))).await;
            assert_eq!(answer.affinity(), ("false", "hit", EYES), "{path}");
            assert_eq!(upstream.last().json()["model"], "eyes");
            assert_eq!(gateway.ask(&text()).await.affinity(), ("true", "hit", WORDS));
            assert_eq!(upstream.last().json()["model"], "words");
        }
        assert_eq!(router.calls(), 1);
    }
}

#[tokio::test]
async fn what_no_candidate_can_take_goes_to_any_model_that_can() {
    let (_upstream, _router, gateway) = routed().await;
    assert_eq!(gateway.ask(&text()).await.affinity(), ("false", "claimed", WORDS));
    assert_eq!(gateway.ask(&chat("file")).await.affinity(), ("false", "hit", READER));
    assert_eq!(gateway.ask(&chat("input_audio")).await.affinity(), ("false", "hit", ALL));
    assert_eq!(gateway.ask(&text()).await.affinity(), ("true", "hit", WORDS));
}

#[tokio::test]
async fn a_first_request_decides_among_models_that_can_take_it() {
    let (_upstream, router, gateway) = routed().await;
    assert_eq!(gateway.ask(&chat("image_url")).await.affinity(), ("false", "claimed", EYES));
    assert_eq!(gateway.ask(&text()).await.affinity(), ("true", "hit", EYES));
    assert_eq!(gateway.ask(&chat("image_url")).await.affinity(), ("true", "hit", EYES));
    let other = ask(
        "/routing/v1/chat/completions",
        &json!([{"type": "text", "text": "hello"}, {"type": "image_url"}]),
    );
    let decided = gateway.ask(&other.header("x-plano-affinity", "bypass")).await.json();
    assert_eq!((&decided["model"], &decided["route"]), (&json!(EYES), &json!("two")));
    assert_eq!(decided["models"], json!([EYES]), "the reader takes no image");
    assert_eq!(router.calls(), 2);
}

#[tokio::test]
async fn a_requested_model_that_cannot_take_the_request_gives_way_too() {
    let upstream = Upstream::echo().await;
    let gateway = gateway(&upstream, "{type: lexical}").await;
    let image = || chat("image_url");
    assert_eq!(gateway.ask(&image()).await.affinity(), ("false", "claimed", EYES));
    assert_eq!(gateway.ask(&image()).await.affinity(), ("true", "hit", EYES));
}

#[tokio::test]
async fn a_detour_that_fails_leaves_the_session_alone() {
    let upstream = Upstream::start(|seen| {
        if seen.json()["model"] == "words" {
            return ok_json(&json!({"choices": []}));
        }
        Answer::Bytes(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_vec())
    });
    let (upstream, router) = (upstream.await, ModelRouter::start().await);
    let llm = format!("{{type: llm, url: '{}', timeout_ms: 5000}}", router.url());
    let gateway = gateway(&upstream, &llm).await;
    assert_eq!(gateway.ask(&text()).await.affinity(), ("false", "claimed", WORDS));
    let failed = gateway.ask(&chat("image_url")).await;
    assert_eq!((failed.status, failed.affinity()), (503, ("false", "failed", EYES)));
    assert_eq!(gateway.ask(&text()).await.affinity(), ("true", "hit", WORDS));
}

#[tokio::test]
async fn what_nobody_can_take_goes_to_the_model_of_the_session() {
    let upstream = Upstream::echo().await;
    let model = |name| format!("{{model: {name}, base_url: '{}', input: [text]}}", upstream.url());
    let (one, other) = (model("openai/one"), model("openai/other"));
    let yaml = format!("version: v0.4.0\nmodel_providers: [{one}, {other}]\n");
    let gateway = Gateway::start(&yaml).await;
    assert_eq!(gateway.ask(&text()).await.affinity(), ("false", "claimed", "openai/one"));
    let image = gateway.ask(&chat("image_url")).await;
    assert_eq!((image.status, image.affinity()), (200, ("true", "hit", "openai/one")));
}

#[tokio::test]
async fn the_model_that_serves_while_the_router_is_down_must_take_it_too() {
    let down = Answer::Bytes(b"HTTP/1.1 503 Down\r\ncontent-length: 0\r\n\r\n".to_vec());
    let (upstream, router) = (Upstream::echo().await, ModelRouter::failing_with(down).await);
    router.fail(true);
    let llm = format!("{{type: llm, url: '{}', timeout_ms: 5000}}", router.url());
    let gateway = gateway(&upstream, &llm).await;
    let image = gateway.ask(&chat("image_url")).await;
    assert_eq!(image.affinity(), ("false", "router-unavailable", EYES));
    assert_eq!(gateway.ask(&text()).await.affinity(), ("false", "router-unavailable", WORDS));
}

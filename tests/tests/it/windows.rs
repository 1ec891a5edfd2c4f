//! Sessions that outgrow their model.

use affinity_tests::models::{DEFAULT, ONE, TWO};
use affinity_tests::{
    Answer, Gateway, ModelRouter, Request, Scrape, Setup, Upstream, ok_json, post,
};
use serde_json::{Value, json};

use crate::chat;

fn turn(path: &str, length: usize) -> Request {
    let text = "word ".repeat(length / 5);
    let body = json!({"model": DEFAULT, "input": text,
        "messages": [{"role": "user", "content": text}]});
    post(path, body).session("s")
}

const CHAT: &str = "/v1/chat/completions";

/// Four bytes are a token; the whole prompt is counted.
async fn counting() -> Upstream {
    Upstream::start(|seen| {
        let usage = json!({"prompt_tokens": seen.body.len() / 4, "completion_tokens": 1});
        ok_json(&json!({"choices": [{"finish_reason": "stop"}], "usage": usage}))
    })
    .await
}

/// The file of `setup` with these windows, for ONE and TWO.
fn with_windows(setup: &Setup, one: Option<u32>, two: Option<u32>) -> String {
    let mut yaml = setup.yaml();
    for (model, tokens) in [(ONE, one), (TWO, two)] {
        if let Some(tokens) = tokens {
            let entry = format!("  - model: {model}\n");
            assert!(yaml.contains(&entry));
            yaml = yaml.replace(&entry, &format!("{entry}    context_window: {tokens}\n"));
        }
    }
    yaml
}

fn asked(upstream: &Upstream, id: &str) -> usize {
    upstream.seen().iter().filter(|seen| seen.json()["model"] == id).count()
}

#[tokio::test]
async fn a_session_that_outgrows_its_model_moves_up_once() {
    let (upstream, router) = (counting().await, ModelRouter::start().await);
    let setup = Setup::routed(&upstream, &router);
    let gateway = Gateway::start(&with_windows(&setup, Some(100_000), Some(2000))).await;
    gateway.ask(&post(CHAT, chat(DEFAULT, "skip"))).await;
    assert_eq!(gateway.ask(&turn(CHAT, 1000)).await.affinity(), ("false", "claimed", TWO));
    assert_eq!(gateway.ask(&turn(CHAT, 3000)).await.affinity(), ("true", "hit", TWO));
    let served = asked(&upstream, "claude-sonnet-4-20250514");
    assert_eq!(gateway.ask(&turn(CHAT, 6000)).await.affinity(), ("false", "repinned", ONE));
    for length in [6000, 9000, 100] {
        assert_eq!(gateway.ask(&turn(CHAT, length)).await.affinity(), ("true", "hit", ONE));
    }
    assert_eq!(asked(&upstream, "claude-sonnet-4-20250514"), served, "it was not asked in vain");
    assert_eq!(router.calls(), 2);
    let scrape = Scrape::of(&gateway).await;
    let estimated = [("model", TWO), ("how", "estimated")];
    assert!((scrape.sum("gateway_context_exceeded_total", &estimated) - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn a_long_session_begins_with_a_model_that_can_take_it() {
    let (upstream, router) = (counting().await, ModelRouter::start().await);
    let setup = Setup::routed(&upstream, &router);
    let gateway = Gateway::start(&with_windows(&setup, Some(100_000), Some(2000))).await;
    gateway.ask(&post(CHAT, chat(DEFAULT, "skip"))).await;
    assert_eq!(gateway.ask(&turn(CHAT, 9000)).await.affinity(), ("false", "claimed", ONE));
    assert_eq!(gateway.ask(&turn(CHAT, 100)).await.affinity(), ("true", "hit", ONE));
}

#[tokio::test]
async fn a_larger_model_that_cools_gets_no_session_while_another_one_fits() {
    let upstream = Upstream::start(|seen| match seen.json()["model"].as_str() {
        Some("gpt-4o") if seen.body.len() > 2000 => Answer::Bytes(
            b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 60\r\ncontent-length: 0\r\n\r\n"
                .to_vec(),
        ),
        _ => ok_json(&json!({"choices": [{"finish_reason": "stop"}]})),
    })
    .await;
    let router = ModelRouter::start().await;
    let setup = Setup::routed(&upstream, &router);
    let gateway = Gateway::start(&with_windows(&setup, Some(100_000), Some(2000))).await;
    gateway.ask(&post(CHAT, chat(DEFAULT, "skip"))).await;
    assert_eq!(gateway.ask(&turn(CHAT, 100)).await.affinity(), ("false", "claimed", TWO));
    let before = asked(&upstream, "gpt-4o");
    gateway.ask(&turn(CHAT, 90_000)).await;
    let answer = gateway.ask(&turn(CHAT, 90_000)).await;
    assert_eq!((answer.status, answer.affinity().2), (200, DEFAULT));
    assert_eq!(asked(&upstream, "gpt-4o"), before + 1, "it cools");
}

/// Refuses prompts of more than 2,000 bytes for TWO, in these words; for all models if `all`.
async fn too_long(status: &'static str, error: Value, all: bool) -> Upstream {
    Upstream::start(move |seen| {
        let two = String::from_utf8_lossy(&seen.body).contains("claude");
        if seen.body.len() <= 2000 || !(two || all) {
            return ok_json(&json!({"choices": [{"finish_reason": "stop"}]}));
        }
        let body = error.to_string();
        let head = format!("content-type: application/json\r\ncontent-length: {}", body.len());
        Answer::Bytes(format!("HTTP/1.1 {status}\r\n{head}\r\n\r\n{body}").into_bytes())
    })
    .await
}

fn exceeded() -> Value {
    json!({"error": {"code": "context_length_exceeded",
        "message": "This model's maximum context length is 400 tokens."}})
}

#[tokio::test]
async fn an_answer_that_the_request_is_too_long_moves_the_session_unseen() {
    let anthropic = json!({"type": "error", "error": {"type": "invalid_request_error",
        "message": "prompt is too long: 213462 tokens > 200000 maximum"}});
    for (status, error) in [
        ("400 Bad Request", exceeded()),
        ("400 Bad Request", anthropic),
        ("413 Content Too Large", json!({})),
        (
            "200 OK",
            json!({"type": "response.failed",
            "response": {"error": {"code": "context_length_exceeded"}}}),
        ),
    ] {
        for path in [CHAT, "/v1/messages", "/v1/responses"] {
            let upstream = too_long(status, error.clone(), false).await;
            let router = ModelRouter::start().await;
            let gateway = Setup::routed(&upstream, &router).start().await;
            gateway.ask(&post(CHAT, chat(DEFAULT, "skip"))).await;
            let small = gateway.ask(&turn(path, 100)).await;
            assert_eq!(small.affinity(), ("false", "claimed", TWO), "{path} {error}");
            let large = gateway.ask(&turn(path, 3000)).await;
            assert_eq!((large.status, large.affinity()), (200, ("false", "repinned", ONE)));
            assert_eq!(gateway.ask(&turn(path, 3000)).await.affinity(), ("true", "hit", ONE));
            let scrape = Scrape::of(&gateway).await;
            assert!(scrape.sum("affinity_cooldowns_total", &[]) < 0.1, "others may be shorter");
        }
    }
}

#[tokio::test]
async fn if_no_model_can_take_it_the_providers_answer_stands_and_so_does_the_pin() {
    let (upstream, router) =
        (too_long("400 Bad Request", exceeded(), true).await, ModelRouter::start().await);
    let setup = Setup::routed(&upstream, &router);
    let gateway = Gateway::start(&with_windows(&setup, Some(300), Some(300))).await;
    gateway.ask(&post(CHAT, chat(DEFAULT, "skip"))).await;
    assert_eq!(gateway.ask(&turn(CHAT, 100)).await.affinity(), ("false", "claimed", TWO));
    let refused = gateway.ask(&turn(CHAT, 9000)).await;
    assert_eq!((refused.status, refused.json()), (400, exceeded()));
    assert_eq!(refused.affinity().1, "failed");
    // The client compacts, and goes on.
    assert_eq!(gateway.ask(&turn(CHAT, 100)).await.affinity(), ("true", "hit", TWO));
}

//! A pin ends with the model's last answer, or with the user's turn, where that is configured.

use affinity_tests::models::{DEFAULT, ONE, TWO};
use affinity_tests::{Gateway, ModelRouter, Request, Setup, Upstream, ok_json, post, until};
use serde_json::{Value, json};

use crate::chat;

/// Answers as the last message asks: with a tool call or with a text.
fn answer(path: &str, calls: bool) -> Value {
    match (path.contains("messages"), path.contains("responses"), calls) {
        (true, _, true) => json!({"type": "message", "stop_reason": "tool_use"}),
        (true, _, false) => json!({"type": "message", "stop_reason": "end_turn"}),
        (_, true, true) => json!({"status": "completed", "output": [{"type": "function_call"}]}),
        (_, true, false) => json!({"output": [{"type": "message"}], "status": "completed"}),
        (_, _, true) => json!({"choices": [{"finish_reason": "tool_calls"}]}),
        (_, _, false) => json!({"choices": [{"finish_reason": "stop"}]}),
    }
}

async fn start(release: &str) -> (Upstream, ModelRouter, Gateway) {
    let upstream = Upstream::start(|seen| {
        let body = String::from_utf8_lossy(&seen.body);
        ok_json(&answer(&seen.line, body.contains("call a tool")))
    });
    let (upstream, router) = (upstream.await, ModelRouter::start().await);
    let setup = Setup::routed(&upstream, &router).routing(&format!("release: {release}"));
    let gateway = setup.start().await;
    (upstream, router, gateway)
}

#[tokio::test]
async fn final_answer_ends_the_pin_in_each_protocol() {
    for path in ["/v1/chat/completions", "/v1/messages", "/v1/responses"] {
        let (_upstream, router, gateway) = start("final_answer").await;
        let turn = |text: &str| {
            let body = json!({"model": DEFAULT, "input": text,
                "messages": [{"role": "user", "content": text}]});
            post(path, body.to_string()).session("s").header("accept-encoding", "gzip")
        };
        let calls = || turn("call a tool");
        assert_eq!(gateway.ask(&calls()).await.affinity(), ("false", "claimed", ONE), "{path}");
        assert_eq!(gateway.ask(&calls()).await.affinity(), ("true", "hit", ONE));
        assert_eq!(gateway.ask(&turn("answer")).await.affinity(), ("true", "hit", ONE));
        assert_eq!(gateway.ask(&calls()).await.affinity(), ("false", "claimed", TWO));
        assert_eq!(router.calls(), 2);
    }
}

#[tokio::test]
async fn a_new_message_of_the_user_decides_anew_and_tools_hold_the_model() {
    let (_upstream, router, gateway) = start("user_turn").await;
    let opens = || post("/v1/chat/completions", chat(DEFAULT, "hello")).session("s");
    let result = || -> Request {
        let messages = json!([
            {"role": "user", "content": "hello"},
            {"role": "assistant", "tool_calls": [{"id": "1"}]},
            {"role": "tool", "tool_call_id": "1", "content": "4"}
        ]);
        let body = json!({"model": DEFAULT, "messages": messages}).to_string();
        post("/v1/chat/completions", body).session("s")
    };
    assert_eq!(gateway.ask(&opens()).await.affinity(), ("false", "claimed", ONE));
    assert_eq!(gateway.ask(&result()).await.affinity(), ("true", "hit", ONE));
    assert_eq!(gateway.ask(&result()).await.affinity(), ("true", "hit", ONE));
    assert_eq!(gateway.ask(&opens()).await.affinity(), ("false", "refreshed", TWO));
    assert_eq!(gateway.ask(&result()).await.affinity(), ("true", "hit", TWO));
    assert_eq!(router.calls(), 2);
}

/// It is not asked for a compressed answer, and sends one all the same.
#[tokio::test]
async fn a_provider_that_compresses_keeps_the_pin_and_is_told_of_once() {
    let upstream = Upstream::fixed(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n\
         content-length: 4\r\n\r\ngzip",
    );
    let (upstream, router) = (upstream.await, ModelRouter::start().await);
    let setup = Setup::routed(&upstream, &router).routing("release: final_answer");
    let gateway = setup.start().await;
    let turn = || {
        let turn = post("/v1/chat/completions", chat(DEFAULT, "hello")).session("s");
        turn.header("accept-encoding", "gzip")
    };
    let first = gateway.ask(&turn()).await;
    assert_eq!((first.affinity(), first.text()), (("false", "claimed", ONE), "gzip".to_owned()));
    for _ in 0..3 {
        assert_eq!(gateway.ask(&turn()).await.affinity(), ("true", "hit", ONE));
    }
    assert!(!upstream.last().has("accept-encoding"));
    until(async || gateway.log().contains("compressed")).await;
    assert_eq!(gateway.log().matches("compressed").count(), 1, "{}", gateway.log());
}

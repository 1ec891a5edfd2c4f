//! Agent clients without a setting of ours: their headers, side calls and probes.

use affinity_tests::models::{DEFAULT, ONE, TWO};
use affinity_tests::{ModelRouter, Request, Setup, Upstream, get, post};
use serde_json::json;

use crate::chat;

fn claude_code(path: &str, model: &str) -> Request {
    post(path, chat(model, "hello"))
        .header("x-claude-code-session-id", "b7a1")
        .header("anthropic-version", "2023-06-01")
}

#[tokio::test]
async fn an_agent_holds_one_model_and_its_side_calls_another() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let gateway = Setup::routed(&upstream, &router).start().await;
    let main = || claude_code("/v1/messages?beta=true", ONE);
    let side = || claude_code("/v1/messages?beta=true", DEFAULT);
    assert_eq!(gateway.ask(&side()).await.affinity(), ("false", "claimed", ONE));
    assert_eq!(gateway.ask(&main()).await.affinity(), ("false", "claimed", TWO));
    for _ in 0..3 {
        assert_eq!(gateway.ask(&main()).await.affinity(), ("true", "hit", TWO));
        assert_eq!(gateway.ask(&side()).await.affinity(), ("true", "hit", ONE));
    }
    let sub_agent = main().header("x-claude-code-agent-id", "a1");
    assert_eq!(gateway.ask(&sub_agent).await.affinity(), ("true", "hit", TWO));
    assert_eq!(router.calls(), 2);
}

#[tokio::test]
async fn a_side_call_to_the_default_model_leaves_the_loop_that_asks_for_any() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let gateway = Setup::routed(&upstream, &router).start().await;
    let opencode = |model: &str| {
        post("/v1/chat/completions", chat(model, "hello"))
            .header("x-session-affinity", "s")
            .header("x-session-id", "s")
    };
    let (title, main) = (|| opencode(DEFAULT), || opencode("auto"));
    assert_eq!(gateway.ask(&title()).await.affinity(), ("false", "claimed", ONE));
    assert_eq!(gateway.ask(&main()).await.affinity(), ("false", "claimed", TWO));
    assert_eq!(gateway.ask(&title()).await.affinity(), ("true", "hit", ONE));
    assert_eq!(gateway.ask(&main()).await.affinity(), ("true", "hit", TWO));
}

#[tokio::test]
async fn counting_tokens_reads_the_pin_and_makes_none() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let gateway = Setup::routed(&upstream, &router).start().await;
    let count = || claude_code("/v1/messages/count_tokens", DEFAULT);
    assert_eq!(gateway.ask(&count()).await.affinity(), ("false", "none", DEFAULT));
    let turn = claude_code("/v1/messages", DEFAULT);
    assert_eq!(gateway.ask(&turn).await.affinity(), ("false", "claimed", ONE));
    assert_eq!(gateway.ask(&count()).await.affinity(), ("true", "hit", ONE));
    assert_eq!(router.calls(), 1);
}

/// Codex compacts a long conversation by a call of its own, and dies without it.
#[tokio::test]
async fn compacting_and_counting_of_responses_use_the_pin_and_make_none() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let gateway = Setup::routed(&upstream, &router).start().await;
    let ask = async |path: &str| {
        let body = json!({"model": DEFAULT, "input": "hello"});
        gateway.ask(&post(path, body).header("session-id", "01a1")).await
    };
    for path in ["/v1/responses/compact", "/v1/responses/input_tokens"] {
        assert_eq!(ask(path).await.affinity(), ("false", "none", DEFAULT), "{path}");
    }
    assert_eq!(ask("/v1/responses").await.affinity(), ("false", "claimed", ONE));
    for path in ["/v1/responses/compact", "/v1/responses/input_tokens"] {
        assert_eq!(ask(path).await.affinity(), ("true", "hit", ONE), "{path}");
        assert_eq!(upstream.last().line, format!("POST {path} HTTP/1.1"));
    }
    assert_eq!(router.calls(), 1);
}

#[tokio::test]
async fn codex_is_told_that_there_is_no_websocket() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let gateway = Setup::routed(&upstream, &router).start().await;
    let handshake = get("/v1/responses")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("session-id", "01a1");
    let answer = gateway.ask(&handshake).await;
    assert_eq!(answer.refusal(), (426, "no_websocket".to_owned()));
    assert_eq!(answer.header("upgrade"), Some("HTTP/1.1"));
    assert_eq!((upstream.count(), router.calls()), (0, 0));
    let body = json!({"model": DEFAULT, "input": "hello"});
    let turn = post("/v1/responses", body).header("session-id", "01a1");
    assert_eq!(gateway.ask(&turn).await.affinity(), ("false", "claimed", ONE), "no pin before");
}

#[tokio::test]
async fn a_name_with_an_underscore_that_agents_send_names_their_session() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let gateway = Setup::routed(&upstream, &router).start().await;
    let turn = || post("/v1/chat/completions", chat(DEFAULT, "hello")).header("session_id", "pi-1");
    assert_eq!(gateway.ask(&turn()).await.affinity(), ("false", "claimed", ONE));
    assert_eq!(gateway.ask(&turn()).await.affinity(), ("true", "hit", ONE));
}

#[tokio::test]
async fn the_agents_headers_can_be_left_alone() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let setup = Setup::routed(&upstream, &router).routing("agent_headers: false");
    let gateway = setup.start().await;
    let turn = claude_code("/v1/messages", DEFAULT);
    assert_eq!(gateway.ask(&turn).await.affinity(), ("false", "none", ONE));
}

#[tokio::test]
async fn a_sub_agent_may_have_its_own_model() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let gateway = Setup::routed(&upstream, &router).routing("sub_agents: own").start().await;
    let main = || claude_code("/v1/messages", DEFAULT);
    let sub_agent = || main().header("x-claude-code-agent-id", "a1");
    assert_eq!(gateway.ask(&main()).await.affinity(), ("false", "claimed", ONE));
    assert_eq!(gateway.ask(&sub_agent()).await.affinity(), ("false", "claimed", TWO));
    assert_eq!(gateway.ask(&main()).await.affinity(), ("true", "hit", ONE));
    assert_eq!(gateway.ask(&sub_agent()).await.affinity(), ("true", "hit", TWO));
}

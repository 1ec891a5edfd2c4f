//! A session that warms up before it holds, and one that only moves to stronger models.

use affinity_tests::models::{DEFAULT, ONE, TWO};
use affinity_tests::{ModelRouter, Request, Setup, Upstream, post};
use serde_json::json;

use crate::chat;

fn opens() -> Request {
    post("/v1/chat/completions", chat(DEFAULT, "hello")).session("s")
}

/// The next request of the same turn.
fn tool_result() -> Request {
    let messages = json!([
        {"role": "user", "content": "hello"},
        {"role": "assistant", "tool_calls": [{"id": "1"}]},
        {"role": "tool", "tool_call_id": "1", "content": "4"}
    ]);
    let body = json!({"model": DEFAULT, "messages": messages}).to_string();
    post("/v1/chat/completions", body).session("s")
}

#[tokio::test]
async fn a_trivial_first_turn_does_not_bind_the_session() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let gateway = Setup::routed(&upstream, &router).routing("warm_up_turns: 1").start().await;
    assert_eq!(gateway.ask(&opens()).await.affinity(), ("false", "claimed", ONE));
    for _ in 0..2 {
        assert_eq!(gateway.ask(&tool_result()).await.affinity(), ("true", "hit", ONE));
    }
    assert_eq!(gateway.ask(&opens()).await.affinity(), ("false", "refreshed", TWO));
    for _ in 0..2 {
        assert_eq!(gateway.ask(&tool_result()).await.affinity(), ("true", "hit", TWO));
        assert_eq!(gateway.ask(&opens()).await.affinity(), ("true", "hit", TWO));
    }
    assert_eq!(router.calls(), 2);
}

#[tokio::test]
async fn a_session_moves_up_and_never_down() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let order = format!("escalation: [{ONE}, {TWO}]");
    let setup = Setup::routed(&upstream, &router).routing(&order).routing("release: user_turn");
    let gateway = setup.start().await;
    assert_eq!(gateway.ask(&opens()).await.affinity(), ("false", "claimed", ONE));
    assert_eq!(gateway.ask(&opens()).await.affinity(), ("false", "refreshed", TWO));
    for _ in 0..3 {
        assert_eq!(gateway.ask(&opens()).await.affinity(), ("true", "hit", TWO));
        assert_eq!(gateway.ask(&tool_result()).await.affinity(), ("true", "hit", TWO));
    }
    assert_eq!(router.calls(), 5, "each turn was decided");
}

//! A router that fails costs the decision, never the answer, and is never remembered.

use std::time::Duration;

use affinity_tests::models::{DEFAULT, ONE, TWO};
use affinity_tests::{
    Answer, Gateway, ModelRouter, Refusing, Setup, Upstream, ok_json, post, until, within,
};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::chat;

fn turn() -> affinity_tests::Request {
    post("/v1/chat/completions", chat(TWO, "hello")).session("s")
}

/// Fails, then recovers: served with the requested model, and routed as soon as that works again.
async fn served_and_not_stored(failure: Answer, timeout: u32) {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::failing_with(failure).await);
    let setup = Setup::new(&upstream.url()).router(&router.url(), timeout);
    let gateway = setup.start().await;
    router.fail(true);
    for _ in 0..2 {
        let answer = gateway.ask(&turn()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.affinity(), ("false", "router-unavailable", TWO));
        assert_eq!(answer.header("x-plano-route"), None);
        assert_eq!(answer.json()["model"], TWO.split_once('/').unwrap().1);
    }
    assert!(router.calls() >= 2, "an outage is not remembered");
    router.fail(false);
    assert_eq!(gateway.ask(&turn()).await.affinity(), ("false", "claimed", ONE));
    assert_eq!(gateway.ask(&turn()).await.affinity(), ("true", "hit", ONE));
}

fn plain(status: &str, body: &str) -> Answer {
    let length = body.len();
    Answer::Bytes(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}").into())
}

#[tokio::test]
async fn a_503() {
    served_and_not_stored(plain("503 Service Unavailable", "overloaded"), 5_000).await;
}

#[tokio::test]
async fn prose_for_an_answer() {
    let prose = json!({"choices": [{"message": {"content": "I would choose one, I think."}}]});
    served_and_not_stored(ok_json(&prose), 5_000).await;
}

#[tokio::test]
async fn an_answer_that_is_cut() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"choices\"";
    served_and_not_stored(Answer::Cut(head.into()), 5_000).await;
}

#[tokio::test]
async fn an_answer_after_the_time_limit() {
    let before = Instant::now();
    served_and_not_stored(Answer::Silence, 300).await;
    // Two requests waited for the limit, and not for more than it.
    let took = before.elapsed();
    assert!(took >= Duration::from_millis(600), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn a_refused_connection() {
    let upstream = Upstream::echo().await;
    let nowhere = Refusing::new();
    let gateway = Setup::new(&upstream.url()).router(&nowhere.url(), 5_000).start().await;
    for _ in 0..2 {
        let answer = gateway.ask(&turn()).await;
        assert_eq!(answer.affinity(), ("false", "router-unavailable", TWO));
    }
    // A client that leaves the choice open gets the default.
    let open = post("/v1/chat/completions", chat("auto", "hello")).session("s");
    assert_eq!(gateway.ask(&open).await.affinity(), ("false", "router-unavailable", DEFAULT));
    assert_eq!(upstream.count(), 3);
}

async fn held() -> (Upstream, ModelRouter, Gateway) {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    // No time limit of the router may end the wait in place of what is tested.
    let setup = Setup::new(&upstream.url()).router(&router.url(), 60_000);
    let gateway = setup.start().await;
    router.fail(true);
    (upstream, router, gateway)
}

#[tokio::test]
async fn a_leader_that_hangs_up_wedges_nobody() {
    let (_upstream, router, gateway) = held().await;
    let mut leader = gateway.connect().await;
    leader.write(&turn()).await;
    until(async || router.calls() == 1).await;

    // The routing model will answer from now on, but not what it was asked already.
    router.fail(false);
    let mut waiters = JoinSet::new();
    for _ in 0..5 {
        let mut connection = gateway.connect().await;
        connection.write(&turn()).await;
        waiters.spawn(async move { connection.answer().await });
    }
    leader.wire.reset();
    let answers = within(waiters.join_all()).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.affinity().2 == ONE));
    let claimed = answers.iter().filter(|answer| answer.affinity().1 == "claimed").count();
    assert_eq!((claimed, router.calls()), (1, 2));
    assert_eq!(gateway.ask(&turn()).await.affinity(), ("true", "hit", ONE));
}

#[tokio::test]
async fn a_lone_leader_that_hangs_up_leaves_nothing_behind() {
    let (upstream, router, gateway) = held().await;
    let mut leader = gateway.connect().await;
    leader.write(&turn()).await;
    until(async || router.calls() == 1).await;
    leader.wire.reset();
    router.fail(false);
    assert_eq!(gateway.ask(&turn()).await.affinity(), ("false", "claimed", ONE));
    assert_eq!((router.calls(), upstream.count()), (2, 1));
}

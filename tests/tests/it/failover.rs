//! A provider that fails: the session moves to the next candidate, once.

use affinity_tests::models::{DEFAULT, ONE, TWO};
use affinity_tests::{Answer, ModelRouter, Refusing, Request, Setup, Upstream, post};

use crate::chat;

fn turn(session: &str) -> Request {
    post("/v1/chat/completions", chat(DEFAULT, "hello")).session(session)
}

/// Serves every model but the one whose id is in the body.
async fn failing(id: &'static str, status: &'static str) -> Upstream {
    Upstream::start(move |seen| {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        let status = if body.contains(id) { status } else { "200 OK" };
        let body = r#"{"error":{"code":"by the provider"}}"#;
        Answer::Bytes(
            format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes(),
        )
    })
    .await
}

/// The second route leads to TWO, then to ONE.
async fn on_the_second_route(setup: Setup, router: &ModelRouter) -> affinity_tests::Gateway {
    let gateway = setup.start().await;
    let first = gateway.ask(&post("/v1/chat/completions", chat(DEFAULT, "skip"))).await;
    assert_eq!((first.status, router.calls()), (200, 1));
    gateway
}

#[tokio::test]
async fn a_session_moves_once_and_then_holds() {
    for status in ["429 Too Many Requests", "503 Service Unavailable"] {
        let (upstream, router) = (failing("claude", status).await, ModelRouter::start().await);
        let gateway = on_the_second_route(Setup::routed(&upstream, &router), &router).await;
        assert_eq!(gateway.ask(&turn("s")).await.affinity(), ("false", "repinned", ONE));
        for _ in 0..3 {
            assert_eq!(gateway.ask(&turn("s")).await.affinity(), ("true", "hit", ONE));
        }
        assert_eq!(router.calls(), 2);
    }
}

#[tokio::test]
async fn with_failover_off_the_first_answer_stands() {
    let status = "429 Too Many Requests";
    let (upstream, router) = (failing("claude", status).await, ModelRouter::start().await);
    let setup = Setup::routed(&upstream, &router).routing("failover: false");
    let gateway = on_the_second_route(setup, &router).await;
    let answer = gateway.ask(&turn("s")).await;
    assert_eq!((answer.status, answer.affinity()), (429, ("false", "claimed", TWO)));
    assert_eq!(gateway.ask(&turn("s")).await.affinity(), ("true", "hit", TWO));
}

#[tokio::test]
async fn with_nobody_left_the_last_answer_is_returned_and_the_pin_is_gone() {
    let refusing = Refusing::new();
    let router = ModelRouter::start().await;
    let gateway = Setup::new(&refusing.url()).router(&router.url(), 5_000).start().await;
    for calls in 1..=3 {
        let answer = gateway.ask(&turn("s")).await;
        assert_eq!((answer.status, router.calls()), (502, calls), "routed afresh each time");
        assert_eq!(answer.json()["error"]["code"], "upstream_unreachable");
    }
}

//! Pinned turns that are routed once more in the shadow.

use affinity_tests::models::{DEFAULT, ONE};
use affinity_tests::{
    Answer, Collector, Gateway, ModelRouter, Request, Scrape, Setup, Upstream, post, until,
};

use serde_json::json;

use crate::chat;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn turn() -> Request {
    post("/v1/chat/completions", chat(DEFAULT, "hello")).session("hush")
}

async fn verdicts(gateway: &Gateway, verdict: &str) -> f64 {
    let labels = [("route", "one"), ("verdict", verdict)];
    Scrape::of(gateway).await.sum("gateway_pin_verdicts_total", &labels)
}

/// Sends a pinned turn and waits until it was judged.
async fn judged(gateway: &Gateway, verdict: &str) {
    let before = verdicts(gateway, verdict).await;
    let told = gateway.ask(&turn().header("traceparent", TRACE)).await;
    assert_eq!(told.affinity(), ("true", "hit", ONE));
    until(async || verdicts(gateway, verdict).await == before + 1.0).await;
}

#[tokio::test]
async fn what_the_router_would_have_done_is_counted_and_not_used() {
    let (upstream, collector) = (Upstream::echo().await, Collector::start().await);
    let router = ModelRouter::start().await;
    let traces = format!(
        "tracing:\n  random_sampling: 100\n  opentracing_grpc_endpoint: {}",
        collector.url()
    );
    let setup = Setup::routed(&upstream, &router).routing("regret_sample: 1").line(&traces);
    let mut gateway = setup.start().await;
    assert_eq!(gateway.ask(&turn()).await.affinity(), ("false", "claimed", ONE));
    // The routing model names `two` and `one` by turns.
    for verdict in ["otherwise", "agreed", "otherwise", "agreed"] {
        judged(&gateway, verdict).await;
    }
    assert_eq!(router.calls(), 5);
    let scrape = Scrape::of(&gateway).await;
    assert_eq!(scrape.sum("affinity_router_calls_total", &[]), 1.0, "only the real one counts");
    assert_eq!(scrape.sum("affinity_router_duration_seconds_count", &[]), 1.0);
    assert_eq!(scrape.sum("affinity_router_calls_saved_total", &[]), 4.0);
    assert_eq!(scrape.sum("gateway_pin_verdicts_total", &[]), 4.0);
    let shadow = router.upstream().last();
    assert!(!shadow.has("traceparent"), "no part of the client's trace: {:?}", shadow.fields);

    gateway.signal("TERM").await;
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert_eq!(collector.named("affinity").len(), 5);
    assert_eq!(collector.named("router").len(), 1, "a pinned request has no router span");
}

#[tokio::test]
async fn a_shadow_that_fails_is_counted_and_changes_nothing() {
    let upstream = Upstream::echo().await;
    let busy = "HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n";
    let router = ModelRouter::failing_with(Answer::Bytes(busy.into())).await;
    let gateway = Setup::routed(&upstream, &router).routing("regret_sample: 1").start().await;
    assert_eq!(gateway.ask(&turn()).await.affinity(), ("false", "claimed", ONE));
    router.fail(true);
    let before = gateway.log();
    for _ in 0..8 {
        judged(&gateway, "failed").await;
    }
    assert_eq!(gateway.log(), before, "no line for any of them");
    router.fail(false);
    let other = post("/v1/chat/completions", chat(DEFAULT, "hello")).session("other");
    assert_eq!(gateway.ask(&other).await.affinity().1, "claimed", "the router is asked as ever");
}

#[tokio::test]
async fn without_a_share_nothing_is_asked() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let gateway = Setup::routed(&upstream, &router).start().await;
    for outcome in ["claimed", "hit", "hit"] {
        assert_eq!(gateway.ask(&turn()).await.affinity().1, outcome);
    }
    assert_eq!(router.calls(), 1);
    assert!(!Scrape::of(&gateway).await.text().contains("gateway_pin_verdicts_total"));
}

#[tokio::test]
async fn clients_make_no_series_by_the_routes_they_name() {
    let upstream = Upstream::echo().await;
    let gateway = Setup::new(&upstream.url()).routing("regret_sample: 1").start().await;
    for n in 0..3_i32 {
        let name = format!("hush-{n}");
        let body = json!({
            "model": DEFAULT,
            "messages": [{"role": "user", "content": "a question on graph theory"}],
            "routing_preferences": [{"name": name, "description": "graph theory", "models": [ONE]}],
        });
        let turn = post("/v1/chat/completions", body).session(&name);
        for outcome in ["claimed", "hit"] {
            let answer = gateway.ask(&turn).await;
            assert_eq!(
                (answer.affinity().1, answer.header("x-plano-route")),
                (outcome, Some(&*name))
            );
        }
        let agreed = [("route", "(other)"), ("verdict", "agreed")];
        let counted =
            async || Scrape::of(&gateway).await.sum("gateway_pin_verdicts_total", &agreed);
        until(async || counted().await == f64::from(n + 1)).await;
    }
    let scrape = Scrape::of(&gateway).await;
    assert!(!scrape.text().contains("hush"), "{}", scrape.text());
}

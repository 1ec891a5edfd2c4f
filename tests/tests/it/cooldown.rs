//! What was learned of a provider that fails is remembered for all sessions.

use affinity_tests::models::{DEFAULT, ONE, TWO};
use affinity_tests::{
    Answer, Gateway, ModelRouter, Refusing, Request, Scrape, Setup, Upstream, get, ok_json, post,
};
use serde_json::json;

use crate::chat;

fn turn(session: &str) -> Request {
    post("/v1/chat/completions", chat(DEFAULT, "solving equations")).session(session)
}

/// Refuses the models whose names hold `id`; a `Retry-After` may be in `fields`.
async fn refusing(id: &'static str, status: &'static str, fields: &'static str) -> Upstream {
    Upstream::start(move |seen| {
        if !String::from_utf8_lossy(&seen.body).contains(id) {
            return ok_json(&json!({"choices": [{"finish_reason": "stop"}]}));
        }
        let head = format!("HTTP/1.1 {status}\r\n{fields}content-length: 2\r\n\r\n{{}}");
        Answer::Bytes(head.into_bytes())
    })
    .await
}

fn asked(upstream: &Upstream, id: &str) -> usize {
    let has = |body: &[u8]| String::from_utf8_lossy(body).contains(id);
    upstream.seen().iter().filter(|seen| has(&seen.body)).count()
}

/// The words of a turn lead to TWO, then to ONE.
fn on_the_second_route(upstream: &Upstream) -> Setup {
    Setup::new(&upstream.url())
}

#[tokio::test]
async fn a_failure_is_met_once_by_all_sessions() {
    for (status, fields) in [
        ("401 Unauthorized", ""),
        ("402 Payment Required", "retry-after: 30\r\n"),
        ("403 Forbidden", ""),
        ("404 Not Found", ""),
        ("410 Gone", ""),
        ("429 Too Many Requests", "retry-after: 30\r\n"),
    ] {
        let upstream = refusing("claude", status, fields).await;
        let gateway = on_the_second_route(&upstream).start().await;
        assert_eq!(
            gateway.ask(&turn("0")).await.affinity(),
            ("false", "repinned", ONE),
            "{status}"
        );
        for n in 1..8 {
            let answer = gateway.ask(&turn(&n.to_string())).await;
            assert_eq!(answer.affinity(), ("false", "claimed", ONE), "{status}");
        }
        assert_eq!(asked(&upstream, "claude"), 1, "{status}");
        let ready = gateway.ask(&get("/readyz")).await;
        assert_eq!(ready.status, 200);
        assert_eq!(ready.json()["status"], "ready");
        let models = ready.json()["parts"]["models"].as_str().unwrap().to_owned();
        if !status.starts_with("404") {
            assert_eq!(models, format!("cooling down: {TWO}"), "{status}");
        }
        let scrape = Scrape::of(&gateway).await;
        let cause = status.split(' ').next().unwrap();
        assert_eq!(scrape.sum("affinity_cooldowns_total", &[("cause", cause)]), 1.0, "{status}");
        assert!(scrape.sum("affinity_passed_over_total", &[]) >= 7.0, "{status}");
        let log = gateway.log();
        let line = log.lines().find(|line| line.contains("cools down")).expect("a line");
        for told in ["WARN", "\"provider\":\"anthropic\"", TWO, "\"host\":\"127.0.0.1\"", cause] {
            assert!(line.contains(told), "{told} in {line}");
        }
        assert!(!log.contains("anthropic-secret"));
    }
}

#[tokio::test]
async fn a_request_that_costs_too_much_cools_nothing_for_others() {
    let upstream = Upstream::start(|seen| {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        if !body.contains("claude") || !body.contains("65536") {
            return ok_json(&json!({"choices": [{"finish_reason": "stop"}]}));
        }
        let error = json!({"error": {"code": 402, "message": "This request requires more credits, \
            or fewer max_tokens. You requested up to 65536 tokens, but can only afford 3919."}});
        let error = error.to_string();
        let head = "HTTP/1.1 402 Payment Required\r\ncontent-type: application/json\r\n";
        let length = error.len();
        Answer::Bytes(format!("{head}content-length: {length}\r\n\r\n{error}").into_bytes())
    })
    .await;
    let gateway = on_the_second_route(&upstream).start().await;
    let dear = |session: &str| {
        let body = chat(DEFAULT, "solving equations");
        let body = body.replacen('{', r#"{"max_tokens":65536,"#, 1);
        post("/v1/chat/completions", body).session(session)
    };
    for n in 0..4 {
        let answer = gateway.ask(&dear(&format!("dear-{n}"))).await;
        assert_eq!(answer.affinity(), ("false", "repinned", ONE), "another account may cover it");
        let answer = gateway.ask(&turn(&format!("modest-{n}"))).await;
        assert_eq!(answer.affinity(), ("false", "claimed", TWO), "others keep the model");
    }
    let ready = gateway.ask(&get("/readyz")).await.json();
    assert!(!ready["parts"]["models"].as_str().unwrap_or_default().contains("cooling"), "{ready}");
}

#[tokio::test]
async fn a_status_of_overload_cools_nothing() {
    for status in ["500 Internal Server Error", "503 Service Unavailable", "529 Overloaded"] {
        let upstream = refusing("claude", status, "").await;
        let gateway = on_the_second_route(&upstream).start().await;
        for n in 0..3 {
            let answer = gateway.ask(&turn(&n.to_string())).await;
            assert_eq!(answer.affinity(), ("false", "repinned", ONE), "{status}");
        }
        assert_eq!(asked(&upstream, "claude"), 3, "{status}");
    }
}

#[tokio::test]
async fn a_client_that_repeats_costs_one_call_a_time_and_the_router_nothing() {
    for status in [
        "401 Unauthorized",
        "403 Forbidden",
        "429 Too Many Requests",
        "500 Internal Server Error",
        "503 Service Unavailable",
        "529 Overloaded",
    ] {
        let (upstream, router) = (refusing("", status, "").await, ModelRouter::start().await);
        let gateway = Setup::routed(&upstream, &router).start().await;
        gateway.ask(&turn("other")).await;
        let first = gateway.ask(&turn("s")).await;
        assert_eq!(first.affinity().1, "failed");
        let (calls, routed) = (upstream.count(), router.calls());
        for repetition in 1..=6 {
            let answer = gateway.ask(&turn("s")).await;
            assert_eq!(answer.affinity().1, "failed", "{status}");
            assert_eq!(upstream.count() - calls, repetition, "{status}");
        }
        assert_eq!(router.calls(), routed, "{status}");
    }
}

#[tokio::test]
async fn an_address_that_refuses_connections_is_asked_by_one_session() {
    let (away, upstream) = (Refusing::new(), Upstream::echo().await);
    let yaml = on_the_second_route(&upstream).yaml();
    let two = format!("access_key: anthropic-secret\n    base_url: {}", upstream.url());
    assert!(yaml.contains(&two));
    let gone = two.replace(&upstream.url(), &away.url());
    let gateway = Gateway::start(&yaml.replace(&two, &gone)).await;
    assert_eq!(gateway.ask(&turn("0")).await.affinity(), ("false", "repinned", ONE));
    for n in 1..4 {
        assert_eq!(gateway.ask(&turn(&n.to_string())).await.affinity(), ("false", "claimed", ONE));
    }
    let scrape = Scrape::of(&gateway).await;
    let unreachable = [("model", TWO), ("status", "upstream_unreachable")];
    assert_eq!(scrape.sum("gateway_upstream_requests_total", &unreachable), 1.0);
    let address = [("kind", "address"), ("target", &away.url())];
    assert_eq!(scrape.sum("gateway_target_cooling", &address), 1.0);
}

#[tokio::test]
async fn a_provider_that_hangs_is_waited_for_by_one_session() {
    let (hangs, upstream) = (Upstream::start(|_| Answer::Silence).await, Upstream::echo().await);
    let yaml = on_the_second_route(&upstream).line("limits: {upstream_timeout_ms: 500}").yaml();
    let two = format!("access_key: anthropic-secret\n    base_url: {}", upstream.url());
    let silent = two.replace(&upstream.url(), &hangs.url());
    let gateway = Gateway::start(&yaml.replace(&two, &silent)).await;
    assert_eq!(gateway.ask(&turn("0")).await.affinity(), ("false", "repinned", ONE));
    for n in 1..4 {
        assert_eq!(gateway.ask(&turn(&n.to_string())).await.affinity(), ("false", "claimed", ONE));
    }
    assert_eq!(hangs.count(), 1);
}

#[tokio::test]
async fn a_model_that_hangs_beside_others_at_its_address_is_left_alone() {
    let upstream =
        Upstream::start(|seen| match String::from_utf8_lossy(&seen.body).contains("claude") {
            true => Answer::Silence,
            false => ok_json(&json!({"choices": []})),
        });
    let upstream = upstream.await;
    let setup = on_the_second_route(&upstream).line("limits: {upstream_timeout_ms: 500}");
    let gateway = setup.start().await;
    assert_eq!(gateway.ask(&turn("0")).await.affinity(), ("false", "repinned", ONE));
    for n in 1..4 {
        assert_eq!(gateway.ask(&turn(&n.to_string())).await.affinity(), ("false", "claimed", ONE));
    }
    assert_eq!(asked(&upstream, "claude"), 1);
}

#[tokio::test]
async fn what_is_the_clients_own_fault_cools_nothing_for_others() {
    // Its own credential, its own quota.
    let upstream = refusing("claude", "429 Too Many Requests", "retry-after: 30\r\n").await;
    let setup = on_the_second_route(&upstream).provider("passthrough_auth: true");
    let gateway = setup.start().await;
    for n in 0..3 {
        let answer =
            gateway.ask(&turn(&n.to_string()).header("authorization", "Bearer mine")).await;
        assert_eq!(answer.affinity(), ("false", "repinned", ONE));
    }
    assert_eq!(asked(&upstream, "claude"), 3);
}

//! A provider that fails: the session moves to the next candidate, once.

use affinity_tests::models::{DEFAULT, ONE, TWO};
use affinity_tests::{
    Answer, ModelRouter, Piece, Refusing, Request, Scrape, Setup, Upstream, post,
};
use serde_json::json;

use crate::chat;

fn turn(session: &str) -> Request {
    post("/v1/chat/completions", chat(DEFAULT, "hello")).session(session)
}

/// Serves every model but the one whose id is in the body.
async fn failing(id: &'static str, status: &'static str) -> Upstream {
    Upstream::start(move |seen| {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        let (status, body) = match body.contains(id) {
            true => (status, r#"{"error":{"code":"by the provider"}}"#),
            false => ("200 OK", r#"{"choices":[{"finish_reason":"stop"}]}"#),
        };
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
async fn with_failover_off_the_first_answer_stands_and_leaves_no_pin() {
    let status = "429 Too Many Requests";
    let (upstream, router) = (failing("claude", status).await, ModelRouter::start().await);
    let setup = Setup::routed(&upstream, &router).routing("failover: false");
    let gateway = on_the_second_route(setup, &router).await;
    let before = upstream.count();
    let answer = gateway.ask(&turn("s")).await;
    assert_eq!((answer.status, answer.affinity()), (429, ("false", "failed", TWO)));
    assert_eq!(upstream.count() - before, 1, "nobody else is asked");
    // Nobody was served, so the session is routed again: the router says `one` now.
    assert_eq!(gateway.ask(&turn("s")).await.affinity(), ("false", "claimed", ONE));
}

#[tokio::test]
async fn with_nobody_left_the_last_answer_is_returned_and_the_pin_is_gone() {
    let refusing = Refusing::new();
    let router = ModelRouter::start().await;
    let gateway = Setup::new(&refusing.url()).router(&router.url(), 5_000).start().await;
    for calls in 1..=3 {
        let answer = gateway.ask(&turn("s")).await;
        assert_eq!((answer.status, router.calls()), (502, 1), "a repetition is not routed again");
        assert_eq!(answer.json()["error"]["code"], "upstream_unreachable");
        let released = Scrape::of(&gateway).await.sum("affinity_releases_total", &[]);
        assert!((released - f64::from(calls)).abs() < 0.1, "the claim never served and is gone");
    }
}

#[tokio::test]
async fn a_job_in_the_background_is_sent_again_only_after_a_429_or_without_a_connection() {
    for (status, expected) in [
        ("429 Too Many Requests", (200, ("false", "repinned", ONE))),
        ("503 Service Unavailable", (503, ("false", "failed", TWO))),
        ("401 Unauthorized", (502, ("false", "failed", TWO))),
    ] {
        let (upstream, router) = (failing("claude", status).await, ModelRouter::start().await);
        let gateway = on_the_second_route(Setup::routed(&upstream, &router), &router).await;
        let before = upstream.count();
        let body = json!({"model": DEFAULT, "input": "hello", "background": true});
        let answer = gateway.ask(&post("/v1/responses", body).session("s")).await;
        assert_eq!((answer.status, answer.affinity()), expected, "{status}");
        let calls = if answer.status == 200 { 2 } else { 1 };
        assert_eq!(upstream.count() - before, calls, "{status}");
    }
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let (setup, refusing) = (Setup::routed(&upstream, &router), Refusing::new());
    let two = format!("access_key: anthropic-secret\n    base_url: {}", upstream.url());
    let away = two.replace(&upstream.url(), &refusing.url());
    let yaml = setup.yaml();
    assert!(yaml.contains(&two));
    let gateway = affinity_tests::Gateway::start(&yaml.replace(&two, &away)).await;
    gateway.ask(&post("/v1/chat/completions", chat(DEFAULT, "skip"))).await;
    // Alone at its address, this vendor is known not to speak responses.
    let messages = json!([{"role": "user", "content": "hello"}]);
    let body = json!({"model": DEFAULT, "messages": messages, "background": true});
    let answer = gateway.ask(&post("/v1/chat/completions", body).session("s")).await;
    assert_eq!((answer.status, answer.affinity()), (200, ("false", "repinned", ONE)));
}

const SSE_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
    transfer-encoding: chunked\r\n\r\n";

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

/// Sends this for TWO after the head of a stream, and then cuts the connection; serves other models.
async fn beginning_badly(sent: String, cut: bool) -> Upstream {
    Upstream::start(move |seen| {
        if !String::from_utf8_lossy(&seen.body).contains("claude") {
            return affinity_tests::ok_json(&json!({"choices": [{"finish_reason": "stop"}]}));
        }
        match cut {
            true => Answer::Cut(format!("{SSE_HEAD}{sent}").into()),
            false => Answer::Bytes(format!("{SSE_HEAD}{sent}0\r\n\r\n").into()),
        }
    })
    .await
}

#[tokio::test]
async fn a_200_that_never_begins_to_answer_moves_the_session_unseen() {
    let start = chunk("data: {\"type\":\"message_start\",\"message\":{}}\n\n");
    let created = chunk("data: {\"type\":\"response.created\",\"response\":{\"error\":null}}\n\n");
    let error = chunk("data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n");
    for (sent, cut) in [
        (String::new(), true),
        (String::new(), false),
        (chunk(": comment\n\n"), true),
        (start.clone(), true),
        (created, false),
        (format!("{start}{error}"), false),
        (chunk("data: {\"error\":{\"message\":\"x\"}}\n\n"), false),
    ] {
        for path in ["/v1/chat/completions", "/v1/messages", "/v1/responses"] {
            let upstream = beginning_badly(sent.clone(), cut).await;
            let router = ModelRouter::start().await;
            let gateway = on_the_second_route(Setup::routed(&upstream, &router), &router).await;
            let body = json!({"model": DEFAULT, "input": "hello",
                "messages": [{"role": "user", "content": "hello"}]});
            let turn = || post(path, body.to_string()).session("s");
            let answer = gateway.ask(&turn()).await;
            assert_eq!(answer.affinity(), ("false", "repinned", ONE), "{path} {sent:?}");
            assert_eq!((answer.status, answer.complete), (200, true), "{path} {sent:?}");
            assert_eq!(gateway.ask(&turn()).await.affinity(), ("true", "hit", ONE));
        }
    }
}

#[tokio::test]
async fn with_nobody_left_a_200_that_never_begins_is_a_502_and_an_error_passes() {
    let upstream = Upstream::start(|_| Answer::Cut(SSE_HEAD.into())).await;
    let gateway = Setup::new(&upstream.url()).start().await;
    let answer = gateway.ask(&turn("s")).await;
    assert_eq!(answer.refusal(), (502, "upstream_error".to_owned()));
    assert_eq!(answer.affinity().1, "failed");

    let error = "data: {\"error\":{\"message\":\"x\"}}\n\n";
    let sent = format!("{SSE_HEAD}{}0\r\n\r\n", chunk(error));
    let upstream = Upstream::fixed(sent).await;
    let gateway = Setup::new(&upstream.url()).start().await;
    let answer = gateway.ask(&turn("s")).await;
    assert_eq!((answer.status, answer.text()), (200, error.to_owned()));
    assert_eq!(answer.affinity().1, "failed");
}

#[tokio::test]
async fn a_head_goes_out_after_first_event_ms() {
    let (steps, receiver) = tokio::sync::mpsc::unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let upstream =
        Upstream::start(move |_| Answer::Steps(receiver.lock().unwrap().take().unwrap())).await;
    let setup = Setup::new(&upstream.url()).line("limits: {first_event_ms: 50}");
    let gateway = setup.start().await;
    let mut connection = gateway.connect().await;
    connection.write(&turn("s")).await;
    steps.send(SSE_HEAD.into()).unwrap();
    assert_eq!(connection.head().await.all("x-plano-affinity"), ["claimed"]);
    let late = "data: {\"error\":{}}\n\n";
    steps.send(chunk(late).into()).unwrap();
    assert_eq!(connection.piece().await, Piece::Data(late.into()), "failover is over");
}

#[tokio::test]
async fn with_failover_off_no_head_is_held() {
    let (steps, receiver) = tokio::sync::mpsc::unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let upstream =
        Upstream::start(move |_| Answer::Steps(receiver.lock().unwrap().take().unwrap())).await;
    let setup = Setup::new(&upstream.url()).routing("failover: false");
    let gateway = setup.line("limits: {first_event_ms: 600000}").start().await;
    let mut connection = gateway.connect().await;
    connection.write(&turn("s")).await;
    steps.send(SSE_HEAD.into()).unwrap();
    let head = tokio::time::timeout(std::time::Duration::from_secs(10), connection.head());
    let head = head.await.expect("a head that waits for no event");
    assert_eq!(head.all("x-plano-affinity"), ["claimed"]);
}

/// What a provider says to a key that it does not take.
const REFUSALS: [&str; 6] = [
    "401 Unauthorized",
    "402 Payment Required",
    "403 Forbidden",
    "404 Not Found",
    "410 Gone",
    "424 Failed Dependency",
];

#[tokio::test]
async fn a_provider_that_refuses_our_credential_or_has_lost_its_model_is_left() {
    for status in REFUSALS {
        let (upstream, router) = (failing("claude", status).await, ModelRouter::start().await);
        let gateway = on_the_second_route(Setup::routed(&upstream, &router), &router).await;
        assert_eq!(
            gateway.ask(&turn("s")).await.affinity(),
            ("false", "repinned", ONE),
            "{status}"
        );
        assert_eq!(gateway.ask(&turn("s")).await.affinity(), ("true", "hit", ONE));
    }
}

#[tokio::test]
async fn with_nobody_left_a_refused_credential_is_a_fault_of_the_gateway() {
    for (status, told) in [
        ("401 Unauthorized", 502),
        ("402 Payment Required", 502),
        ("403 Forbidden", 502),
        ("404 Not Found", 404),
        ("410 Gone", 410),
        ("424 Failed Dependency", 424),
    ] {
        let (upstream, router) = (failing("", status).await, ModelRouter::start().await);
        let gateway = Setup::routed(&upstream, &router).start().await;
        for calls in 1..=2 {
            let answer = gateway.ask(&turn("s")).await;
            assert_eq!((answer.status, answer.affinity()), (told, ("false", "failed", ONE)));
            assert_eq!(router.calls(), 1, "a repetition is not routed again");
            let released = Scrape::of(&gateway).await.sum("affinity_releases_total", &[]);
            assert!(
                (released - f64::from(calls)).abs() < 0.1,
                "the claim never served and is gone"
            );
            if told == 502 {
                assert_eq!(answer.json()["error"]["code"], "provider_refused");
                assert_eq!(answer.header("x-should-retry"), Some("false"));
            } else {
                assert_eq!(answer.json()["error"]["code"], "by the provider");
            }
        }
    }
}

#[tokio::test]
async fn a_failure_that_may_pass_is_told_before_a_refused_credential() {
    let upstream = Upstream::start(|seen| {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        if body.contains("skip") {
            return affinity_tests::ok_json(&json!({"choices": []}));
        }
        let two = body.contains("claude");
        let status = if two { "401 Unauthorized" } else { "429 Too Many Requests" };
        let head = format!("HTTP/1.1 {status}\r\nretry-after: 60\r\ncontent-length: 0\r\n\r\n");
        Answer::Bytes(head.into_bytes())
    });
    let (upstream, router) = (upstream.await, ModelRouter::start().await);
    let gateway = on_the_second_route(Setup::routed(&upstream, &router), &router).await;
    let answer = gateway.ask(&turn("s")).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("60")));
    assert_eq!(answer.affinity(), ("false", "failed", ONE));
}

#[tokio::test]
async fn the_clients_own_credential_is_its_own_business() {
    for status in REFUSALS {
        let (upstream, router) = (failing("claude", status).await, ModelRouter::start().await);
        let setup = Setup::routed(&upstream, &router).provider("passthrough_auth: true");
        let gateway = on_the_second_route(setup, &router).await;
        let answer = gateway.ask(&turn("s").header("authorization", "Bearer mine")).await;
        assert_eq!(status.split(' ').next(), Some(answer.status.to_string().as_str()));
        assert_eq!(answer.json()["error"]["code"], "by the provider");
        assert_eq!(answer.affinity(), ("false", "claimed", TWO));
    }
}

#[tokio::test]
async fn what_a_provider_says_of_the_request_is_told_and_moves_nothing() {
    let upstream = Upstream::start(|seen| {
        let missing = seen.json()["previous_response_id"] == "resp_gone";
        let (status, text) = match missing {
            true => ("404 Not Found", "no such response"),
            false => ("403 Forbidden", "this content violates our usage policies"),
        };
        let body = format!("{{\"error\":{{\"message\":\"{text}\"}}}}");
        let head = format!("content-type: application/json\r\ncontent-length: {}", body.len());
        Answer::Bytes(format!("HTTP/1.1 {status}\r\n{head}\r\n\r\n{body}").into_bytes())
    });
    let (upstream, router) = (upstream.await, ModelRouter::start().await);
    let gateway = Setup::routed(&upstream, &router).start().await;
    let refused = gateway.ask(&turn("s")).await;
    assert_eq!((refused.status, refused.affinity()), (403, ("false", "claimed", ONE)));
    assert!(refused.text().contains("usage policies"), "{}", refused.text());
    let body = json!({"model": DEFAULT, "input": "hello",
        "previous_response_id": "resp_gone"});
    let missing = gateway.ask(&post("/v1/responses", body).session("s")).await;
    assert_eq!((missing.status, missing.affinity()), (404, ("true", "hit", ONE)));
}

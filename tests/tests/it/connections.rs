//! The connections to a provider: used again, made anew, never mixed up.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use affinity_tests::models::{ONE, TWO};
use affinity_tests::{Answer, Request, Setup, Upstream, ok_json, post, within};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::sleep;

use crate::chat;

fn turn(text: &str) -> Request {
    post("/v1/chat/completions", chat(ONE, text))
}

/// What the provider was told, in a form that shows an answer given to the wrong request.
fn repeat(text: &str) -> Answer {
    ok_json(&json!({"repeated": text}))
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let upstream = Upstream::echo().await;
    let gateway = Setup::new(&upstream.url()).start().await;
    let mut client = gateway.connect().await;
    for _ in 0..20 {
        assert_eq!(client.ask(&turn("hello")).await.status, 200);
    }
    assert_eq!((upstream.count(), upstream.connections()), (20, 1));
}

#[tokio::test]
async fn requests_at_once_have_connections_of_their_own_and_answers_go_where_they_belong() {
    let upstream = Upstream::start(|seen| {
        let body = seen.json();
        repeat(body["messages"][0]["content"].as_str().unwrap())
    })
    .await;
    let gateway = Setup::new(&upstream.url()).start().await;
    let clients = (0..8).map(async |number| {
        let mut client = gateway.connect().await;
        for turn_of in 0..25 {
            let text = format!("client {number}, turn {turn_of}");
            let answer = client.ask(&turn(&text)).await;
            assert_eq!(answer.json()["repeated"], text);
        }
    });
    within(futures_util::future::join_all(clients)).await;
    assert_eq!(upstream.count(), 200);
    assert!(upstream.connections() <= 8, "{} connections", upstream.connections());
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_was_kept_costs_no_request() {
    for announced in [true, false] {
        let close = if announced { "connection: close\r\n" } else { "" };
        let answer = format!("HTTP/1.1 200 OK\r\n{close}content-length: 2\r\n\r\n{{}}");
        let upstream = Upstream::start(move |_| Answer::Cut(answer.clone().into())).await;
        let gateway = Setup::new(&upstream.url()).start().await;
        let mut client = gateway.connect().await;
        for number in 1..=20 {
            assert_eq!(client.ask(&turn("hello")).await.status, 200);
            assert_eq!((upstream.count(), upstream.connections()), (number, number));
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_closed_as_the_request_comes_is_no_failure_of_its_model() {
    // Each connection serves one request, and is closed by the second without a word.
    let requests = AtomicUsize::new(0);
    let upstream = Upstream::start(move |seen| match requests.fetch_add(1, Relaxed) % 2 {
        0 => ok_json(&json!({"model": seen.json()["model"]})),
        _ => Answer::Cut(Vec::new()),
    })
    .await;
    let gateway = Setup::new(&upstream.url()).start().await;
    let mut client = gateway.connect().await;
    for number in 0..10 {
        let answer = within(client.ask(&turn("hello").session("s"))).await;
        let outcome = if number == 0 { "claimed" } else { "hit" };
        assert_eq!((answer.status, answer.affinity().1), (200, outcome), "turn {number}");
    }
    assert_eq!((upstream.count(), upstream.connections()), (19, 10));
}

#[tokio::test]
async fn what_makes_an_object_is_not_sent_again_when_its_connection_closes() {
    for (path, statuses, count) in [
        ("/v1/videos", [200, 502], 2),
        ("/v1/batches", [200, 502], 2),
        ("/v1/embeddings", [200, 200], 3),
    ] {
        let requests = AtomicUsize::new(0);
        let upstream = Upstream::start(move |_| match requests.fetch_add(1, Relaxed) {
            1 => Answer::Cut(Vec::new()),
            _ => ok_json(&json!({"id": "made-1"})),
        })
        .await;
        let gateway = Setup::new(&upstream.url()).line("passthrough: openai").start().await;
        let mut client = gateway.connect().await;
        let body = if path == "/v1/batches" { json!({}) } else { json!({"model": ONE}) };
        for status in statuses {
            assert_eq!(
                within(client.ask(&post(path, body.clone()))).await.status,
                status,
                "{path}"
            );
        }
        assert_eq!(upstream.count(), count, "{path}");
    }
}

/// The models that a provider is asked for when it closes a kept connection this long after it had a
/// request, and what the client is told.
async fn asked_when_closed_after(wait: Duration) -> (Vec<String>, String) {
    let requests = AtomicUsize::new(0);
    let upstream = Upstream::start(move |seen| {
        if requests.fetch_add(1, Relaxed) != 1 {
            return ok_json(&json!({"model": seen.json()["model"]}));
        }
        let (end, receiver) = unbounded_channel();
        tokio::spawn(async move {
            sleep(wait).await;
            drop(end);
        });
        Answer::Steps(receiver)
    })
    .await;
    let gateway = Setup::new(&upstream.url()).start().await;
    let mut client = gateway.connect().await;
    // Its route leads to TWO, then to ONE.
    let turn = post("/v1/chat/completions", chat("auto", "solving equations")).session("s");
    assert_eq!(within(client.ask(&turn)).await.affinity(), ("false", "claimed", TWO));
    let answer = within(client.ask(&turn)).await;
    let (_, outcome, model) = answer.affinity();
    assert_eq!(within(client.ask(&turn)).await.affinity(), ("true", "hit", model), "it stays so");
    let mut asked = upstream.seen();
    asked.pop();
    let asked = asked.iter().map(|seen| seen.json()["model"].as_str().unwrap().to_owned());
    (asked.collect(), outcome.to_owned())
}

#[tokio::test]
async fn a_model_that_was_at_work_on_a_request_is_not_asked_for_it_again() {
    let names = [ONE, TWO].map(|model| model.split_once('/').unwrap().1.to_owned());
    let [one, two] = &names;
    // The gateway takes a close within a second for one that crossed the request.
    let (asked, outcome) = asked_when_closed_after(Duration::from_millis(1500)).await;
    assert_eq!((&asked[..], &*outcome), (&[two, two, one].map(Clone::clone)[..], "repinned"));
    let (asked, outcome) = asked_when_closed_after(Duration::ZERO).await;
    assert_eq!((&asked[..], &*outcome), (&[two, two, two].map(Clone::clone)[..], "hit"));
}

#[tokio::test]
async fn a_connection_whose_answer_was_not_read_to_its_end_is_not_used_again() {
    let first = Mutex::new(true);
    let upstream = Upstream::start(move |_| {
        let is_first = std::mem::take(&mut *first.lock().unwrap());
        // Its client leaves before the other half comes.
        let half = "HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\nhalf of";
        if is_first { Answer::Bytes(half.into()) } else { repeat("second") }
    })
    .await;
    let gateway = Setup::new(&upstream.url()).start().await;
    let mut client = gateway.connect().await;
    client.write(&turn("first")).await;
    client.head().await;
    client.piece().await;
    drop(client);
    let second = within(gateway.ask(&turn("second"))).await;
    assert_eq!(second.json()["repeated"], "second");
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_was_read_is_passed_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let refusing = tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The head, and of the body what comes along.
            stream.read_exact(&mut [0; 1024]).await.unwrap();
            let refusal = b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: 2\r\n\r\n{}";
            stream.write_all(refusal).await.unwrap();
            kept.push(stream);
        }
    });
    let gateway = Setup::new(&format!("http://{address}")).start().await;
    let mut client = gateway.connect().await;
    let long = turn(&"x".repeat(16 << 20));
    for _ in 0..3 {
        assert_eq!(client.ask(&long).await.status, 413, "on a connection of its own");
    }
    refusing.abort();
}

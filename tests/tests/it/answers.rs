//! What the provider answers reaches the client, as it comes and as it ends.

use affinity_tests::models::{ONE, TWO};
use affinity_tests::{Answer, Gateway, Piece, Refusing, Request, Setup, Upstream, post, within};
use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::chat;

const SSE_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                        transfer-encoding: chunked\r\n\r\n";

fn turn() -> Request {
    post("/v1/chat/completions", chat(ONE, "hello"))
}

async fn answering(answer: impl Into<Vec<u8>>) -> (Upstream, Gateway) {
    let upstream = Upstream::fixed(answer).await;
    let gateway = Setup::new(&upstream.url()).start().await;
    (upstream, gateway)
}

/// An upstream whose one answer is written by the test.
async fn by_hand() -> (Upstream, Gateway, UnboundedSender<Bytes>) {
    let (steps, receiver) = unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let upstream =
        Upstream::start(move |_| Answer::Steps(receiver.lock().unwrap().take().unwrap())).await;
    let gateway = Setup::new(&upstream.url()).start().await;
    (upstream, gateway, steps)
}

fn chunk(data: &str) -> Bytes {
    format!("{:x}\r\n{data}\r\n", data.len()).into()
}

#[tokio::test]
async fn an_event_arrives_before_the_next_is_sent() {
    let paths = ["/v1/chat/completions", "/v1/messages", "/v1/responses"];
    // A first request of a session, and one of no session, are not buffered either.
    for (path, session) in paths.into_iter().flat_map(|path| [(path, true), (path, false)]) {
        let (_upstream, gateway, steps) = by_hand().await;
        let request = post(path, chat(ONE, "hello"));
        let request = if session { request.session("s") } else { request };
        let mut connection = gateway.connect().await;
        connection.write(&request).await;
        steps.send(SSE_HEAD.into()).unwrap();
        for number in 0..3 {
            let event = format!("data: {{\"n\":{number}}}\n\n");
            steps.send(chunk(&event)).unwrap();
            if number == 0 {
                let head = connection.head().await;
                assert_eq!(head.all("content-type"), ["text/event-stream"]);
                assert_eq!(head.all("x-plano-model"), [ONE]);
            }
            assert_eq!(connection.piece().await, Piece::Data(event.into()), "{path}");
        }
        steps.send("0\r\n\r\n".into()).unwrap();
        assert_eq!(connection.piece().await, Piece::End);
    }
}

#[tokio::test]
async fn a_pin_stands_while_its_first_answer_still_streams() {
    let (steps, receiver) = unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let upstream = Upstream::start(move |_| match receiver.lock().unwrap().take() {
        Some(receiver) => Answer::Steps(receiver),
        None => affinity_tests::ok_json(&serde_json::json!({"choices": []})),
    });
    let upstream = upstream.await;
    let gateway = Setup::new(&upstream.url()).start().await;
    let mut first = gateway.connect().await;
    first.write(&turn().session("s")).await;
    steps.send(SSE_HEAD.into()).unwrap();
    steps.send(chunk("data: 1\n\n")).unwrap();
    assert_eq!(first.head().await.all("x-plano-affinity"), ["claimed"]);
    let other = post("/v1/chat/completions", chat(TWO, "hello")).session("s");
    assert_eq!(gateway.ask(&other).await.affinity(), ("true", "hit", ONE));
    steps.send("0\r\n\r\n".into()).unwrap();
    assert_eq!(first.piece().await, Piece::Data("data: 1\n\n".into()));
    assert_eq!(first.piece().await, Piece::End);
}

#[tokio::test]
async fn a_cut_stream_is_not_a_clean_end() {
    // The connection ends in order, the body does not.
    let (_upstream, gateway, steps) = by_hand().await;
    let mut connection = gateway.connect().await;
    connection.write(&turn().session("s")).await;
    steps.send(SSE_HEAD.into()).unwrap();
    steps.send(chunk("data: 1\n\n")).unwrap();
    assert_eq!(connection.head().await.all("transfer-encoding"), ["chunked"]);
    assert_eq!(connection.piece().await, Piece::Data("data: 1\n\n".into()));
    drop(steps);
    assert_eq!(connection.piece().await, Piece::Cut);
}

#[tokio::test]
async fn a_body_shorter_than_announced_is_not_a_clean_end() {
    let (_upstream, gateway, steps) = by_hand().await;
    let mut connection = gateway.connect().await;
    connection.write(&turn()).await;
    steps.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"a\":".into()).unwrap();
    assert_eq!(connection.head().await.all("content-length"), ["100"]);
    assert_eq!(connection.piece().await, Piece::Data("{\"a\":".into()));
    drop(steps);
    assert_eq!(connection.piece().await, Piece::Cut);
}

#[tokio::test]
async fn a_compressed_answer_is_untouched() {
    // No gzip at all: whoever unpacked it would stumble.
    let body = b"\x1f\x8b\x08\x00not really\x00\xff";
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n\
         vary: accept-encoding\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let (upstream, gateway) = answering([head.as_bytes(), body].concat()).await;
    let answer = gateway.ask(&turn().header("accept-encoding", "gzip, br")).await;
    assert_eq!(answer.body, body);
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(answer.header("vary"), Some("accept-encoding"));
    assert_eq!(upstream.last().all("accept-encoding"), ["gzip, br"]);
}

#[tokio::test]
async fn a_refusal_of_the_provider_passes_as_it_is() {
    for (status, reason) in [(400, "Bad Request"), (404, "Not Found"), (422, "Unprocessable")] {
        let body = r#"{"error": {"message":"no" , "type":"their own"}}"#;
        let (_upstream, gateway) = answering(format!(
            "HTTP/1.1 {status} {reason}\r\ncontent-type: application/problem+json\r\n\
             x-ratelimit-remaining: 0\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
        let answer = gateway.ask(&turn().session("s")).await;
        assert_eq!((answer.status, answer.text()), (status, body.to_owned()));
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.header("x-ratelimit-remaining"), Some("0"));
        // A model that is not there serves nobody, and its claim is released.
        let outcome = if status == 404 { "failed" } else { "claimed" };
        assert_eq!(answer.affinity(), ("false", outcome, ONE));
    }
}

#[tokio::test]
async fn a_429_of_the_only_model_passes_as_it_is() {
    let body = r#"{"error":{"message":"slow down","type":"rate_limit"}}"#;
    let (_upstream, gateway) = answering(format!(
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
    .await;
    let answer = gateway.ask(&turn()).await;
    assert_eq!((answer.status, answer.text()), (429, body.to_owned()));
    assert_eq!(answer.header("retry-after"), Some("7"));
    assert_eq!(answer.affinity(), ("false", "none", ONE));
}

#[tokio::test]
async fn a_redirect_is_the_clients_to_follow() {
    let elsewhere = Upstream::echo().await;
    let url = elsewhere.url();
    let (_upstream, gateway) =
        answering(format!("HTTP/1.1 307 T\r\nlocation: {url}/x\r\ncontent-length: 0\r\n\r\n"))
            .await;
    let answer = gateway.ask(&turn()).await;
    assert_eq!((answer.status, answer.header("location")), (307, Some(&*format!("{url}/x"))));
    assert_eq!(elsewhere.count(), 0);
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_told_in_the_protocols_shape() {
    let nowhere = Refusing::new();
    let gateway = Setup::new(&nowhere.url()).start().await;
    for path in ["/v1/chat/completions", "/v1/responses"] {
        let refused = gateway.ask(&post(path, chat(ONE, "hello"))).await;
        assert_eq!(refused.refusal(), (502, "upstream_unreachable".to_owned()));
        assert_eq!(refused.json()["error"]["type"], "server_error");
        assert_eq!(refused.affinity(), ("false", "none", ONE));
    }
    let refused = gateway.ask(&post("/v1/messages", chat(ONE, "hello"))).await;
    assert_eq!((refused.status, refused.json()["type"].as_str()), (502, Some("error")));
    assert_eq!(refused.json()["error"]["type"], "api_error");
    assert!(refused.json()["error"]["message"].is_string());
}

#[tokio::test]
async fn an_upstream_that_breaks_off_or_speaks_no_http_is_a_502() {
    for answer in ["", "SSH-2.0-OpenSSH_9\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-le"] {
        let upstream = Upstream::start(move |_| Answer::Cut(answer.into())).await;
        let gateway = Setup::new(&upstream.url()).start().await;
        let refused = within(gateway.ask(&turn())).await;
        assert_eq!(refused.refusal(), (502, "upstream_error".to_owned()), "{answer}");
    }
}

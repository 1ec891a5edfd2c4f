//! Clients that take their time.

use std::time::Duration;

use affinity_tests::{Answer, Connection, Gateway, Piece, Setup, Upstream, get, until, within};
use bytes::Bytes;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::Instant;

use crate::{serves, turn, with};

const LIMITS: &str = "limits: {header_timeout_ms: 400, idle_timeout_ms: 1500}";

/// Ends when the gateway closes the connection; what it took since `began`.
async fn closed_after(mut connection: Connection, began: Instant) -> Duration {
    assert!(within(connection.wire.head()).await.is_none(), "an answer");
    began.elapsed()
}

/// Clients whose heads do not end.
async fn slow_heads(gateway: &Gateway) -> Vec<Connection> {
    let mut slow = Vec::new();
    for number in 0..300 {
        let mut connection = gateway.connect().await;
        // Some say nothing, some stop in what may yet be the preface of HTTP/2.
        let first: &[u8] = match number % 4 {
            0 => b"",
            1 => b"P",
            2 => b"PRI * HTTP/2.0\r\n\r\nS",
            _ => b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-slow: ",
        };
        connection.wire.write(first).await.unwrap();
        slow.push(connection);
    }
    slow
}

#[tokio::test]
async fn three_hundred_slow_heads_are_closed_at_their_time_limit() {
    let (_upstream, mut gateway) = with(|setup| setup.line(LIMITS)).await;
    // The same with much time, which closes none meanwhile.
    let (_other, patient) = with(|setup| setup).await;
    let idle = patient.sockets();
    let held = slow_heads(&patient).await;
    let (began, before) = (Instant::now(), gateway.sockets());
    let slow = slow_heads(&gateway).await;
    // Meanwhile others are served.
    serves(&mut gateway).await;
    for connection in slow {
        assert!(closed_after(connection, began).await >= Duration::from_millis(400));
    }
    until(async || gateway.sockets() <= before + 1).await;
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    assert!(patient.sockets() >= idle + held.len(), "they are closed by something else");
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_has_no_more_time() {
    let (_upstream, gateway) = with(|setup| setup.line(LIMITS)).await;
    let began = Instant::now();
    let mut connection = gateway.connect().await;
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let drip = async {
        while connection.wire.write(b"x").await.is_ok() {
            pace.tick().await;
        }
    };
    within(drip).await;
    assert!(began.elapsed() >= Duration::from_millis(400));
}

#[tokio::test]
async fn a_kept_connection_outlives_the_time_for_a_head() {
    let (_upstream, gateway) = with(|setup| setup.line(LIMITS)).await;
    let mut connection = gateway.connect().await;
    assert_eq!(connection.ask(&get("/v1/models")).await.status, 200);
    let idle = Instant::now();
    let took = closed_after(connection, idle).await;
    assert!(took >= Duration::from_millis(1300), "{took:?}");

    // A second head has the time of a head, from its first byte.
    let mut connection = gateway.connect().await;
    assert_eq!(connection.ask(&get("/v1/models")).await.status, 200);
    let began = Instant::now();
    connection.wire.write(b"GET /v1/mod").await.unwrap();
    let took = closed_after(connection, began).await;
    assert!(took >= Duration::from_millis(400) && took < Duration::from_millis(1300), "{took:?}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_let_go() {
    let (steps, receiver) = unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let upstream =
        Upstream::start(move |_| Answer::Steps(receiver.lock().unwrap().take().unwrap())).await;
    let limits = "limits: {send_timeout_ms: 500}";
    let gateway = Setup::new(&upstream.url()).line(limits).start().await;
    let before = gateway.sockets();
    let mut connection = gateway.connect().await;
    connection.write(&turn()).await;
    steps.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".into()).unwrap();
    connection.head().await;
    // More than the sockets between them hold.
    let chunk = Bytes::from([b"100000\r\n".as_slice(), &vec![b'x'; 1 << 20], b"\r\n"].concat());
    for _ in 0..32 {
        steps.send(chunk.clone()).unwrap();
    }
    until(async || gateway.sockets() == before).await;
    // What is in the sockets is all that still comes.
    let cut = async { while !matches!(connection.piece().await, Piece::Cut) {} };
    within(cut).await;
}

/// One that is slow only because the model is.
#[tokio::test]
async fn a_request_may_take_longer_than_any_of_these() {
    let (steps, receiver) = unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let upstream =
        Upstream::start(move |_| Answer::Steps(receiver.lock().unwrap().take().unwrap())).await;
    let limits = "limits: {header_timeout_ms: 100, idle_timeout_ms: 100, send_timeout_ms: 100, \
                  body_timeout_ms: 100}";
    let gateway: Gateway = Setup::new(&upstream.url()).line(limits).start().await;
    let mut connection = gateway.connect().await;
    connection.write(&turn()).await;
    let mut pace = tokio::time::interval(Duration::from_millis(300));
    steps.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".into()).unwrap();
    assert_eq!(connection.head().await.line, "HTTP/1.1 200 OK");
    for _ in 0..4 {
        pace.tick().await;
        steps.send("1\r\nx\r\n".into()).unwrap();
        assert_eq!(connection.piece().await, Piece::Data("x".into()));
    }
}

//! The gateway as a process: it ends when it is told to, and not otherwise.

use std::os::unix::process::ExitStatusExt;

use affinity_tests::models::{DEFAULT, ONE};
use affinity_tests::{
    Answer, Gateway, Piece, Request, Setup, Upstream, Wire, get, ok_json, post, until,
};
use bytes::Bytes;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::chat;

fn turn() -> Request {
    post("/v1/chat/completions", chat(ONE, "hello"))
}

/// A gateway, and the answer of its provider in the test's hands.
async fn by_hand() -> (Upstream, Gateway, UnboundedSender<Bytes>) {
    let (steps, receiver) = unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let upstream =
        Upstream::start(move |_| Answer::Steps(receiver.lock().unwrap().take().unwrap())).await;
    let gateway = Setup::new(&upstream.url()).start().await;
    (upstream, gateway, steps)
}

async fn refuses_connections(gateway: &Gateway) {
    until(async || TcpStream::connect(gateway.address()).await.is_err()).await;
}

#[tokio::test]
async fn a_request_under_way_may_end_after_the_signal() {
    for (signal, has_file) in [("TERM", true), ("INT", true), ("TERM", false), ("HUP", false)] {
        let (upstream, mut gateway, steps) = by_hand().await;
        if !has_file {
            let url = upstream.url();
            let arguments = ["serve", "--listen", "127.0.0.1:0", "--upstream", &url];
            gateway = Gateway::command(&arguments).await;
        }
        let mut idle = gateway.connect().await;
        assert_eq!(idle.ask(&get("/healthz")).await.status, 200);
        let mut connection = gateway.connect().await;
        connection.write(&turn()).await;
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n";
        steps.send(head.into()).unwrap();
        connection.head().await;
        assert_eq!(connection.piece().await, Piece::Data("one".into()));

        gateway.signal(signal).await;
        refuses_connections(&gateway).await;
        assert!(gateway.runs(), "the request is cut off");
        // One after the other: the process is not just slow to end.
        for _ in 0..500 {
            steps.send("3\r\ntwo\r\n".into()).unwrap();
            assert_eq!(connection.piece().await, Piece::Data("two".into()));
        }
        steps.send("0\r\n\r\n".into()).unwrap();
        assert_eq!(connection.piece().await, Piece::End);
        assert_eq!(gateway.ended().await.code(), Some(0));
    }
}

const STREAMS: usize = 50;

/// How many of fifty streams end in order after the signal, while others come and go.
async fn ended_in_order(has_time: bool) -> usize {
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..STREAMS).map(|_| unbounded_channel::<Bytes>()).unzip();
    let receivers = std::sync::Mutex::new(receivers);
    let upstream = Upstream::start(move |seen| match seen.json()["stream"].as_bool() {
        Some(true) => Answer::Steps(receivers.lock().unwrap().pop().unwrap()),
        _ => ok_json(&json!({"usual": true})),
    })
    .await;
    let limits = if has_time { "" } else { "limits: {drain_timeout_ms: 1}" };
    let mut gateway = Setup::new(&upstream.url()).line(limits).start().await;
    let body = json!({"model": ONE, "stream": true, "messages": []});
    let mut streams = Vec::new();
    // With its first event, since a head alone is held back for that.
    let event = "data: {\"choices\":[]}\n\n";
    for sender in &senders {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let first = format!("{head}{:x}\r\n{event}\r\n", event.len());
        sender.send(first.into()).unwrap();
    }
    for _ in 0..STREAMS {
        let mut connection = gateway.connect().await;
        connection.write(&post("/v1/chat/completions", &body)).await;
        connection.head().await;
        streams.push(connection);
    }
    let address = gateway.address();
    let usual = tokio::spawn(async move {
        let mut served = 0;
        // Until no connection is taken any more. One that is may end before its request is read.
        while let Ok(stream) = TcpStream::connect(address).await {
            let mut wire = Wire::new(stream);
            let asked = wire.write(&turn().wire()).await;
            if asked.is_ok() && wire.head().await.is_some() {
                served += 1;
            }
        }
        served
    });
    until(async || upstream.count() > STREAMS + 20).await;
    gateway.signal("TERM").await;
    refuses_connections(&gateway).await;
    assert!(usual.await.is_ok_and(|served| served > 20));
    if has_time {
        assert!(gateway.runs());
    } else {
        gateway.ended().await;
    }
    let last = format!("4000\r\n{}\r\n0\r\n\r\n", "x".repeat(16 << 10));
    for sender in senders {
        // Nobody takes it where the stream was cut.
        let _ = sender.send(last.clone().into());
    }
    let mut in_order = 0;
    for mut connection in streams {
        let mut length = 0;
        let end = loop {
            match connection.piece().await {
                Piece::Data(piece) => length += piece.len(),
                end => break end,
            }
        };
        in_order += usize::from((length, end) == (event.len() + (16 << 10), Piece::End));
    }
    assert_eq!(gateway.ended().await.code(), Some(0));
    in_order
}

#[tokio::test]
async fn no_answer_of_many_is_cut_by_the_signal() {
    assert_eq!(ended_in_order(true).await, STREAMS);
}

#[tokio::test]
async fn without_time_to_drain_all_of_them_are() {
    assert_eq!(ended_in_order(false).await, 0);
}

#[tokio::test]
async fn the_second_signal_ends_it_at_once() {
    let (_upstream, mut gateway, steps) = by_hand().await;
    let mut connection = gateway.connect().await;
    connection.write(&turn()).await;
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n";
    steps.send(head.into()).unwrap();
    connection.head().await;
    assert_eq!(connection.piece().await, Piece::Data("one".into()));
    gateway.signal("TERM").await;
    refuses_connections(&gateway).await;
    assert!(gateway.runs());
    gateway.signal("TERM").await;
    let status = gateway.ended().await;
    assert!(status.code() == Some(143) || status.signal() == Some(15), "{status}");
    assert_eq!(connection.piece().await, Piece::Cut);
}

#[tokio::test]
async fn without_requests_it_ends_at_the_first_signal() {
    for arguments in
        [&["serve", "--listen", "127.0.0.1:0"][..], &["provider", "--listen", "127.0.0.1:0"]]
    {
        let mut gateway = Gateway::command(arguments).await;
        gateway.signal("TERM").await;
        assert_eq!(gateway.ended().await.code(), Some(0), "{arguments:?}");
    }
}

#[tokio::test]
async fn signals_that_mean_nothing_here_do_not_end_it() {
    let upstream = Upstream::echo().await;
    let yaml = Setup::new(&upstream.url()).yaml();
    for (prepared, signals) in
        [("true", &["USR1", "USR2"][..]), ("trap '' HUP", &["HUP", "USR1", "HUP"])]
    {
        let mut gateway = Gateway::prepared(&yaml, prepared).await;
        for signal in signals {
            gateway.signal(signal).await;
        }
        // The signals are delivered before the process can answer this.
        assert_eq!(gateway.ask(&turn()).await.status, 200, "{prepared}");
        assert!(gateway.runs(), "{prepared}");
        gateway.signal("TERM").await;
        assert_eq!(gateway.ended().await.code(), Some(0), "{prepared}");
    }
}

#[tokio::test]
async fn many_may_connect_while_it_does_not_accept() {
    let upstream = Upstream::echo().await;
    let gateway = Setup::new(&upstream.url()).start().await;
    gateway.signal("STOP").await;
    let mut waiting = Vec::new();
    let second = std::time::Duration::from_secs(1);
    for number in 0..1500 {
        // One for which there is no room is dropped, and tried again after a second.
        let stream = tokio::time::timeout(second, TcpStream::connect(gateway.address())).await;
        waiting.push(stream.unwrap_or_else(|_| panic!("number {number}")).unwrap());
    }
    gateway.signal("CONT").await;
    drop(waiting);
    assert_eq!(gateway.ask(&turn()).await.status, 200);
}

#[tokio::test]
async fn connections_that_are_reset_do_not_end_it() {
    let upstream = Upstream::echo().await;
    let mut gateway = Setup::new(&upstream.url()).start().await;
    for number in 0..200 {
        let mut connection = gateway.connect().await;
        match number % 3 {
            0 => {}
            1 => connection.wire.write(b"POST /v1/chat/comp").await.unwrap(),
            _ => connection.wire.write(b"\x16\x03\x01\x02\x00\x01\x00").await.unwrap(),
        }
        connection.wire.reset();
    }
    assert!(gateway.runs());
    assert_eq!(gateway.ask(&turn()).await.affinity(), ("false", "none", ONE));
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let upstream = Upstream::echo().await;
    let taken = upstream.url();
    let address = taken.strip_prefix("http://").unwrap();
    let output = affinity_tests::run(&["serve", "--listen", address], &[]).await;
    assert_ne!(output.code, Some(0));
    assert!(output.err.contains(&format!("cannot listen on {address}")), "{}", output.err);
}

#[tokio::test]
async fn without_a_configuration_it_works_at_once() {
    let gateway = Gateway::command(&["--listen", "127.0.0.1:0"]).await;
    let prompt = "generate a function that reverses a list";
    let request = post("/v1/chat/completions", chat(DEFAULT, prompt)).session("s");
    let first = gateway.ask(&request).await;
    let model = first.affinity().2.to_owned();
    assert_eq!(first.affinity(), ("false", "claimed", &*model));
    let next = post("/v1/chat/completions", chat(DEFAULT, "hi")).session("s");
    let second = gateway.ask(&next).await;
    assert_eq!(second.affinity(), ("true", "hit", &*model));
    assert_eq!(second.json()["model"], model.split_once('/').unwrap().1);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(gateway.ask(&get(path)).await.status, 200);
    }
}

//! Answers of a provider that are late, broken, or not what they say.

use affinity_tests::models::ONE;
use affinity_tests::{Answer, Gateway, Piece, Setup, Upstream, until, within};
use tokio::sync::mpsc::unbounded_channel;

use crate::{is, serves, turn};

async fn answering(answer: impl Into<Vec<u8>>, limits: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::fixed(answer).await;
    let gateway = Setup::new(&upstream.url()).line(&format!("limits: {{{limits}}}")).start().await;
    (upstream, gateway)
}

#[tokio::test]
async fn a_head_that_does_not_come_is_a_504() {
    let upstream = Upstream::start(|_| Answer::Silence).await;
    let setup = Setup::new(&upstream.url()).line("limits: {upstream_timeout_ms: 300}");
    let gateway = setup.start().await;
    let answer = gateway.ask(&turn()).await;
    assert_eq!(answer.refusal(), is(504, "upstream_timeout"));
    assert_eq!(answer.affinity(), ("false", "none", ONE));
}

#[tokio::test]
async fn hints_without_end_are_bounded_by_the_time_for_a_head() {
    let upstream = Upstream::start(|_| {
        let (steps, receiver) = unbounded_channel();
        tokio::spawn(async move {
            let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(100);
            let mut pace = tokio::time::interval(std::time::Duration::from_millis(1));
            while steps.send(hint.clone().into()).is_ok() {
                pace.tick().await;
            }
        });
        Answer::Steps(receiver)
    });
    let upstream = upstream.await;
    let setup = Setup::new(&upstream.url()).line("limits: {upstream_timeout_ms: 300}");
    let gateway = setup.start().await;
    let before = gateway.resident();
    assert_eq!(within(gateway.ask(&turn())).await.refusal(), is(504, "upstream_timeout"));
    assert!(gateway.resident() < before + 8 * 1024);
}

#[tokio::test]
async fn heads_that_are_none_or_too_many() {
    let fields = |count: usize, length: usize| {
        (0..count).map(|n| format!("x-{n}: {}\r\n", "x".repeat(length))).collect::<String>()
    };
    for (what, head) in [
        (
            "two framings",
            "200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n".to_owned(),
        ),
        ("two lengths", "200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n".to_owned()),
        ("101 not asked for", "101 Switching Protocols\r\nupgrade: websocket\r\n".to_owned()),
        ("100 fields of 8 KB", format!("200 OK\r\ncontent-length: 2\r\n{}", fields(100, 8192))),
        ("1,000 fields", format!("200 OK\r\ncontent-length: 2\r\n{}", fields(1000, 1))),
        ("no status", "OK\r\ncontent-length: 2\r\n".to_owned()),
    ] {
        let (_upstream, gateway) = answering(format!("HTTP/1.1 {head}\r\n{{}}"), "").await;
        let answer = within(gateway.ask(&turn().session("s"))).await;
        assert_eq!(answer.refusal(), is(502, "upstream_error"), "{what}");
    }
}

#[tokio::test]
async fn a_length_that_is_repeated_is_one_and_a_folded_field_moves_no_session() {
    for (fields, what) in [
        ("content-length: 2, 2\r\n", "a list"),
        ("content-length: 2\r\ncontent-length: 2\r\n", "two fields"),
        ("content-length: 2\r\nx-folded: a\r\n b\r\n", "a fold"),
    ] {
        let (_upstream, gateway) =
            answering(format!("HTTP/1.1 200 OK\r\n{fields}\r\n{{}}"), "").await;
        let mut last = ("true".to_owned(), String::new());
        for outcome in ["claimed", "hit"] {
            let answer = within(gateway.ask(&turn().session("s"))).await;
            assert_eq!((answer.status, answer.affinity().1), (200, outcome), "{what}");
            assert_eq!(answer.header("content-length"), Some("2"), "{what}");
            assert!(answer.header("x-folded").is_none_or(|value| !value.contains('\n')), "{what}");
            last = (answer.affinity().0.to_owned(), answer.affinity().2.to_owned());
        }
        assert_eq!(last, ("true".to_owned(), ONE.to_owned()), "{what}");
    }
}

#[tokio::test]
async fn a_line_feed_in_a_field_makes_no_field_of_ours() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: b\nx-plano-pinned: true\n\
                x-plano-model: evil\r\n\r\n{}";
    let (_upstream, gateway) = answering(head, "").await;
    let answer = gateway.ask(&turn()).await;
    assert_eq!((answer.status, answer.affinity()), (200, ("false", "none", ONE)));
    let (_upstream, gateway) = answering("HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n{}", "").await;
    assert_eq!(gateway.ask(&turn()).await.refusal(), is(502, "upstream_error"));
}

#[tokio::test]
async fn a_status_without_a_body_has_none() {
    for status in ["204 No Content", "304 Not Modified"] {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\nhello");
        let (_upstream, mut gateway) = answering(answer, "").await;
        let mut connection = gateway.connect().await;
        connection.write(&turn()).await;
        let head = connection.wire.head().await.unwrap();
        assert_eq!(head.line, format!("HTTP/1.1 {status}"));
        // What stood behind it is in no answer: the next one on this connection is whole.
        connection.write(&turn()).await;
        let head = connection.wire.head().await.unwrap();
        assert_eq!(head.line, format!("HTTP/1.1 {status}"));
        assert!(gateway.runs());
    }
}

#[tokio::test]
async fn odd_events_pass_byte_for_byte() {
    let long = format!("data: {}\r\n\r\n", "x".repeat(10 << 20));
    for events in ["data: 1\n\ndata: 2", "data: a\r", "\ndata: b\r\n\r\n: comment\n", &long] {
        let chunk = format!("{:x}\r\n{events}\r\n0\r\n\r\n", events.len());
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                    transfer-encoding: chunked\r\n\r\n";
        let (_upstream, gateway) = answering(format!("{head}{chunk}"), "").await;
        for session in ["s", "s"] {
            let answer = gateway.ask(&turn().session(session)).await;
            assert!(answer.complete && answer.body == events.as_bytes(), "{events:.20}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_stops_is_broken_off_and_the_log_says_why() {
    let (steps, receiver) = unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let upstream =
        Upstream::start(move |_| Answer::Steps(receiver.lock().unwrap().take().unwrap())).await;
    let setup = Setup::new(&upstream.url()).line("limits: {upstream_idle_timeout_ms: 300}");
    let mut gateway = setup.start().await;
    let mut connection = gateway.connect().await;
    connection.write(&turn()).await;
    steps.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n".into()).unwrap();
    connection.head().await;
    assert_eq!(connection.piece().await, Piece::Data("x".into()));
    assert_eq!(within(connection.piece()).await, Piece::Cut);
    until(async || gateway.log().contains("upstream_idle_timeout_ms")).await;
    assert!(gateway.runs());
}

#[tokio::test]
async fn a_stream_that_is_reset_is_cut_and_costs_nobody_else() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\ndata:\r\n";
    let upstream = Upstream::start(move |seen| match seen.has("x-cut") {
        true => Answer::Cut(head.into()),
        false => affinity_tests::ok_json(&serde_json::json!({"model": "m"})),
    });
    let upstream = upstream.await;
    let mut gateway = Setup::new(&upstream.url()).start().await;
    for _ in 0..50 {
        let mut connection = gateway.connect().await;
        connection.write(&turn().header("x-cut", "1")).await;
        // Cut before its head was sent, there may be nothing of it at all.
        if let Some(head) = connection.wire.head().await {
            let (_, complete) = connection.wire.rest_of(&head).await;
            assert!(head.line.contains(" 502 ") || !complete, "{head:?}");
        }
    }
    serves(&mut gateway).await;
}

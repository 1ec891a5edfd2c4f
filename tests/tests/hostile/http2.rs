//! HTTP/2 by frames, as attackers send it.

use std::time::Duration;

use affinity_tests::h2::{END_HEADERS, END_STREAM, Frames, Reply, fields, frame, kind};
use affinity_tests::until;

use crate::{chat, serves, start, turn, with};

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/v1/models"), (":authority", "localhost")];
const WHOLE: u8 = END_HEADERS | END_STREAM;

/// A GET with further fields.
fn get(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    frame(kind::HEADERS, WHOLE, stream, &fields(&[&GET, more].concat()))
}

/// A POST of JSON.
fn post(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    let path = (":path", "/v1/chat/completions");
    let head = [(":method", "POST"), GET[1], path, GET[3], ("content-type", "application/json")];
    let head = frame(kind::HEADERS, END_HEADERS, stream, &fields(&[&head, more].concat()));
    [head, frame(kind::DATA, END_STREAM, stream, chat().as_bytes())].concat()
}

#[tokio::test]
async fn heads_that_are_malformed() {
    let (_upstream, mut gateway) = start().await;
    for (more, reply) in [
        (("X-Upper", "1"), Reply::GoAway(1)),
        (("x-lines", "a\r\nx-evil: 1"), Reply::GoAway(1)),
        (("x-escape", "a\u{1b}[2J"), Reply::GoAway(1)),
        (("connection", "close"), Reply::Reset(1)),
        ((":path", "/again"), Reply::Reset(1)),
        (("te", "gzip"), Reply::Reset(1)),
    ] {
        let mut frames = Frames::open(gateway.address()).await;
        frames.send(&get(1, &[more])).await;
        assert_eq!(frames.reply().await, reply, "{more:?}");
    }
    serves(&mut gateway).await;
}

#[tokio::test]
async fn heads_that_are_too_large() {
    let (_upstream, gateway) = start().await;
    let mut frames = Frames::open(gateway.address()).await;
    frames.send(&get(1, &[("x-much", &"x".repeat(12_000))])).await;
    assert_eq!(frames.reply().await, Reply::Status(200));
    // 20 KB in two frames.
    let much = "x".repeat(10_000);
    let first = fields(&[&GET[..], &[("x-one", &much)]].concat());
    let first = frame(kind::HEADERS, END_STREAM, 3, &first);
    let second = frame(kind::CONTINUATION, END_HEADERS, 3, &fields(&[("x-two", &much)]));
    frames.send(&[first, second].concat()).await;
    assert_eq!(frames.reply().await, Reply::Status(431));
    // 100 KB: the connection is worth no answer.
    let mut frames = Frames::open(gateway.address()).await;
    let mut sent = frame(kind::HEADERS, END_STREAM, 1, &fields(&GET));
    for n in 0..10 {
        let flags = if n == 9 { END_HEADERS } else { 0 };
        sent.extend(frame(kind::CONTINUATION, flags, 1, &fields(&[("x-much", &much)])));
    }
    frames.send(&sent).await;
    assert!(!matches!(frames.reply().await, Reply::Status(_)));
    // The number counts as well as the size.
    let names: Vec<_> = (0..101).map(|n| format!("x-{n}")).collect();
    let many: Vec<_> = names.iter().map(|name| (&**name, "1")).collect();
    let mut frames = Frames::open(gateway.address()).await;
    frames.send(&get(1, &many)).await;
    assert_eq!(frames.reply().await, Reply::Status(431));
}

#[tokio::test]
async fn floods_end_the_connection_with_enhance_your_calm() {
    let (_upstream, mut gateway) = start().await;
    let many =
        |count: u32, one: &dyn Fn(u32) -> Vec<u8>| (0..count).flat_map(one).collect::<Vec<_>>();
    let open = frame(kind::HEADERS, END_STREAM, 1, &fields(&GET));
    let continued = many(2000, &|_| frame(kind::CONTINUATION, 0, 1, &fields(&[("a", "")])));
    let resets = many(2000, &|n| {
        let reset = frame(kind::RST_STREAM, 0, 2 * n + 1, &8_u32.to_be_bytes());
        [get(2 * n + 1, &[]), reset].concat()
    });
    let post = [(":method", "POST"), GET[1], (":path", "/v1/messages"), GET[3]];
    let post = frame(kind::HEADERS, END_HEADERS, 1, &fields(&post));
    let empty = many(20_000, &|_| frame(kind::DATA, 0, 1, &[]));
    for (what, flood) in [
        ("continuations", [open, continued].concat()),
        ("resets", resets),
        ("empty data", [post, empty].concat()),
    ] {
        let mut frames = Frames::open(gateway.address()).await;
        frames.send(&flood).await;
        assert_eq!(frames.end().await, Reply::GoAway(11), "{what}");
    }
    let zeros = many(2000, &|n| {
        let update = frame(kind::WINDOW_UPDATE, 0, 2 * n + 1, &0_u32.to_be_bytes());
        [get(2 * n + 1, &[]), update].concat()
    });
    let mut frames = Frames::open(gateway.address()).await;
    frames.send(&zeros).await;
    assert_eq!(frames.end().await, Reply::GoAway(1));
    serves(&mut gateway).await;
}

#[tokio::test]
async fn session_ids_come_over_http2_as_well() {
    let (upstream, gateway) = start().await;
    let id = |id| ("x-model-affinity", id);
    for (ids, status) in [
        (&[id("a"), id("a")][..], 200),
        (&[id("a"), id("b")], 400),
        (&[id("")], 400),
        (&[id("a,b")], 400),
        (&[id("a b")], 400),
    ] {
        let mut frames = Frames::open(gateway.address()).await;
        frames.send(&post(1, ids)).await;
        assert_eq!(frames.reply().await, Reply::Status(status), "{ids:?}");
    }
    assert_eq!(upstream.count(), 1);
    let seen = upstream.last();
    assert_eq!(seen.line, "POST /v1/chat/completions HTTP/1.1");
    assert_eq!(seen.all("host").len(), 1);
}

#[tokio::test]
async fn the_host_of_a_request_is_one() {
    let (_upstream, gateway) = start().await;
    for (head, reply) in [
        (&[GET[0], GET[1], GET[2], GET[3], ("host", "localhost")][..], 200),
        (&[GET[0], GET[1], GET[2], GET[3], ("host", "other")], 400),
        (&[GET[0], GET[1], GET[2], ("host", "localhost")], 200),
        (&[GET[0], GET[1], GET[2], ("host", "evil.example")], 403),
        (&[GET[0], GET[1], GET[2]], 400),
    ] {
        let mut frames = Frames::open(gateway.address()).await;
        frames.send(&frame(kind::HEADERS, WHOLE, 1, &fields(head))).await;
        assert_eq!(frames.reply().await, Reply::Status(reply), "{head:?}");
    }
}

#[tokio::test]
async fn streams_that_are_not_read_are_reset_and_let_go_of_their_places() {
    let limits = "limits: {max_requests: 3, send_timeout_ms: 500}";
    let (upstream, gateway) = with(|setup| setup.line(limits)).await;
    let mut connections = Vec::new();
    // With no window, all of an answer waits; with a small one, its rest does, which the server has given
    // away by then, its end included.
    for window in [0, 1, 30] {
        let mut frames = Frames::open(gateway.address()).await;
        frames.send(&frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, window])).await;
        let before = upstream.count();
        for stream in [1, 3, 5] {
            frames.send(&post(stream, &[])).await;
            assert_eq!(frames.reply().await, Reply::Status(200));
        }
        until(async || upstream.count() == before + 3).await;
        // All places are taken.
        assert_eq!(gateway.ask(&turn()).await.status, 503, "{window}");
        // CANCEL: not for a fault of the client, who may ask again.
        for _ in 0..3 {
            assert_eq!(frames.reply().await, Reply::Reset(8), "{window}");
        }
        until(async || gateway.ask(&turn()).await.status == 200).await;
        connections.push(frames);
    }
    // The connections live on, and so do their other streams.
    for frames in &mut connections {
        frames.send(&frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])).await;
        frames.send(&post(7, &[])).await;
        assert_eq!(frames.reply().await, Reply::Status(200));
    }
}

#[tokio::test]
async fn the_whole_answer_comes_however_small_the_window() {
    let (_upstream, gateway) = with(|setup| setup.line("limits: {send_timeout_ms: 500}")).await;
    let mut frames = Frames::open(gateway.address()).await;
    frames.send(&frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1])).await;
    frames.send(&post(1, &[])).await;
    assert_eq!(frames.reply().await, Reply::Status(200));
    // More slowly than the time limit is for all of it, and yet some of it in time.
    let (mut body, mut pace) = (Vec::new(), tokio::time::interval(Duration::from_millis(20)));
    while let Some(piece) = frames.data().await {
        body.extend(piece);
        pace.tick().await;
        frames.send(&frame(kind::WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes())).await;
    }
    assert!(body.len() > 30, "so it took longer than the limit");
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert!(answer.is_object());
}

#[tokio::test]
async fn an_idle_connection_may_ping_and_a_silent_one_ends() {
    let limits = "limits: {header_timeout_ms: 300, idle_timeout_ms: 1500}";
    let (_upstream, gateway) = with(|setup| setup.line(limits)).await;
    // A preface is no request.
    let began = tokio::time::Instant::now();
    let mut silent = Frames::open(gateway.address()).await;
    assert_eq!(silent.end().await, Reply::Closed);
    assert!(began.elapsed().as_millis() >= 300);
    let mut frames = Frames::open(gateway.address()).await;
    frames.send(&get(1, &[])).await;
    assert_eq!(frames.reply().await, Reply::Status(200));
    let idle = tokio::time::Instant::now();
    frames.send(&frame(kind::PING, 0, 0, &[7; 8])).await;
    assert!(matches!(frames.end().await, Reply::Closed | Reply::GoAway(0)));
    assert!(idle.elapsed().as_millis() >= 1000, "a ping is not the head of a request");
}

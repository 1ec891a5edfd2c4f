//! Many streams at once: each passes byte for byte, and none leaves anything behind.

use std::sync::{Arc, Mutex};

use affinity_tests::{Answer, Gateway, Piece, Setup, Upstream, post, until, within};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::{chat, turn};

const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

const STREAMS: usize = 50;

/// The events of stream `number`, in pieces of odd lengths: no two streams are alike.
fn pieces(number: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..40).map(move |piece| {
        let letter = b'a' + u8::try_from((number + piece) % 26).unwrap();
        let filler = vec![letter; 10_007 + 611 * ((number * 7 + piece * 3) % 50)];
        [format!("data: {number}-{piece} ").as_bytes(), &filler, b"\n\n"].concat()
    })
}

#[tokio::test]
async fn fifty_streams_at_once_pass_byte_for_byte() {
    let upstream = Upstream::start(|seen| {
        let (steps, receiver) = unbounded_channel();
        steps.send(HEAD.into()).unwrap();
        let number = usize::try_from(seen.json()["seed"].as_u64().unwrap()).unwrap();
        for piece in pieces(number) {
            let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat();
            steps.send(chunk.into()).unwrap();
        }
        steps.send("0\r\n\r\n".into()).unwrap();
        Answer::Steps(receiver)
    })
    .await;
    let gateway = Setup::new(&upstream.url()).start().await;
    let mut readers = JoinSet::new();
    for number in 0..STREAMS {
        let mut connection = gateway.connect().await;
        let mut body: serde_json::Value = serde_json::from_str(&chat()).unwrap();
        body["seed"] = json!(number);
        body["stream"] = json!(true);
        let session = format!("s-{number}");
        readers.spawn(async move {
            let request = post("/v1/chat/completions", body).session(&session);
            let answer = connection.ask(&request).await;
            let expected: Vec<u8> = pieces(number).flatten().collect();
            assert!(answer.complete && answer.body.len() == expected.len(), "{number}");
            assert!(answer.body == expected, "{number} differs");
            answer.body.len()
        });
    }
    let lengths = within(readers.join_all()).await;
    let sum = lengths.iter().sum::<usize>();
    assert!(sum > 40_000_000, "{sum} bytes in all");
}

/// Streams that go on for ever, and what keeps them going.
type Held = Arc<Mutex<Vec<UnboundedSender<Bytes>>>>;

async fn endless() -> (Upstream, Held) {
    let held = Held::default();
    let senders = held.clone();
    let upstream = Upstream::start(move |_| {
        let (steps, receiver) = unbounded_channel();
        steps.send(HEAD.into()).unwrap();
        steps.send("9\r\ndata: 1\n\n\r\n".into()).unwrap();
        senders.lock().unwrap().push(steps);
        Answer::Steps(receiver)
    });
    (upstream.await, held)
}

/// As many streams as there are places, begun and all reset.
async fn wave(gateway: &Gateway, places: usize) {
    let mut streams = Vec::new();
    for _ in 0..places {
        let mut connection = gateway.connect().await;
        connection.write(&turn()).await;
        streams.push(connection);
    }
    for stream in &mut streams {
        let head = stream.head().await;
        assert!(head.line.contains(" 200 "), "a place was not given back: {}", head.line);
        assert!(matches!(stream.piece().await, Piece::Data(_)));
    }
    let refused = gateway.ask(&turn()).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "all are taken");
    streams.into_iter().for_each(|stream| stream.wire.reset());
}

#[tokio::test]
async fn a_thousand_streams_that_are_left_leave_no_place_and_no_socket_behind() {
    const PLACES: usize = 100;
    let (upstream, held) = endless().await;
    let limit = format!("limits: {{max_requests: {PLACES}}}");
    let mut gateway = Setup::new(&upstream.url()).line(&limit).start().await;
    let before = gateway.sockets();
    let mut resident = Vec::new();
    let waves = std::env::var("AFFINITY_WAVES").map_or(10, |waves| waves.parse().unwrap());
    for _ in 0..waves {
        wave(&gateway, PLACES).await;
        until(async || gateway.sockets() == before).await;
        held.lock().unwrap().clear();
        resident.push(gateway.resident());
    }
    assert_eq!(upstream.count(), waves * PLACES);
    println!("{resident:?} KiB");
    let (second, last) = (resident[1], resident[waves - 1]);
    assert!(last < second + 8 * 1024, "{resident:?} KiB");
    drop(upstream);
    assert_eq!(gateway.ask(&turn()).await.status, 502);
    assert!(gateway.runs());
}

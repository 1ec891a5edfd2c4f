//! More than there is room for, and time that stands still.

use affinity_tests::models::ONE;
use affinity_tests::{Answer, Gateway, Piece, Setup, Upstream, get, post, until, within};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;

use crate::{serves, start, turn};

#[tokio::test]
async fn without_file_descriptors_it_waits_and_goes_on() {
    let upstream = Upstream::echo().await;
    let config = Setup::new(&upstream.url()).yaml();
    let mut gateway = Gateway::prepared(&config, "ulimit -n 256").await;
    serves(&mut gateway).await;
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(gateway.connect().await);
    }
    until(async || gateway.log().contains("cannot be accepted")).await;
    // Whoever has a connection is served: nothing new is needed for it.
    assert_eq!(held[0].ask(&get("/healthz")).await.status, 200);
    assert!(gateway.runs());
    drop(held);
    until(async || gateway.log().contains("accepted again")).await;
    serves(&mut gateway).await;
    let told = gateway.log().matches("cannot be accepted").count();
    assert!(told < 10, "one line a state, and not one an attempt: {told}");
}

#[tokio::test]
async fn ten_times_as_many_as_there_is_room_for() {
    let (upstream, gateway) = {
        let upstream = Upstream::echo().await;
        let setup = Setup::new(&upstream.url()).line("limits: {max_requests: 8}");
        let gateway = setup.start().await;
        (upstream, gateway)
    };
    let mut clients = JoinSet::new();
    for _ in 0..80 {
        let mut connection = gateway.connect().await;
        clients.spawn(async move {
            let (mut served, mut shed) = (0, 0);
            for _ in 0..50 {
                let answer = connection.ask(&turn()).await;
                match answer.status {
                    200 => served += 1,
                    503 => {
                        assert_eq!(answer.header("retry-after"), Some("1"));
                        shed += 1;
                    }
                    other => panic!("{other}: {}", answer.text()),
                }
            }
            (served, shed)
        });
    }
    let counts = within(clients.join_all()).await;
    let served: usize = counts.iter().map(|(served, _)| served).sum();
    let shed: usize = counts.iter().map(|(_, shed)| shed).sum();
    assert_eq!((served + shed, upstream.count()), (4000, served));
    assert!(served > 0 && shed > 0, "{served} served, {shed} shed");
    assert_eq!(gateway.ask(&turn()).await.status, 200);
}

#[tokio::test]
async fn a_process_that_was_stopped_goes_on_where_it_was() {
    let (_upstream, mut gateway) = start().await;
    assert_eq!(gateway.ask(&turn().session("s")).await.affinity(), ("false", "claimed", ONE));
    gateway.signal("STOP").await;
    let mut waiting = gateway.connect().await;
    waiting.write(&turn().session("s")).await;
    let early = std::time::Duration::from_millis(500);
    assert!(tokio::time::timeout(early, waiting.head()).await.is_err(), "it is not stopped");
    gateway.signal("CONT").await;
    let mut connection = gateway.connect().await;
    assert_eq!(connection.ask(&turn().session("s")).await.affinity(), ("true", "hit", ONE));
    serves(&mut gateway).await;
}

/// What the gateway holds after each tenth of a flood of new sessions, in KiB, when it may keep
/// `entries` of them.
async fn flooded(sessions: usize, entries: usize) -> Vec<u64> {
    let upstream = Upstream::echo().await;
    let most = format!("session_max_entries: {entries}");
    let gateway = Setup::new(&upstream.url()).routing(&most).start().await;
    let mut resident = Vec::new();
    for tenth in 0..10 {
        let mut clients = JoinSet::new();
        for client in 0..4 {
            let mut connection = gateway.connect().await;
            clients.spawn(async move {
                for n in 0..sessions / 40 {
                    let id = format!("session-{tenth}-{client}-{n}");
                    // A pin holds the route that the body brought along, here one of its own.
                    let name = format!("{id:-<250}");
                    let body = json!({
                        "model": ONE,
                        "messages": [{"role": "user", "content": "baking bread"}],
                        "routing_preferences":
                            [{"name": name, "description": "baking bread", "models": [ONE]}],
                    });
                    let request = post("/routing/v1/chat/completions", body).session(&id);
                    let answer = connection.ask(&request).await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    assert_eq!(answer.json()["route"], *name);
                }
            });
        }
        clients.join_all().await;
        resident.push(gateway.resident());
    }
    resident
}

/// Sessions of the short form: pins of so many would take 10 MiB.
const FLOOD: usize = 12_000;

/// Whether memory grew by more than what a machine at work makes of it.
fn grew(resident: &[u64]) -> bool {
    resident[9] > resident[0] + 4 * 1024
}

/// The short form; `docs/hostile-input.md` says how the long one is run.
#[tokio::test]
async fn a_flood_of_new_sessions_takes_no_more_memory() {
    let sessions = std::env::var("AFFINITY_FLOOD").ok().and_then(|count| count.parse().ok());
    let sessions: usize = sessions.unwrap_or(FLOOD);
    // After a tenth the store is full twice over; what follows finds its place there.
    let resident = flooded(sessions, sessions / 20).await;
    println!("{sessions} sessions: {resident:?} KiB");
    assert!(!grew(&resident), "{resident:?} KiB");
}

#[tokio::test]
async fn without_a_bound_a_flood_takes_more_memory() {
    let resident = flooded(FLOOD, FLOOD).await;
    assert!(grew(&resident), "{resident:?} KiB");
}

#[tokio::test]
async fn two_hundred_mebibytes_pass_through_and_are_not_held() {
    const CHUNKS: usize = 200;
    let (steps, receiver) = unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let upstream =
        Upstream::start(move |_| Answer::Steps(receiver.lock().unwrap().take().unwrap())).await;
    let gateway = Setup::new(&upstream.url()).start().await;
    let mut connection = gateway.connect().await;
    connection.write(&turn()).await;
    steps.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".into()).unwrap();
    connection.head().await;
    let before = gateway.resident();
    let data = Bytes::from(vec![b'x'; 1 << 20]);
    let chunk = Bytes::from([b"100000\r\n".as_slice(), &data, b"\r\n"].concat());
    // All of it is offered at once, and taken piece by piece.
    for _ in 0..CHUNKS {
        steps.send(chunk.clone()).unwrap();
    }
    steps.send("0\r\n\r\n".into()).unwrap();
    let (mut length, mut most) = (0, before);
    loop {
        match connection.piece().await {
            Piece::Data(piece) => length += piece.len(),
            end => break assert_eq!(end, Piece::End),
        }
        most = most.max(gateway.resident());
    }
    assert_eq!(length, CHUNKS << 20);
    assert!(most < before + 8 * 1024, "{before} KiB, then {most} KiB");
}

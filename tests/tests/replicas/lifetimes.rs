//! Pins that live by their use: answers that run longer than the idle time, and a killed replica.

use std::net::SocketAddr;
use std::time::Duration;

use affinity_tests::models::DEFAULT;
use affinity_tests::redis::RedisServer;
use affinity_tests::{
    Answer, Connection, Gateway, ModelRouter, Piece, Request, Setup, Upstream, field, ok_json,
    post, until,
};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::{ids, is_ready, turn};

/// `session_ttl_seconds`.
const IDLE: Duration = Duration::from_secs(2);
/// Longer than the idle time: between two pieces of an answer only the gateway holds the pin.
const SILENCE: Duration = Duration::from_millis(2700);
/// How long a client runs its tools between two turns.
const TOOLS: Duration = Duration::from_secs(1);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(1);
const REPLICAS: usize = 3;
/// Ten for each replica.
const SESSIONS: usize = 10 * REPLICAS;
/// Where the third turn of every third session is when it is killed.
const KILLED: usize = 2;

/// Streams an answer of four events over some eight seconds, the first at once; what is not to be
/// streamed it answers at once.
async fn slow() -> Upstream {
    Upstream::start(|seen| {
        if seen.json()["stream"] != true {
            return ok_json(&json!({"choices": []}));
        }
        let (steps, receiver) = unbounded_channel();
        tokio::spawn(async move {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                        connection: close\r\ntransfer-encoding: chunked\r\n\r\n";
            let choice = json!({"index": 0, "delta": {"content": "word "}});
            let word = format!("data: {}\n\n", json!({"choices": [choice]}));
            let chunk = |data: &str| Bytes::from(format!("{:x}\r\n{data}\r\n", data.len()));
            // A send fails when the gateway is gone.
            let _ = steps.send(head.into());
            let _ = steps.send(chunk(&word));
            for _ in 0..3 {
                sleep(SILENCE).await;
                let _ = steps.send(chunk(&word));
            }
            let _ = steps.send(chunk("data: [DONE]\n\n"));
            let _ = steps.send("0\r\n\r\n".into());
        });
        Answer::Steps(receiver)
    })
    .await
}

fn streamed(session: &str) -> Request {
    let message = json!({"role": "user", "content": "hello"});
    let body = json!({"model": DEFAULT, "stream": true, "messages": [message]});
    post("/v1/chat/completions", body).session(session)
}

/// What a session was told.
struct Told {
    session: String,
    /// Why and which model, by turn.
    turns: Vec<(String, String)>,
    /// Whether the last answer was broken off.
    cut: bool,
}

/// Three streamed turns, each at the next replica, and one more at a replica that lives.
async fn run(session: String, first: usize, addresses: [SocketAddr; REPLICAS]) -> Told {
    let mut told = Told { session, turns: Vec::new(), cut: false };
    for n in 0..REPLICAS {
        let mut connection = Connection::open(addresses[(first + n) % REPLICAS]).await;
        connection.write(&streamed(&told.session)).await;
        let head = connection.head().await;
        assert!(head.line.contains(" 200 "), "{}: {}", told.session, head.line);
        let value = |name| field(&head.fields, name)[0].to_owned();
        told.turns.push((value("x-plano-affinity"), value("x-plano-model")));
        let started = Instant::now();
        loop {
            match connection.piece().await {
                Piece::Data(_) => {}
                Piece::End => break,
                Piece::Cut => {
                    told.cut = true;
                    return told;
                }
            }
        }
        assert!(started.elapsed() > 3 * IDLE, "it ran for {:?}", started.elapsed());
        sleep(TOOLS).await;
    }
    let mut connection = Connection::open(addresses[first % KILLED]).await;
    let last = connection.ask(&turn(&told.session)).await;
    let (_, why, model) = last.affinity();
    told.turns.push((why.to_owned(), model.to_owned()));
    told
}

/// The sessions' pins in Redis.
struct Pins<'a> {
    redis: &'a RedisServer,
    names: Vec<String>,
}

impl<'a> Pins<'a> {
    fn of(redis: &'a RedisServer, sessions: &[String]) -> Self {
        let names = sessions.iter().map(|session| format!("plano:affinity:{session}")).collect();
        Self { redis, names }
    }

    /// How many there are.
    async fn count(&self) -> usize {
        let command: Vec<_> =
            ["EXISTS"].into_iter().chain(self.names.iter().map(|name| &**name)).collect();
        usize::try_from(self.redis.run(&command).await.integer().unwrap()).unwrap()
    }

    async fn all_exist(&self, when: &str) {
        let count = self.count().await;
        assert_eq!(count, self.names.len(), "{when}");
    }
}

async fn start(
    redis: &RedisServer,
    upstream: &Upstream,
    router: &ModelRouter,
) -> [Gateway; REPLICAS] {
    let cache =
        format!("session_cache: {{type: redis, url: '{}', command_timeout_ms: 1000}}", redis.url());
    let setup = Setup::routed(upstream, router).routing(&cache).routing("session_ttl_seconds: 2");
    let replicas = [setup.start().await, setup.start().await, setup.start().await];
    for gateway in &replicas {
        is_ready(gateway).await;
    }
    replicas
}

#[tokio::test]
async fn a_pin_lives_through_long_answers_of_all_replicas_and_no_longer_than_a_killed_one() {
    let redis = RedisServer::start().await;
    let (upstream, router) = (slow().await, ModelRouter::start().await);
    let mut replicas = start(&redis, &upstream, &router).await;
    let addresses = [0, 1, 2].map(|n: usize| replicas[n].address());
    let sessions = ids("long", SESSIONS);
    let mut running = JoinSet::new();
    for (n, session) in sessions.iter().enumerate() {
        running.spawn(run(session.clone(), n % REPLICAS, addresses));
    }
    let pins = Pins::of(&redis, &sessions);
    until(async || pins.count().await == SESSIONS).await;
    // The first and the second turns, and the pauses after them.
    while upstream.count() < 3 * SESSIONS {
        pins.all_exist("in the first two turns").await;
        sleep(Duration::from_millis(50)).await;
    }
    let third = Instant::now();
    while third.elapsed() < IDLE + SLACK {
        pins.all_exist("in the third turn").await;
        sleep(Duration::from_millis(50)).await;
    }

    replicas[KILLED].signal("KILL").await;
    replicas[KILLED].ended().await;
    let died = Instant::now();
    let part = |at_the_killed: bool| -> Vec<String> {
        let third_at = |n: usize| (n + 2) % REPLICAS;
        let part = sessions.iter().enumerate();
        let part = part.filter(|(n, _)| (third_at(*n) == KILLED) == at_the_killed);
        part.map(|(_, session)| session.clone()).collect()
    };
    let (lost, kept) = (part(true), part(false));
    let (lost_pins, kept_pins) = (Pins::of(&redis, &lost), Pins::of(&redis, &kept));
    while lost_pins.count().await > 0 {
        assert!(died.elapsed() <= IDLE + SLACK, "a dead replica holds a pin");
        kept_pins.all_exist("after the kill").await;
        sleep(Duration::from_millis(20)).await;
    }
    println!("{} pins ended {:?} after their replica", lost.len(), died.elapsed());

    let mut told = Vec::new();
    while told.iter().all(|told: &Told| told.cut) {
        kept_pins.all_exist("at the end of the third turn").await;
        sleep(Duration::from_millis(50)).await;
        told.extend(std::iter::from_fn(|| running.try_join_next()).map(Result::unwrap));
    }
    told.extend(running.join_all().await);
    assert_eq!(router.calls(), SESSIONS, "each session was routed once");
    for Told { session, turns, cut } in &told {
        let model = &turns[0].1;
        let expected: Vec<_> = ["claimed", "hit", "hit", "hit"]
            .map(|why| (why.to_owned(), model.clone()))
            .into_iter()
            .take(if lost.contains(session) { 3 } else { 4 })
            .collect();
        assert_eq!((turns, *cut), (&expected, lost.contains(session)), "{session}");
    }
    // What Redis does not hold, no copy of a living replica holds.
    for (n, session) in lost.iter().enumerate() {
        let again = replicas[n % KILLED].ask(&turn(session)).await;
        assert_eq!(again.affinity().1, "claimed", "{session}");
    }
    assert_eq!(router.calls(), SESSIONS + lost.len());
}

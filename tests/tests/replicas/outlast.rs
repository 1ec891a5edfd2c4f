//! Pins that outlast a Redis: their models do not change while it is away, nor when it is back.

use std::time::Duration;

use affinity_tests::redis::RedisServer;
use affinity_tests::{Connection, until};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::{Replicas, ids, turn};

/// Sessions, each with its model.
type Known = Vec<(String, String)>;

/// What a round of turns told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    /// Pinned, to the model that it had.
    held: usize,
    /// Not pinned, since the store does not answer.
    unavailable: usize,
    other: usize,
}

/// A turn of each session at each replica.
async fn round(clients: &mut [Connection], known: &Known) -> Told {
    let mut told = Told::default();
    let turns = clients.iter_mut().map(|client| async move {
        let mut answers = Vec::new();
        for (session, _) in known {
            answers.push(client.ask(&turn(session)).await);
        }
        answers
    });
    for answers in join_all(turns).await {
        for (answer, (session, model)) in answers.iter().zip(known) {
            assert_eq!(answer.status, 200, "{session}: {}", answer.text());
            match answer.affinity() {
                // By what it knows, or by what Redis was told again just then.
                ("true", "hit" | "joined", same) if same == model => told.held += 1,
                ("false", "store-unavailable", _) => told.unavailable += 1,
                _ => told.other += 1,
            }
        }
    }
    told
}

/// Sessions that both replicas know by themselves.
async fn known(redis: &RedisServer, clients: &mut [Connection; 2], count: usize) -> Known {
    let mut known = Known::new();
    for (n, session) in ids("s", count).into_iter().enumerate() {
        // A connection that sends nothing for long is closed.
        let answer = clients[n % 2].ask(&turn(&session)).await;
        assert_eq!(answer.affinity().1, "claimed", "{session}");
        known.push((session, answer.affinity().2.to_owned()));
    }
    let all = Told { held: 2 * count, ..Told::default() };
    assert_eq!(round(clients, &known).await, all);
    // News of a claim may have overtaken the first read, which is then not kept.
    for _ in 0..3 {
        let before = redis.pin_commands().await;
        assert_eq!(round(clients, &known).await, all);
        if redis.pin_commands().await == before {
            break;
        }
    }
    known
}

async fn clients(replicas: &Replicas) -> [Connection; 2] {
    [replicas.a.connect().await, replicas.b.connect().await]
}

/// The short form; with `AFFINITY_OUTAGE` Redis is away for that many seconds.
#[tokio::test]
async fn a_thousand_pins_outlast_an_outage() {
    const PINS: usize = 1000;
    let seconds = std::env::var("AFFINITY_OUTAGE").map_or(3, |seconds| seconds.parse().unwrap());
    let redis = RedisServer::start().await;
    // None of a thousand claims is to fail because the machine is busy.
    let replicas = Replicas::start(&redis, ", command_timeout_ms: 2000").await;
    let mut clients = clients(&replicas).await;
    let known = known(&redis, &mut clients, PINS).await;
    let all = Told { held: 2 * PINS, ..Told::default() };
    redis.kill();
    let (away, mut rounds) = (Instant::now(), 0);
    while rounds == 0 || away.elapsed() < Duration::from_secs(seconds) {
        assert_eq!(round(&mut clients, &known).await, all, "after {:?}", away.elapsed());
        rounds += 1;
    }
    println!("{} turns while Redis was away for {:?}", 2 * PINS * rounds, away.elapsed());
    redis.restart().await;
    // It came back empty, and learns each from a turn at one that knows.
    until(async || {
        assert_eq!(round(&mut clients, &known).await, all, "while they are written again");
        redis.run(&["DBSIZE"]).await.integer() == i64::try_from(PINS).ok()
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_knows_none_tells_none_as_pinned() {
    const PINS: usize = 50;
    let redis = RedisServer::start().await;
    let replicas = Replicas::start(&redis, "").await;
    let mut clients = clients(&replicas).await;
    let known = known(&redis, &mut clients, PINS).await;
    redis.kill();
    // As the others were started, but for what they have seen.
    let newcomers = Replicas::start_anyway(&redis, "").await;
    let mut newcomer = [newcomers.a.connect().await];
    let none = Told { unavailable: PINS, ..Told::default() };
    assert_eq!(round(&mut newcomer, &known).await, none);
    let all = Told { held: 2 * PINS, ..Told::default() };
    assert_eq!(round(&mut clients, &known).await, all);
}

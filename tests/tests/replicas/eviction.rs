//! A Redis that evicts pins for want of memory.

use affinity_tests::redis::RedisServer;
use affinity_tests::{Connection, until};
use tokio::task::JoinSet;

use crate::{Replicas, ids, turn};

const CLIENTS: usize = 4;
const SESSIONS: usize = 250;

/// Two turns of a session, at one replica and then the other; how often a pin stood.
async fn two_turns(first: &mut Connection, second: &mut Connection, session: &str) -> usize {
    let mut pinned = 0;
    for connection in [first, second] {
        let answer = connection.ask(&turn(session)).await;
        assert_eq!(answer.status, 200, "{session}: {}", answer.text());
        let (stood, why, _) = answer.affinity();
        match why {
            "claimed" => assert_eq!(stood, "false", "{session}"),
            "hit" | "joined" => pinned += 1,
            other => panic!("{session}: {other}"),
        }
    }
    pinned
}

#[tokio::test]
async fn a_full_redis_that_evicts_fails_no_request() {
    let redis = RedisServer::builder()
        .maxmemory("2mb")
        .setting("maxmemory-policy", "allkeys-lru")
        .start()
        .await;
    let replicas = Replicas::start(&redis, ", command_timeout_ms: 5000").await;
    // What others keep there takes the room.
    let filled = "x".repeat(1000);
    for n in 0..1500 {
        redis.run(&["SET", &format!("other:{n}"), &filled]).await;
    }
    let evicted = redis.stat("evicted_keys").await;
    assert!(evicted > 0, "it is full");
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (a, b) = (replicas.a.address(), replicas.b.address());
        clients.spawn(async move {
            let (mut a, mut b) = (Connection::open(a).await, Connection::open(b).await);
            let mut pinned = 0;
            for session in ids(&format!("c{client}"), SESSIONS) {
                pinned += two_turns(&mut a, &mut b, &session).await;
            }
            pinned
        });
    }
    let pinned: usize = clients.join_all().await.into_iter().sum();
    let evicted = redis.stat("evicted_keys").await - evicted;
    println!("{evicted} evicted, {pinned} of {} second turns pinned", CLIENTS * SESSIONS);
    assert!(evicted > 100, "only {evicted} keys were evicted");
    assert!(pinned > CLIENTS * SESSIONS / 2, "{pinned} were pinned");
    // What is evicted is not served from a copy either, and the next claim is one for both.
    redis.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    until(async || {
        let _ = redis.cmd(&["SET", "one", "more"]).await;
        redis.run(&["DBSIZE"]).await.integer() == Some(0)
    })
    .await;
    redis.run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    for session in ids("c0", 20) {
        let mut told = None;
        until(async || {
            let answer = replicas.a.ask(&turn(&session)).await;
            told = answer.header("x-plano-model").map(str::to_owned);
            answer.affinity().1 == "hit"
        })
        .await;
        let answer = replicas.b.ask(&turn(&session)).await;
        assert_eq!(answer.header("x-plano-model"), told.as_deref(), "{session}");
    }
}

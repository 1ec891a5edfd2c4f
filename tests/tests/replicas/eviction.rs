//! A Redis that evicts pins for want of memory.

use affinity_tests::redis::RedisServer;
use affinity_tests::{Connection, get, until};
use tokio::task::JoinSet;

use crate::{Replicas, ids, turn};

const CLIENTS: usize = 4;
const SESSIONS: usize = 250;

/// What turns were told.
#[derive(Debug, Default)]
struct Told {
    claimed: usize,
    pinned: usize,
    /// Refused, or without a pin for want of a store that takes it.
    failed: usize,
}

/// Two turns of each session, at one replica and then the other.
async fn turns(replicas: &Replicas) -> Told {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (a, b) = (replicas.a.address(), replicas.b.address());
        clients.spawn(async move {
            let (mut a, mut b) = (Connection::open(a).await, Connection::open(b).await);
            let mut told = Told::default();
            for session in ids(&format!("c{client}"), SESSIONS) {
                for connection in [&mut a, &mut b] {
                    let answer = connection.ask(&turn(&session)).await;
                    match (answer.status, answer.affinity()) {
                        (200, ("false", "claimed", _)) => told.claimed += 1,
                        (200, (_, "hit" | "joined", _)) => told.pinned += 1,
                        _ => told.failed += 1,
                    }
                }
            }
            told
        });
    }
    clients.join_all().await.into_iter().fold(Told::default(), |sum, told| Told {
        claimed: sum.claimed + told.claimed,
        pinned: sum.pinned + told.pinned,
        failed: sum.failed + told.failed,
    })
}

/// A Redis that is full of what others keep there.
async fn full(policy: &str) -> RedisServer {
    let redis =
        RedisServer::builder().maxmemory("2mb").setting("maxmemory-policy", policy).start().await;
    let filled = "x".repeat(1000);
    for n in 0..1500 {
        // Where nothing is evicted, the last are refused.
        let _ = redis.cmd(&["SET", &format!("other:{n}"), &filled]).await;
    }
    redis
}

#[tokio::test]
async fn a_full_redis_that_evicts_fails_no_request() {
    let redis = full("allkeys-lru").await;
    let replicas = Replicas::start(&redis, ", command_timeout_ms: 5000").await;
    let before = redis.stat("evicted_keys").await;
    assert!(before > 0, "it is full");
    let told = turns(&replicas).await;
    let evicted = redis.stat("evicted_keys").await - before;
    println!("{evicted} evicted, {told:?}");
    assert!(evicted > 100, "only {evicted} keys were evicted");
    assert_eq!(told.failed, 0, "{told:?}");
    assert!(told.pinned > CLIENTS * SESSIONS / 2, "{told:?}");
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

/// That refusals would be seen: where no key makes room, and no answer may be without a pin.
#[tokio::test]
async fn a_full_redis_that_keeps_all_is_noticed() {
    let redis = full("noeviction").await;
    let cache = ", command_timeout_ms: 5000, require_store: true";
    let replicas = Replicas::start_anyway(&redis, cache).await;
    for gateway in [&replicas.a, &replicas.b] {
        until(async || {
            let ready = gateway.ask(&get("/readyz")).await;
            let said = ready.json()["parts"]["store"].as_str().unwrap().to_owned();
            // Pins that stand can be read.
            ready.status == 200 && said.starts_with("not ready: redis is full")
        })
        .await;
    }
    let told = turns(&replicas).await;
    assert_eq!(redis.stat("evicted_keys").await, 0);
    assert!(told.failed > CLIENTS * SESSIONS, "{told:?}");
}

//! How often Redis is asked for a turn.

use affinity_tests::redis::RedisServer;
use affinity_tests::until;
use tokio::task::JoinSet;

use crate::{Replicas, ids, turn};

/// A budget for the store that no busy machine uses up, which would be another question.
const CALM: &str = ", command_timeout_ms: 5000";

/// Scripts that may run meanwhile: what replicas tell each other is read once a second.
const NOTES: u64 = 40;

/// Reads, claims, and scripts. A read asks for the value and its time left in one round trip.
async fn counts(redis: &RedisServer) -> [u64; 3] {
    let (reads, claims) = (redis.commands(&["getrange"]).await, redis.commands(&["set"]).await);
    [reads, claims, redis.commands(&["eval"]).await]
}

/// What was counted since `before`.
async fn since(redis: &RedisServer, before: [u64; 3]) -> (u64, u64) {
    let now = counts(redis).await;
    let [reads, claims, scripts] = [0, 1, 2].map(|n| now[n] - before[n]);
    assert!(scripts < NOTES, "{scripts} scripts");
    (reads, claims)
}

#[tokio::test]
async fn a_miss_is_a_read_and_a_claim_and_a_hit_is_nothing() {
    let redis = RedisServer::start().await;
    let replicas = Replicas::start(&redis, CALM).await;
    let sessions = ids("s", 100);
    let before = counts(&redis).await;
    for session in &sessions {
        assert_eq!(replicas.a.ask(&turn(session)).await.affinity().1, "claimed");
    }
    assert_eq!(since(&redis, before).await, (100, 100), "two round trips a miss");
    // The other replica reads each once; news of the claim may make either read once more.
    until(async || {
        let before = counts(&redis).await;
        for session in &sessions {
            for gateway in [&replicas.a, &replicas.b] {
                assert_eq!(gateway.ask(&turn(session)).await.affinity().1, "hit", "{session}");
            }
        }
        since(&redis, before).await == (0, 0)
    })
    .await;
    let (reads, claims) = since(&redis, before).await;
    assert!(reads <= 400, "{reads} reads");
    assert_eq!(claims, 100, "nothing is written for a hit");
}

#[tokio::test]
async fn without_near_copies_a_hit_is_one_read() {
    let redis = RedisServer::start().await;
    let replicas = Replicas::start(&redis, &format!("{CALM}, near_copies: false")).await;
    let sessions = ids("s", 50);
    for session in &sessions {
        replicas.a.ask(&turn(session)).await;
    }
    let before = counts(&redis).await;
    for session in &sessions {
        for gateway in [&replicas.a, &replicas.b] {
            assert_eq!(gateway.ask(&turn(session)).await.affinity().1, "hit", "{session}");
        }
    }
    assert_eq!(since(&redis, before).await, (100, 0));
}

#[tokio::test]
async fn of_requests_that_race_each_reads_once_and_each_replica_claims_once() {
    const EACH: u64 = 24;
    let redis = RedisServer::start().await;
    let replicas = Replicas::start(&redis, CALM).await;
    let before = counts(&redis).await;
    for session in ids("race", 20) {
        let mut turns = JoinSet::new();
        for gateway in [&replicas.a, &replicas.b] {
            for _ in 0..EACH {
                let (address, turn) = (gateway.address(), turn(&session));
                turns.spawn(async move {
                    let mut connection = affinity_tests::Connection::open(address).await;
                    connection.ask(&turn).await.header("x-plano-model").unwrap().to_owned()
                });
            }
        }
        let told = turns.join_all().await;
        assert!(told.iter().all(|model| *model == told[0]), "{session}: {told:?}");
    }
    let (reads, claims) = since(&redis, before).await;
    // News of the claim may take a copy away at either replica, which is then read again in the background.
    let rereads = 20 * 2;
    assert!(reads <= 20 * 2 * EACH + rereads, "{reads} reads");
    assert!((20..=40).contains(&claims), "{claims} claims");
}

//! Redis freezes, dies, or is not there yet: every request is answered, and sessions hold.

use std::time::Duration;

use affinity_tests::redis::RedisServer;
use affinity_tests::{Gateway, Response, get, until};
use tokio::time::{Instant, timeout};

use crate::{Replicas, ids, is_ready, turn};

/// The longest that any answer may take while Redis is sick.
const ANSWER: Duration = Duration::from_secs(1);
/// How soon after its return Redis must hold the pins again.
const AGAIN: Duration = Duration::from_secs(5);

/// The answer to a turn, which is 200 and comes in time.
async fn served(gateway: &Gateway, session: &str) -> Response {
    let answer = timeout(ANSWER, gateway.ask(&turn(session))).await;
    let answer = answer.unwrap_or_else(|_| panic!("{session}: no answer within {ANSWER:?}"));
    assert_eq!(answer.status, 200, "{session}: {}", answer.text());
    answer
}

fn model(answer: &Response) -> String {
    answer.header("x-plano-model").unwrap().to_owned()
}

/// The models of sessions that both replicas know by themselves.
async fn known(replicas: &Replicas, redis: &RedisServer, sessions: &[String]) -> Vec<String> {
    let mut models = Vec::new();
    for session in sessions {
        let first = replicas.a.ask(&turn(session)).await;
        assert_eq!(first.header("x-plano-affinity"), Some("claimed"));
        let second = replicas.b.ask(&turn(session)).await;
        assert_eq!(second.affinity(), ("true", "hit", first.affinity().2), "{session}");
        models.push(model(&first));
    }
    // News of the claim may have overtaken the first read, which is then not kept.
    until(async || {
        let before = redis.pin_commands().await;
        is_unchanged(replicas, sessions, &models, "known").await;
        redis.pin_commands().await == before
    })
    .await;
    models
}

async fn is_unchanged(replicas: &Replicas, sessions: &[String], models: &[String], when: &str) {
    for (session, expected) in sessions.iter().zip(models) {
        for gateway in [&replicas.a, &replicas.b] {
            let answer = served(gateway, session).await;
            assert_eq!(answer.affinity(), ("true", "hit", &**expected), "{when}: {session}");
        }
    }
}

async fn all_in(redis: &RedisServer, sessions: &[String]) -> bool {
    let mut command = vec!["EXISTS".to_owned()];
    command.extend(sessions.iter().map(|session| format!("plano:affinity:{session}")));
    redis.cmd(&command).await.is_ok_and(|found| {
        found.integer().and_then(|found| usize::try_from(found).ok()) == Some(sessions.len())
    })
}

#[tokio::test]
async fn a_frozen_redis_delays_little_and_changes_no_model() {
    let redis = RedisServer::start().await;
    let replicas = Replicas::start(&redis, "").await;
    let sessions = ids("known", 30);
    let models = known(&replicas, &redis, &sessions).await;
    redis.freeze();
    let frozen = Instant::now();
    // Beyond the time for which near copies count as fresh without news.
    while frozen.elapsed() < Duration::from_millis(2500) {
        is_unchanged(&replicas, &sessions, &models, "frozen").await;
    }
    let new = ids("new", 10);
    let mut decided = Vec::new();
    for session in &new {
        let first = served(&replicas.a, session).await;
        assert_eq!(first.header("x-plano-affinity"), Some("store-unavailable"), "{session}");
        let second = served(&replicas.a, session).await;
        let alone = ("false", "store-unavailable", first.affinity().2);
        assert_eq!(second.affinity(), alone, "{session}");
        decided.push(model(&first));
    }
    redis.thaw();
    let back = Instant::now();
    until(async || all_in(&redis, &new).await).await;
    assert!(back.elapsed() < AGAIN, "{:?}", back.elapsed());
    is_unchanged(&replicas, &sessions, &models, "thawed").await;
    is_ready(&replicas.b).await;
    for (session, expected) in new.iter().zip(&decided) {
        for gateway in [&replicas.a, &replicas.b] {
            assert_eq!(model(&served(gateway, session).await), *expected, "{session}");
        }
    }
}

#[tokio::test]
async fn after_a_kill_the_pins_are_written_again() {
    let redis = RedisServer::start().await;
    let replicas = Replicas::start(&redis, "").await;
    let sessions = ids("known", 30);
    let models = known(&replicas, &redis, &sessions).await;
    redis.kill();
    is_unchanged(&replicas, &sessions, &models, "killed").await;
    redis.restart().await;
    let back = Instant::now();
    assert_eq!(redis.run(&["DBSIZE"]).await.integer(), Some(0));
    while !all_in(&redis, &sessions).await {
        is_unchanged(&replicas, &sessions, &models, "back").await;
        assert!(back.elapsed() < AGAIN, "not written again within {AGAIN:?}");
    }
    is_unchanged(&replicas, &sessions, &models, "written again").await;
}

#[tokio::test]
async fn without_redis_at_the_start_it_serves_and_says_what_is_missing() {
    let redis = RedisServer::start().await;
    redis.kill();
    let replicas = Replicas::start_anyway(&redis, "").await;
    let ready = replicas.a.ask(&get("/readyz")).await;
    let body = ready.json();
    assert_eq!((ready.status, &body["status"]), (200, &"degraded".into()), "it serves anyway");
    let store = body["parts"]["store"].as_str().unwrap();
    assert!(store.starts_with("not ready: redis is away"), "{store}");
    assert_eq!(replicas.a.ask(&get("/healthz")).await.status, 200);
    let first = served(&replicas.a, "s").await;
    assert_eq!(first.header("x-plano-affinity"), Some("store-unavailable"));
    let alone = ("false", "store-unavailable", first.affinity().2);
    assert_eq!(served(&replicas.a, "s").await.affinity(), alone);

    redis.restart().await;
    for gateway in [&replicas.a, &replicas.b] {
        is_ready(gateway).await;
    }
    until(async || all_in(&redis, &["s".to_owned()]).await).await;
    assert_eq!(served(&replicas.b, "s").await.affinity(), ("true", "hit", first.affinity().2));
}

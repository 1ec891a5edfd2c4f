//! A warm-up that two replicas share: the pin in Redis says how far it is.

use std::collections::HashSet;
use std::sync::Arc;

use affinity_tests::models::{ONE, TWO};
use affinity_tests::redis::RedisServer;
use affinity_tests::{Gateway, ModelRouter, Setup, Upstream};
use serde_json::Value;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::{ids, is_ready, turn};

async fn replica(redis: &RedisServer, upstream: &Upstream, router: &ModelRouter) -> Gateway {
    let cache = format!("{{type: redis, url: '{}', command_timeout_ms: 2000}}", redis.url());
    let setup = Setup::routed(upstream, router).routing(&format!("session_cache: {cache}"));
    let gateway = setup.routing("warm_up_turns: 1").start().await;
    is_ready(&gateway).await;
    gateway
}

async fn value(redis: &RedisServer, session: &str) -> Value {
    let value = redis.run(&["GET", &format!("plano:affinity:{session}")]).await;
    serde_json::from_str(value.text().unwrap()).unwrap()
}

#[tokio::test]
async fn a_turn_elsewhere_counts_here() {
    let redis = RedisServer::start().await;
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let a = replica(&redis, &upstream, &router).await;
    let b = replica(&redis, &upstream, &router).await;
    assert_eq!(a.ask(&turn("s")).await.affinity(), ("false", "claimed", ONE));
    assert_eq!(value(&redis, "s").await["warm_up"], 1);
    assert_eq!(b.ask(&turn("s")).await.affinity(), ("false", "refreshed", TWO));
    assert_eq!(value(&redis, "s").await["warm_up"], Value::Null);
    for gateway in [&a, &b, &a] {
        assert_eq!(gateway.ask(&turn("s")).await.affinity(), ("true", "hit", TWO));
    }
    assert_eq!(router.calls(), 2);
}

#[tokio::test]
async fn turns_that_race_over_two_replicas_move_the_session_once() {
    let redis = RedisServer::start().await;
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let a = replica(&redis, &upstream, &router).await;
    let b = replica(&redis, &upstream, &router).await;
    for session in ids("warm", 20) {
        a.ask(&turn(&session)).await;
        let start = Arc::new(Barrier::new(8));
        let mut turns = JoinSet::new();
        for n in 0..8 {
            let address = if n % 2 == 0 { a.address() } else { b.address() };
            let (session, start) = (session.clone(), start.clone());
            turns.spawn(async move {
                let mut connection = affinity_tests::Connection::open(address).await;
                start.wait().await;
                let answer = connection.ask(&turn(&session)).await;
                let (_, why, model) = answer.affinity();
                (why.to_owned(), model.to_owned())
            });
        }
        let told = turns.join_all().await;
        let models: HashSet<_> = told.iter().map(|(_, model)| model).collect();
        assert_eq!(models.len(), 1, "{session}: {told:?}");
        let moves = told.iter().filter(|(why, _)| why == "refreshed").count();
        assert_eq!(moves, 1, "{session}: {told:?}");
    }
    // Had nobody raced, this would have shown nothing.
    assert!(router.calls() > 40, "no turn was decided by both replicas");
}

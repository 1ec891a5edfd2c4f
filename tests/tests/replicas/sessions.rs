//! One session, one model, whichever replica answers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use affinity_tests::models::{ONE, TWO};
use affinity_tests::redis::RedisServer;
use affinity_tests::{Answer, Setup, Upstream, ok_json, until};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;

use crate::{Replicas, ids, is_ready, turn};

/// First requests that come at once, to each of two replicas.
const EACH: usize = 4;

#[tokio::test]
async fn first_requests_that_race_over_two_replicas_see_one_model() {
    let redis = RedisServer::start().await;
    let replicas = Replicas::start(&redis, ", command_timeout_ms: 2000").await;
    let sessions = ids("race", 60);
    for session in &sessions {
        let start = Arc::new(Barrier::new(2 * EACH));
        let mut turns = JoinSet::new();
        for gateway in [&replicas.a, &replicas.b] {
            for _ in 0..EACH {
                let (address, session) = (gateway.address(), session.clone());
                let start = start.clone();
                turns.spawn(async move {
                    let mut connection = affinity_tests::Connection::open(address).await;
                    start.wait().await;
                    let answer = connection.ask(&turn(&session)).await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    let (pinned, why, model) = answer.affinity();
                    let expected = if why == "claimed" { "false" } else { "true" };
                    assert_eq!(pinned, expected, "{why}");
                    assert!(["claimed", "joined", "hit"].contains(&why), "{why}");
                    (why.to_owned(), model.to_owned())
                });
            }
        }
        let told = turns.join_all().await;
        let models: HashSet<_> = told.iter().map(|(_, model)| model).collect();
        assert_eq!(models.len(), 1, "{session}: {told:?}");
        let claims = told.iter().filter(|(why, _)| why == "claimed").count();
        assert_eq!(claims, 1, "{session}: {told:?}");
        let value = redis.run(&["GET", &format!("plano:affinity:{session}")]).await;
        let value: Value = serde_json::from_str(value.text().unwrap()).unwrap();
        assert_eq!(value["model_name"], *told[0].1, "{session}");
    }
    let calls = replicas.router.calls();
    assert!((60..=120).contains(&calls), "{calls} calls of the router for 60 sessions");
    // Had nobody raced, this test would have shown nothing.
    assert!(calls > 60, "no session was routed by both replicas");
}

#[tokio::test]
async fn turns_that_alternate_between_replicas_are_pinned() {
    let redis = RedisServer::start().await;
    let replicas = Replicas::start(&redis, ", command_timeout_ms: 1000").await;
    for (n, session) in ids("robin", 10).iter().enumerate() {
        let mut told = Vec::new();
        for gateway in [&replicas.a, &replicas.b, &replicas.a, &replicas.b] {
            let answer = gateway.ask(&turn(session)).await;
            let (pinned, why, model) = answer.affinity();
            told.push((pinned.to_owned(), why.to_owned(), model.to_owned()));
        }
        let model = if n % 2 == 0 { ONE } else { TWO };
        let expected = [("false", "claimed"), ("true", "hit"), ("true", "hit"), ("true", "hit")]
            .map(|(pinned, why)| (pinned.to_owned(), why.to_owned(), model.to_owned()));
        assert_eq!(told, expected, "{session}");
        assert_eq!(replicas.router.calls(), n + 1);
    }
    assert_eq!(replicas.upstream.count(), 40);
}

#[tokio::test]
async fn a_model_that_is_known_here_is_pinned_there_when_it_moves() {
    let redis = RedisServer::start().await;
    let replicas = Replicas::start(&redis, ", command_timeout_ms: 1000").await;
    let first = replicas.a.ask(&turn("s")).await;
    assert_eq!(first.affinity(), ("false", "claimed", ONE));
    assert_eq!(replicas.b.ask(&turn("s")).await.affinity(), ("true", "hit", ONE));
    let refresh = turn("s").header("x-plano-affinity", "refresh");
    assert_eq!(replicas.b.ask(&refresh).await.affinity(), ("false", "refreshed", TWO));
    until(async || replicas.a.ask(&turn("s")).await.affinity() == ("true", "hit", TWO)).await;
    let last = turn("s").header("x-plano-affinity", "final");
    assert_eq!(replicas.a.ask(&last).await.affinity(), ("true", "hit", TWO));
    until(async || redis.run(&["DBSIZE"]).await.integer() == Some(0)).await;
    until(async || {
        let again = replicas.b.ask(&turn("s")).await;
        again.affinity() == ("false", "claimed", ONE)
    })
    .await;
}

/// A router that holds its first answer back for good, and gives all others at once.
async fn holding_router() -> Upstream {
    let (held, never) = unbounded_channel();
    let first = std::sync::Mutex::new(Some((held, never)));
    let decision = json!({"route": "two"}).to_string();
    let choice = json!({"index": 0, "message": {"role": "assistant", "content": decision}});
    Upstream::start(move |_| match first.lock().unwrap().take() {
        Some((held, never)) => {
            // The sender lives as long as the process: the answer never comes.
            std::mem::forget(held);
            Answer::Steps(never)
        }
        None => ok_json(&json!({"choices": [choice]})),
    })
    .await
}

#[tokio::test]
async fn a_replica_killed_in_mid_claim_wedges_nobody() {
    let redis = RedisServer::start().await;
    let (upstream, router) = (Upstream::echo().await, holding_router().await);
    let setup = Setup::new(&upstream.url())
        .router(&format!("{}/v1", router.url()), 20_000)
        .routing(&format!(
            "session_cache: {{type: redis, url: '{}', command_timeout_ms: 2000}}",
            redis.url()
        ));
    let (mut a, b) = (setup.start().await, setup.start().await);
    for gateway in [&a, &b] {
        is_ready(gateway).await;
    }
    let mut connection = a.connect().await;
    connection.write(&turn("s")).await;
    until(async || router.count() == 1).await;
    a.signal("KILL").await;
    a.ended().await;
    let mut models = HashMap::new();
    for _ in 0..3 {
        let answer = b.ask(&turn("s")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let (pinned, why, model) = answer.affinity();
        models.insert(why.to_owned(), (pinned.to_owned(), model.to_owned()));
    }
    let expected = [("claimed", "false"), ("hit", "true")]
        .map(|(why, pinned)| (why.to_owned(), (pinned.to_owned(), TWO.to_owned())));
    assert_eq!(models, HashMap::from(expected));
}

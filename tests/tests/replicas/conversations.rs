//! Conversations of Responses, and guesses, over replicas.

use affinity_tests::models::{DEFAULT, ONE, TWO};
use affinity_tests::redis::RedisServer;
use affinity_tests::{Gateway, ModelRouter, Request, Setup, Upstream, ok_json, post, until};
use serde_json::{Value, json};

use crate::is_ready;

struct Pair {
    a: Gateway,
    b: Gateway,
    _served: (Upstream, ModelRouter),
}

/// Two replicas; the provider's ids are `resp_` and what the client asks for in `metadata`.
async fn start(redis: &RedisServer, cache: &str, identity: &str) -> Pair {
    let upstream = Upstream::start(|seen| {
        let turn = seen.json()["metadata"]["turn"].clone();
        ok_json(&json!({"id": format!("resp_{}", turn.as_str().unwrap_or("0")), "output": []}))
    });
    let (upstream, router) = (upstream.await, ModelRouter::start().await);
    let cache = format!("{{type: redis, url: '{}', command_timeout_ms: 1000{cache}}}", redis.url());
    let setup = Setup::routed(&upstream, &router)
        .routing(&format!("session_cache: {cache}"))
        .routing(identity);
    let (a, b) = (setup.start().await, setup.start().await);
    for gateway in [&a, &b] {
        is_ready(gateway).await;
    }
    Pair { a, b, _served: (upstream, router) }
}

fn turn(turn: &str, previous: &Value) -> Request {
    let members = json!({"model": DEFAULT, "input": "hello", "metadata": {"turn": turn},
        "previous_response_id": previous});
    post("/v1/responses", members)
}

#[tokio::test]
async fn a_response_of_one_replica_is_followed_on_the_other() {
    let redis = RedisServer::start().await;
    let pair = start(&redis, "", "body_ids: [previous_response_id]").await;
    let first = pair.a.ask(&turn("1", &Value::Null)).await;
    assert_eq!(first.affinity(), ("false", "claimed", ONE));
    let other = pair.b.ask(&turn("x", &Value::Null)).await;
    assert_eq!(other.affinity(), ("false", "claimed", TWO));
    // At once, and in turns: the id is known everywhere before the client has it.
    for n in 1..10 {
        let replica = if n % 2 == 0 { &pair.a } else { &pair.b };
        let next = turn(&(n + 1).to_string(), &json!(format!("resp_{n}")));
        assert_eq!(replica.ask(&next).await.affinity(), ("true", "hit", ONE), "{n}");
    }
    let fork = turn("fork", &json!("resp_1"));
    assert_eq!(pair.a.ask(&fork).await.affinity(), ("true", "hit", ONE));

    // The router says `one` now, and `two` the next time.
    for model in [ONE, TWO] {
        let moving = turn("m", &json!("resp_3")).header("x-plano-affinity", "refresh");
        assert_eq!(pair.b.ask(&moving).await.affinity(), ("false", "refreshed", model));
    }
    for previous in ["resp_1", "resp_9", "resp_fork", "resp_m"] {
        let later = turn("later", &json!(previous));
        until(async || pair.a.ask(&later).await.affinity() == ("true", "hit", TWO)).await;
    }
}

#[tokio::test]
async fn redis_shows_where_a_response_leads_and_with_a_secret_nothing() {
    for (cache, shown) in [("", true), (", key_secret: a-secret-of-the-keys", false)] {
        let redis = RedisServer::start().await;
        let pair = start(&redis, cache, "body_ids: [previous_response_id]").await;
        pair.a.ask(&turn("raw", &Value::Null)).await;
        let names = redis.run(&["KEYS", "*"]).await;
        let mut names: Vec<_> =
            names.items().iter().map(|name| name.text().unwrap().to_owned()).collect();
        names.sort();
        let [begun, response] = names.as_slice() else { panic!("{names:?}") };
        if shown {
            let id = begun.strip_prefix("plano:affinity:%begun=").unwrap();
            assert_eq!(response, "plano:affinity:%response=resp_raw");
            let link = redis.run(&["GET", response]).await;
            let link: Value = serde_json::from_str(link.text().unwrap()).unwrap();
            assert_eq!(link["model_name"], format!("%begun={id}"));
        }
        let mut seen = names.join(" ");
        for name in &names {
            let ttl = redis.run(&["TTL", name]).await.integer().unwrap();
            assert!((590..=600).contains(&ttl), "{name}: {ttl}");
            seen += redis.run(&["GET", name]).await.text().unwrap();
        }
        assert_eq!(seen.contains("resp_raw"), shown, "{seen}");
        assert!(!pair.a.log().contains("resp_raw"), "{}", pair.a.log());
        let next = pair.b.ask(&turn("2", &json!("resp_raw"))).await;
        assert_eq!(next.affinity(), ("true", "hit", ONE));
    }
}

#[tokio::test]
async fn replicas_with_one_secret_make_the_same_guess() {
    let redis = RedisServer::start().await;
    let pair = start(&redis, "", "fingerprint: {secret: of-all-replicas}").await;
    let turn = turn("1", &Value::Null);
    assert_eq!(pair.a.ask(&turn).await.affinity(), ("false", "claimed", ONE));
    assert_eq!(pair.b.ask(&turn).await.affinity(), ("true", "hit", ONE));
    let pair = start(&redis, "", "fingerprint: {secret: of-others}").await;
    assert_eq!(pair.a.ask(&turn).await.affinity().1, "claimed");
}

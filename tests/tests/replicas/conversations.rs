//! Conversations of Responses, and those known by what was said, over replicas.

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

    // The router says `one` now, and `two` the next time; but only one vendor has the responses.
    for _ in 0..2 {
        let moving = turn("m", &json!("resp_3")).header("x-plano-affinity", "refresh");
        assert_eq!(pair.b.ask(&moving).await.affinity(), ("false", "refreshed", ONE));
    }
    for previous in ["resp_1", "resp_9", "resp_fork", "resp_m"] {
        let later = turn("later", &json!(previous));
        until(async || pair.a.ask(&later).await.affinity() == ("true", "hit", ONE)).await;
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
        let [begun, held, response] = names.as_slice() else { panic!("{names:?}") };
        if shown {
            let id = begun.strip_prefix("plano:affinity:%begun=").unwrap();
            assert_eq!(held, "plano:affinity:%held=resp_raw");
            assert_eq!(response, "plano:affinity:%response=resp_raw");
            let link = redis.run(&["GET", response]).await;
            let link: Value = serde_json::from_str(link.text().unwrap()).unwrap();
            assert_eq!(link["model_name"], format!("%begun={id}"));
        }
        let (mut seen, mut lives) = (names.join(" "), Vec::new());
        for name in &names {
            lives.push(redis.run(&["TTL", name]).await.integer().unwrap());
            seen += redis.run(&["GET", name]).await.text().unwrap();
        }
        // A pin is used again; a link is written once, and lives as long as a pin may. So does the note
        // of which model has the response.
        lives.sort_unstable();
        let expected = [590..=600, 86_390..=86_400, 86_390..=86_400];
        let as_expected = lives.iter().zip(&expected).all(|(life, range)| range.contains(life));
        assert!(as_expected && lives.len() == 3, "{lives:?}");
        assert_eq!(seen.contains("resp_raw"), shown, "{seen}");
        assert!(!pair.a.log().contains("resp_raw"), "{}", pair.a.log());
        let next = pair.b.ask(&turn("2", &json!("resp_raw"))).await;
        assert_eq!(next.affinity(), ("true", "hit", ONE));
    }
}

#[tokio::test]
async fn replicas_with_one_secret_know_what_was_said() {
    let redis = RedisServer::start().await;
    let upstream = Upstream::start(|seen| {
        let turn = seen.json()["messages"].as_array().map_or(0, Vec::len);
        let who = seen.json()["metadata"]["who"].as_str().unwrap_or_default().to_owned();
        let call = json!({"id": format!("call_{who}9a8b7c6d{turn}"), "type": "function"});
        let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
        ok_json(&json!({"choices": [{"message": message, "finish_reason": "tool_calls"}]}))
    });
    let (upstream, router) = (upstream.await, ModelRouter::start().await);
    let start = async |secret: &str| {
        let url = redis.url();
        let cache =
            format!("session_cache: {{type: redis, url: '{url}', command_timeout_ms: 1000}}");
        let setup = Setup::routed(&upstream, &router).routing(&cache);
        let gateway = setup.routing(&format!("fingerprint: {{secret: {secret}}}")).start().await;
        is_ready(&gateway).await;
        gateway
    };
    let (a, b) = (start("of-all-replicas").await, start("of-all-replicas").await);
    let talk = |who: &str, turns: usize| {
        let mut messages = vec![json!({"role": "user", "content": "hello"})];
        for n in 0..turns {
            let id = format!("call_{who}9a8b7c6d{}", 2 * n + 1);
            let call = json!({"id": id, "type": "function", "function": {"name": "f"}});
            messages.push(json!({"role": "assistant", "content": null, "tool_calls": [call]}));
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": "4"}));
        }
        let members = json!({"model": DEFAULT, "messages": messages, "metadata": {"who": who}});
        post("/v1/chat/completions", members)
    };
    assert_eq!(a.ask(&talk("one", 0)).await.affinity(), ("false", "claimed", ONE));
    assert_eq!(b.ask(&talk("two", 0)).await.affinity(), ("false", "claimed", TWO));
    // At once, and in turns: what leads on is stored before the client has the answer.
    for turns in 1..8 {
        let (one, other) = if turns % 2 == 0 { (&a, &b) } else { (&b, &a) };
        assert_eq!(one.ask(&talk("one", turns)).await.affinity(), ("true", "hit", ONE), "{turns}");
        assert_eq!(other.ask(&talk("two", turns)).await.affinity(), ("true", "hit", TWO));
    }
    // The pins, and the links of the latest answers alone.
    let links = redis.run(&["KEYS", "plano:affinity:%said=*"]).await.items().len();
    assert!(links <= 2 * 5, "{links}");
    let stranger = start("of-others").await;
    assert_eq!(stranger.ask(&talk("one", 8)).await.affinity().1, "claimed");
}

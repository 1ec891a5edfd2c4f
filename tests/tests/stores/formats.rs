//! Names and values as others see them in Redis, and values that others wrote.

use std::time::Duration;

use affinity_layer::{
    AffinityStore, Epoch, Expiry, ModelName, RouteDecision, RouteName, Scope, Selection,
    StoreErrorKind, store::NameSecret,
};
use affinity_tests::redis::RedisServer;
use serde_json::{Value, json};

use crate::support::{LONG, claim, get, key, left, name, options, redis, selection};

async fn value(server: &RedisServer, name: &str) -> Value {
    let value = server.run(&["GET", name]).await;
    serde_json::from_str(value.text().unwrap_or_else(|| panic!("nothing at {name}"))).unwrap()
}

#[tokio::test]
async fn a_claim_rests_as_readable_json_for_its_lifetime() {
    let server = RedisServer::start().await;
    let store = redis(&options(&server.url())).await;
    let models = ["openai/gpt-4o", "b/two"].map(|name| ModelName::new(name).unwrap());
    let decision = RouteDecision::new(models).with_route(RouteName::new("deep \"one\"").unwrap());
    let chosen = Selection::best(decision).unwrap().into();
    let pin = store.claim(&key("my-session-abc"), chosen, &LONG).await.unwrap().pin;
    let claimed_at = pin.claimed_at.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let expected = json!({
        "model_name": "openai/gpt-4o",
        "route_name": "deep \"one\"",
        "candidates": ["openai/gpt-4o", "b/two"],
        "epoch": pin.epoch.0,
        "claimed_at": u64::try_from(claimed_at).unwrap(),
    });
    let mut stored = value(&server, "plano:affinity:my-session-abc").await;
    let hash = stored.as_object_mut().unwrap().remove("name_hash").unwrap();
    assert!(hash.as_str().is_some_and(|hash| hash.len() == 16), "{hash}");
    assert_eq!(stored, expected);
    let ttl = server.run(&["TTL", "plano:affinity:my-session-abc"]).await.integer().unwrap();
    assert!((595..=600).contains(&ttl), "{ttl}");
    // The time of the server, not of this process.
    let now = server.run(&["TIME"]).await.items()[0].text().unwrap().parse::<u128>().unwrap();
    assert!((now * 1000).abs_diff(claimed_at) < 30_000, "{claimed_at} at {now}");

    claim(&store, "no-route", "a/b").await.unwrap();
    assert_eq!(value(&server, &name("no-route")).await["route_name"], Value::Null);
}

/// As if the client had given one question the answer of another.
#[tokio::test]
async fn a_value_of_another_key_pins_nothing_and_stays() {
    let server = RedisServer::start().await;
    let store = redis(&options(&server.url())).await;
    claim(&store, "one", "a/b").await.unwrap();
    server.run(&["COPY", &name("one"), &name("two")]).await;
    let error = store.get(&key("two"), &LONG).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Invalid);
    assert!(claim(&store, "two", "c/d").await.is_err());
    assert_eq!(value(&server, &name("two")).await, value(&server, &name("one")).await);
}

#[tokio::test]
async fn names_hold_the_parts_of_the_key() {
    let server = RedisServer::start().await;
    let scope = |scope| Some(Scope::new(scope).unwrap());
    let keys = [
        (key("s"), "s"),
        (key("s").with_scope(scope("acme")), "acme:s"),
        (key("s").with_scope(scope("acme")).with_lane("side").unwrap(), "acme:s:side"),
        (key("s").with_lane("side").unwrap(), ":s:side"),
        (key("b:c").with_scope(scope("a")), "a:b%3Ac"),
        (key("c").with_scope(scope("a:b")), "a%3Ab:c"),
        (key("{s}%3A*"), "%7Bs%7D%253A*"),
    ];
    for prefix in ["plano:affinity:", "", "{other}"] {
        server.flushall().await;
        let store = redis(&options(&server.url()).key_prefix(prefix)).await;
        for (key, _) in &keys {
            assert!(store.claim(key, selection("a/b"), &LONG).await.unwrap().won);
        }
        let mut expected: Vec<_> = keys.iter().map(|(_, name)| format!("{prefix}{name}")).collect();
        expected.sort();
        assert_eq!(all(&server).await, expected);
    }
}

async fn all(server: &RedisServer) -> Vec<String> {
    let names = server.run(&["KEYS", "*"]).await;
    let mut names: Vec<_> =
        names.items().iter().map(|name| name.text().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_hashed_name_shows_no_part_of_the_key() {
    let server = RedisServer::start().await;
    let store = redis(&options(&server.url()).hash_names(NameSecret::new("s3cret"))).await;
    let secret = key("my-session").with_scope(Some(Scope::new("acme").unwrap()));
    store.claim(&secret, selection("a/b"), &LONG).await.unwrap();
    let names = all(&server).await;
    let [name] = names.as_slice() else { panic!("{names:?}") };
    let hash = name.strip_prefix("plano:affinity:").unwrap();
    assert!(hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
    let value = server.run(&["GET", name]).await;
    let value = value.text().unwrap();
    assert!(!value.contains("my-session") && !value.contains("acme"), "{value}");
}

#[tokio::test]
async fn a_move_keeps_the_time_of_the_claim_and_starts_a_new_lifetime() {
    let server = RedisServer::start().await;
    let store = redis(&options(&server.url())).await;
    let first = claim(&store, "s", "a/first").await.unwrap().pin;
    let before = value(&server, &name("s")).await;
    server.run(&["PEXPIRE", &name("s"), "60000"]).await;
    store.repin(&key("s"), first.epoch, selection("a/second"), &LONG).await.unwrap();
    let after = value(&server, &name("s")).await;
    assert_eq!(after["model_name"], "a/second");
    assert_eq!(after["claimed_at"], before["claimed_at"]);
    assert!(after["epoch"].as_u64() > before["epoch"].as_u64());
    assert!(left(&server, "s").await > 590_000);
}

#[tokio::test]
async fn what_the_older_system_wrote_is_honoured() {
    let server = RedisServer::start().await;
    let store = redis(&options(&server.url())).await;
    let old = r#"{"model_name":"openai/gpt-5.2","route_name":"deep_reasoning"}"#;
    server.run(&["SET", &name("s"), old, "EX", "300"]).await;

    let pin = get(&store, "s").await.unwrap().unwrap();
    assert_eq!(pin.selection.model().as_str(), "openai/gpt-5.2");
    assert_eq!(pin.selection.route().unwrap().as_str(), "deep_reasoning");
    assert!((290_000..=300_000).contains(&left(&server, "s").await), "its expiry is kept");
    let sliding = Expiry::sliding(Duration::from_secs(60), Duration::from_secs(3600));
    assert_eq!(store.get(&key("s"), &sliding).await.unwrap().pin().as_ref(), Some(&pin));
    assert!(left(&server, "s").await > 290_000, "also by a sliding read");
    let late = claim(&store, "s", "a/other").await.unwrap();
    assert!(!late.won);
    assert_eq!(late.pin, pin);
    assert_eq!(server.run(&["GET", &name("s")]).await.text(), Some(old));

    let moved = store.repin(&key("s"), pin.epoch, selection("a/next"), &LONG).await;
    let moved = moved.unwrap().unwrap();
    assert!(moved.won && moved.pin.epoch > pin.epoch);
    server.run(&["SET", &name("s"), old, "EX", "300"]).await;
    assert!(!store.release(&key("s"), Some(moved.pin.epoch)).await.unwrap());
    assert!(store.release(&key("s"), Some(Epoch(0))).await.unwrap());
}

#[tokio::test]
async fn a_pin_without_expiry_gets_one() {
    let server = RedisServer::start().await;
    let store = redis(&options(&server.url())).await;
    for expiry in [LONG, Expiry::sliding(Duration::from_secs(600), Duration::from_secs(3600))] {
        server.run(&["SET", &name("s"), r#"{"model_name":"a/b","route_name":null}"#]).await;
        assert_eq!(left(&server, "s").await, -1);
        assert!(store.get(&key("s"), &expiry).await.unwrap().pin().is_some());
        let left = left(&server, "s").await;
        assert!((590_000..=600_000).contains(&left), "{left}");
    }
}

#[tokio::test]
async fn what_others_keep_is_not_touched() {
    let server = RedisServer::start().await;
    let store = redis(&options(&server.url())).await;
    server.run(&["RPUSH", "plano:affinity:queue", "job"]).await;
    server.run(&["HSET", "plano:affinity", "field", "value"]).await;
    server.run(&["SET", "other:s", "text"]).await;
    for n in 0..50 {
        let session = format!("s-{n}");
        let pin = claim(&store, &session, "a/b").await.unwrap().pin;
        store.repin(&key(&session), pin.epoch, selection("a/c"), &LONG).await.unwrap();
        store.release(&key(&session), None).await.unwrap();
    }
    assert_eq!(all(&server).await, ["other:s", "plano:affinity", "plano:affinity:queue"]);
    let queue = server.run(&["LRANGE", "plano:affinity:queue", "0", "-1"]).await;
    assert_eq!(queue.items()[0].text(), Some("job"));
    assert_eq!(server.run(&["GET", "other:s"]).await.text(), Some("text"));
}

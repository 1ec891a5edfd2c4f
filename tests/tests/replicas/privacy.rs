//! What rests in Redis, and who can reach it.

use affinity_tests::redis::RedisServer;
use serde_json::Value;

use crate::{Replicas, turn};

async fn names(redis: &RedisServer) -> Vec<String> {
    let names = redis.run(&["KEYS", "*"]).await;
    let mut names: Vec<_> =
        names.items().iter().map(|name| name.text().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn redis_shows_the_model_the_route_and_the_time_left() {
    let redis = RedisServer::start().await;
    let replicas = Replicas::start(&redis, ", key_prefix: ''").await;
    let answer = replicas.a.ask(&turn("my-session-abc")).await;
    let value = redis.run(&["GET", "my-session-abc"]).await;
    let value: Value = serde_json::from_str(value.text().unwrap()).unwrap();
    assert_eq!(value["model_name"], answer.affinity().2);
    assert_eq!(value["route_name"], answer.header("x-plano-route").unwrap());
    let ttl = redis.run(&["TTL", "my-session-abc"]).await.integer().unwrap();
    assert!((590..=600).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn what_the_older_system_wrote_is_served() {
    let redis = RedisServer::start().await;
    let replicas = Replicas::start(&redis, "").await;
    let old = r#"{"model_name":"openai/gpt-4o","route_name":"one"}"#;
    redis.run(&["SET", "plano:affinity:s", old, "EX", "300"]).await;
    for gateway in [&replicas.a, &replicas.b] {
        assert_eq!(gateway.ask(&turn("s")).await.affinity(), ("true", "hit", "openai/gpt-4o"));
    }
    assert_eq!(replicas.router.calls(), 0);
}

#[tokio::test]
async fn tenants_never_meet_over_replicas() {
    let redis = RedisServer::start().await;
    let replicas = Replicas::start(&redis, ", tenant_header: x-tenant").await;
    let missing = replicas.b.ask(&turn("s")).await;
    assert_eq!(missing.refusal(), (400, "missing_scope".to_owned()));
    let pairs = [("a", "b:c"), ("a:b", "c"), ("a", "b"), ("b", "b"), ("A", "b")];
    let mut models = Vec::new();
    for (n, (tenant, session)) in pairs.into_iter().enumerate() {
        let answer = replicas.a.ask(&turn(session).header("x-tenant", tenant)).await;
        assert_eq!(answer.affinity().1, "claimed", "{tenant} {session}");
        assert_eq!(replicas.router.calls(), n + 1);
        models.push(answer.affinity().2.to_owned());
    }
    for ((tenant, session), model) in pairs.into_iter().zip(&models) {
        let answer = replicas.b.ask(&turn(session).header("x-tenant", tenant)).await;
        assert_eq!(answer.affinity(), ("true", "hit", &**model), "{tenant} {session}");
    }
    let expected = ["A:b", "a%3Ab:c", "a:b", "a:b%3Ac", "b:b"];
    assert_eq!(names(&redis).await, expected.map(|name| format!("plano:affinity:{name}")));
}

#[tokio::test]
async fn with_a_key_secret_no_id_rests_in_redis() {
    let redis = RedisServer::start().await;
    let cache = ", key_secret: a-secret-of-the-keys, tenant_header: x-tenant";
    let replicas = Replicas::start(&redis, cache).await;
    let secret = turn("raw-session-id").header("x-tenant", "raw-tenant");
    let first = replicas.a.ask(&secret).await;
    assert_eq!(first.affinity().1, "claimed");
    assert_eq!(replicas.b.ask(&secret).await.affinity(), ("true", "hit", first.affinity().2));
    let names = names(&redis).await;
    let [name] = names.as_slice() else { panic!("{names:?}") };
    let value = redis.run(&["GET", name]).await;
    for raw in ["raw-session-id", "raw-tenant", "a-secret"] {
        assert!(!name.contains(raw) && !value.text().unwrap().contains(raw), "{name}");
        for gateway in [&replicas.a, &replicas.b] {
            assert!(!gateway.log().contains(raw), "{}", gateway.log());
        }
    }
}

#[tokio::test]
async fn a_password_of_redis_is_not_logged() {
    let redis = RedisServer::builder().password("hunter2").start().await;
    let replicas = Replicas::start(&redis, "").await;
    assert_eq!(replicas.a.ask(&turn("s")).await.affinity().1, "claimed");
    redis.kill();
    assert_eq!(replicas.a.ask(&turn("t")).await.status, 200);
    for gateway in [&replicas.a, &replicas.b] {
        assert!(!gateway.log().contains("hunter2"), "{}", gateway.log());
    }
}

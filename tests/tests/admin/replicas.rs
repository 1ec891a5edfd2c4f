//! Pins of two gateways over one Redis: what is changed at one holds at the other.

use affinity_tests::models::{ONE, TWO};
use affinity_tests::redis::RedisServer;
use affinity_tests::{Gateway, ModelRouter, Setup, Upstream, WrongClock, get, post, until};
use serde_json::json;

use crate::{Admin, Ends, delete, part, patch, turn, with_admin};

pub(crate) async fn two(redis: &RedisServer, cache: &str) -> (Gateway, Gateway, Ends) {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let setup = with_admin(Setup::routed(&upstream, &router))
        .routing(&format!("session_cache: {{type: redis, url: '{}'{cache}}}", redis.url()));
    let (a, b) = (setup.start().await, setup.start().await);
    for gateway in [&a, &b] {
        until(async || gateway.ask(&get("/readyz")).await.json()["status"] == "ready").await;
    }
    (a, b, (upstream, router))
}

#[tokio::test]
async fn a_move_at_one_is_served_by_the_other() {
    let redis = RedisServer::start().await;
    let (a, b, _ends) = two(&redis, "").await;
    let admin = Admin::of(&a).await;
    for n in 0..20 {
        let (session, path) = (format!("s-{n}"), format!("/admin/v1/pins/s-{n}"));
        let first = a.ask(&turn(&session)).await;
        let model = first.affinity().2;
        assert_eq!(b.ask(&turn(&session)).await.affinity(), ("true", "hit", model));
        let other = if model == ONE { TWO } else { ONE };
        assert_eq!(admin.ask(patch(&path, json!({"model": other}))).await.json()["moved"], true);
        assert_eq!(b.ask(&turn(&session)).await.affinity(), ("true", "hit", other));
        assert_eq!(a.ask(&turn(&session)).await.affinity(), ("true", "hit", other));
        assert_eq!(admin.ask(delete(&path)).await.status, 200);
        assert_eq!(b.ask(&turn(&session)).await.affinity().1, "claimed");
    }
}

#[tokio::test]
async fn any_name_can_be_asked_for() {
    let redis = RedisServer::start().await;
    redis.run(&["SET", "plano:affinity:foreign", "of somebody else"]).await;
    redis.run(&["HSET", "plano:affinity:%other", "field", "value"]).await;
    let (a, b, _ends) = two(&redis, ", tenant_header: x-tenant").await;
    let admin = Admin::of(&b).await;
    let odd = [("acme", "a/b"), ("a:b%", "{x}%2F/..?#[*]"), ("acme", "/"), ("move", "pins")];
    for (tenant, session) in odd {
        let answer = a.ask(&turn(session).header("x-tenant", tenant)).await;
        assert_eq!(answer.affinity().1, "claimed", "{tenant} {session}");
    }
    let listed = admin.get("/admin/v1/pins").await;
    let pins = listed["pins"].as_array().unwrap();
    assert_eq!(pins.len(), odd.len(), "{listed}");
    let of_acme = admin.get("/admin/v1/pins?scope=acme").await;
    assert_eq!(of_acme["pins"].as_array().unwrap().len(), 2);
    for (tenant, session) in odd {
        let mut matching = pins.iter().filter(|pin| pin["session"] == session);
        let pin = matching.find(|pin| pin["scope"] == tenant).expect("listed");
        let path = format!("/admin/v1/pins/{}", part(pin["key"].as_str().unwrap()));
        assert_eq!(admin.get(&path).await["session"], session);
        let query = format!("?session={}&scope={}", part(session), part(tenant));
        assert_eq!(admin.get(&format!("/admin/v1/pin{query}")).await["key"], pin["key"]);
        assert_eq!(admin.ask(delete(&path)).await.status, 200);
        assert_eq!(admin.ask(get(&path)).await.refusal().0, 404);
    }
    for foreign in ["foreign", "%other", "none"] {
        let path = format!("/admin/v1/pins/{}", part(foreign));
        assert_eq!(admin.ask(delete(&path)).await.refusal(), (404, "pin_not_found".to_owned()));
    }
    assert_eq!(redis.run(&["DBSIZE"]).await.integer(), Some(2), "what others wrote stays");
}

#[tokio::test]
async fn hashed_names_are_steered_too() {
    let redis = RedisServer::start().await;
    let (a, b, _ends) = two(&redis, ", key_secret: a-secret-of-the-keys").await;
    let admin = Admin::of(&a).await;
    let model = a.ask(&turn("raw")).await.affinity().2.to_owned();
    let other = if model == ONE { TWO } else { ONE };
    let listed = admin.ask(get("/admin/v1/pins")).await;
    assert!(!listed.text().contains("raw"), "{}", listed.text());
    let key = listed.json()["pins"][0]["key"].as_str().unwrap().to_owned();
    assert_eq!(admin.get("/admin/v1/pin?session=raw").await["key"], key);
    let path = format!("/admin/v1/pins/{key}");
    assert_eq!(admin.ask(patch(&path, json!({"model": other}))).await.status, 200);
    assert_eq!(b.ask(&turn("raw")).await.affinity(), ("true", "hit", other));
}

#[tokio::test]
async fn nothing_is_changed_while_redis_is_away() {
    let redis = RedisServer::start().await;
    let (a, _b, _ends) = two(&redis, "").await;
    let admin = Admin::of(&a).await;
    let model = a.ask(&turn("s")).await.affinity().2.to_owned();
    redis.kill();
    let away = (503, "store_unavailable".to_owned());
    let path = "/admin/v1/pins/s";
    assert_eq!(admin.ask(get("/admin/v1/pins")).await.refusal(), away);
    assert_eq!(admin.ask(delete(path)).await.refusal(), away);
    assert_eq!(admin.ask(patch(path, json!({"model": TWO}))).await.refusal(), away);
    until(async || a.ask(&turn("s")).await.affinity() == ("true", "hit", model.as_str())).await;
}

#[tokio::test]
async fn what_others_write_beside_the_drains_is_not_held() {
    let redis = RedisServer::start().await;
    let (a, b, _ends) = two(&redis, "").await;
    let huge = "x".repeat(100_000);
    redis.run(&["HSET", "plano:affinity:%drains", ONE, &huge, &"n".repeat(300), "{}"]).await;
    let path = format!("/admin/v1/models/{}/drain", part(TWO));
    assert_eq!(Admin::of(&a).await.ask(post(&path, json!({}))).await.status, 200);
    let admin = Admin::of(&b).await;
    until(async || admin.get("/admin/v1/drains").await["drains"] != json!([])).await;
    let drains = admin.get("/admin/v1/drains").await;
    assert_eq!((&drains["drains"][0]["model"], &drains["drains"][1]), (&json!(TWO), &json!(null)));
}

#[tokio::test]
async fn an_age_is_by_the_clock_of_redis_and_not_by_that_of_a_replica() {
    let redis = RedisServer::start().await;
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let setup = with_admin(Setup::routed(&upstream, &router))
        .routing(&format!("session_cache: {{type: redis, url: '{}'}}", redis.url()));
    let clock = WrongClock::off_by("+30d");
    let (right, ahead) =
        (setup.start().await, Gateway::prepared(&setup.yaml(), &clock.commands()).await);
    for (n, gateway) in [&right, &ahead].into_iter().enumerate() {
        until(async || gateway.ask(&get("/readyz")).await.json()["status"] == "ready").await;
        gateway.ask(&turn(&format!("s-{n}"))).await;
    }
    redis.run(&["SET", "plano:affinity:older", r#"{"model_name":"a/b"}"#, "EX", "300"]).await;
    for gateway in [&right, &ahead] {
        let admin = Admin::of(gateway).await;
        for n in 0..2 {
            let pin = admin.get(&format!("/admin/v1/pin?session=s-{n}")).await;
            assert!(pin["age_seconds"].as_u64().unwrap() < 300, "{pin}");
        }
        let old = admin.get("/admin/v1/pins?older_than=3600").await;
        let old = old["pins"].as_array().unwrap();
        assert_eq!(old.len(), 1, "only one of unknown age: {old:?}");
        assert_eq!((&old[0]["session"], &old[0]["age_seconds"]), (&json!("older"), &json!(null)));
    }
}

/// Rights that a user lacks are named where they are needed, and nothing else suffers.
#[tokio::test]
async fn a_right_that_drains_and_lists_lack_is_named() {
    let redis = RedisServer::start().await;
    let may = async |rights: &[&str]| {
        let user = ["ACL", "SETUSER", "u", "reset", "on", ">hunter2", "~*", "&*", "+@all"];
        redis.run(&[&user[..], rights].concat()).await;
    };
    may(&["-hset", "-hlen", "-scan"]).await;
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let url = redis.url().replace("redis://", "redis://u:hunter2@");
    let setup = with_admin(Setup::routed(&upstream, &router))
        .routing(&format!("session_cache: {{type: redis, url: '{url}'}}"));
    let gateway = setup.start().await;
    until(async || gateway.ask(&get("/readyz")).await.json()["status"] == "ready").await;
    let admin = Admin::of(&gateway).await;
    let drain = format!("/admin/v1/models/{}/drain", part(ONE));
    let no_right = |command: &str| format!("redis gives no permission for {command}");

    let refused = admin.ask(post(&drain, json!({}))).await;
    assert_eq!(refused.status, 503);
    let message = refused.json()["error"]["message"].to_string();
    assert!(message.contains(&no_right("HSET")), "{message}");
    let listed = admin.ask(get("/admin/v1/pins")).await.text();
    assert!(listed.contains(&no_right("SCAN")), "{listed}");
    let drains = admin.get("/admin/v1/drains").await;
    assert_eq!(drains, json!({"drains": [], "unread": no_right("HLEN")}));
    let warned = || gateway.log().matches(&no_right("HLEN")).count();
    assert_eq!(warned(), 1, "{}", gateway.log());
    assert_eq!(gateway.ask(&turn("s")).await.affinity().1, "claimed");

    may(&[]).await;
    until(async || admin.get("/admin/v1/drains").await == json!({"drains": []})).await;
    assert_eq!(admin.ask(post(&drain, json!({}))).await.status, 200);
    assert_eq!(warned(), 1, "once, and not each second");
}

//! Pins of two gateways over one Redis: what is changed at one holds at the other.

use affinity_tests::models::{ONE, TWO};
use affinity_tests::redis::RedisServer;
use affinity_tests::{Gateway, ModelRouter, Setup, Upstream, get, post, until};
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

//! Moving all sessions of a model.

use affinity_tests::models::{ONE, TWO};
use affinity_tests::redis::RedisServer;
use affinity_tests::{Connection, get, post, until};
use serde_json::json;

use crate::drains::{Running, start};
use crate::replicas::two;
use crate::{Admin, TOKEN, audit, turn};

#[tokio::test]
async fn all_sessions_of_a_model_are_moved_at_once() {
    let redis = RedisServer::start().await;
    let (a, b, _ends) = two(&redis, "").await;
    let admin = Admin::of(&b).await;
    let mut of_one = 0_u64;
    for n in 0..40 {
        of_one += u64::from(a.ask(&turn(&format!("s-{n}"))).await.affinity().2 == ONE);
    }
    let wish = json!({"from": ONE, "to": TWO});
    let moved = admin.ask(post("/admin/v1/pins/move", &wish)).await.json();
    let all = json!({"moved": of_one, "unchanged": 0, "failed": 0, "next": null, "stopped": null});
    assert_eq!(moved, all);
    for n in 0..40 {
        assert_eq!(a.ask(&turn(&format!("s-{n}"))).await.affinity(), ("true", "hit", TWO));
    }
    let again = admin.ask(post("/admin/v1/pins/move", &wish)).await.json();
    assert_eq!(again["moved"], 0);
    until(async || !audit(&b).is_empty()).await;
    let lines = audit(&b);
    assert_eq!((lines.len(), &lines[0]["moved"]), (1, &json!(of_one)));
}

/// 1,500 pins of one model in Redis, as somebody else may have written them.
async fn many(redis: &RedisServer) {
    for hundred in 0..15 {
        let mut pins = vec!["MSET".to_owned()];
        for n in 0..100 {
            pins.push(format!("plano:affinity:many-{hundred}-{n}"));
            pins.push(json!({"model_name": ONE, "route_name": null}).to_string());
        }
        redis.cmd(&pins).await.unwrap();
    }
}

async fn some_are_moved(admin: &Admin) {
    let path = format!("/admin/v1/pins?limit=1&model={TWO}");
    until(async || admin.get(&path).await["pins"] != json!([])).await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_a_line_all_the_same() {
    let redis = RedisServer::start().await;
    let (_a, b, _ends) = two(&redis, "").await;
    let admin = Admin::of(&b).await;
    many(&redis).await;
    let mut caller = Connection::open(b.admin().await).await;
    let wish = json!({"from": ONE, "to": TWO});
    let authorization = format!("Bearer {TOKEN}");
    caller.write(&post("/admin/v1/pins/move", &wish).header("authorization", &authorization)).await;
    some_are_moved(&admin).await;
    drop(caller);
    until(async || !audit(&b).is_empty()).await;
    assert!(audit(&b)[0]["moved"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn a_store_that_fails_in_the_middle_hides_nothing_of_what_was_done() {
    let redis = RedisServer::start().await;
    let (a, b, _ends) = two(&redis, "").await;
    let (admin, watching) = (Admin::of(&b).await, Admin::of(&a).await);
    many(&redis).await;
    let wish = json!({"from": ONE, "to": TWO});
    let told = async { admin.ask(post("/admin/v1/pins/move", &wish)).await };
    let freeze = async {
        some_are_moved(&watching).await;
        redis.freeze();
    };
    let (told, ()) = tokio::join!(told, freeze);
    redis.thaw();
    assert_eq!(told.status, 200, "{}", told.text());
    let told = told.json();
    until(async || !audit(&b).is_empty()).await;
    let line = &audit(&b)[0];
    for count in ["moved", "unchanged", "failed"] {
        assert_eq!(told[count], line[count], "{told} {line}");
    }
    assert!(told["moved"].as_u64().unwrap() > 0 && !told["next"].is_null(), "{told}");
}

#[tokio::test]
async fn a_bulk_move_goes_on_from_its_cursor() {
    let Running { gateway, admin, router: _router, _upstream } = start().await;
    let mut connection = gateway.connect().await;
    for n in 0..2600 {
        assert_eq!(connection.ask(&turn(&format!("s-{n}"))).await.status, 200);
    }
    let (mut moved, mut calls, mut wish) = (0, 0, json!({"from": ONE, "to": TWO}));
    loop {
        let answer = admin.ask(post("/admin/v1/pins/move", &wish)).await.json();
        (moved, calls) = (moved + answer["moved"].as_u64().unwrap(), calls + 1);
        if answer["next"].is_null() {
            break;
        }
        wish["cursor"] = answer["next"].clone();
    }
    assert_eq!(moved, 1300);
    assert!(calls > 1, "one call is bounded");
    assert_eq!(admin.get(&format!("/admin/v1/pins?model={ONE}")).await["pins"], json!([]));
    assert_eq!(admin.ask(get("/admin/v1/pins?limit=1")).await.status, 200);
}

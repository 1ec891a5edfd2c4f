//! Moving all sessions of a model.

use affinity_tests::models::{ONE, TWO};
use affinity_tests::redis::RedisServer;
use affinity_tests::{get, post, until};
use serde_json::json;

use crate::drains::{Running, start};
use crate::replicas::two;
use crate::{Admin, audit, turn};

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
    assert_eq!(moved, json!({"moved": of_one, "unchanged": 0, "failed": 0, "next": null}));
    for n in 0..40 {
        assert_eq!(a.ask(&turn(&format!("s-{n}"))).await.affinity(), ("true", "hit", TWO));
    }
    let again = admin.ask(post("/admin/v1/pins/move", &wish)).await.json();
    assert_eq!(again["moved"], 0);
    until(async || !audit(&b).is_empty()).await;
    let lines = audit(&b);
    assert_eq!((lines.len(), &lines[0]["moved"]), (1, &json!(of_one)));
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

//! Pins of one gateway in memory: seen, moved, released.

use std::collections::BTreeSet;

use affinity_tests::models::{DEFAULT, ONE, TWO};
use affinity_tests::{Gateway, ModelRouter, Setup, Upstream, get, until};
use serde_json::{Value, json};

use crate::{Admin, Ends, TOKEN, audit, delete, patch, turn, with_admin};

async fn start() -> (Gateway, Admin, Ends) {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let gateway = with_admin(Setup::routed(&upstream, &router)).start().await;
    let admin = Admin::of(&gateway).await;
    (gateway, admin, (upstream, router))
}

/// Every pin, by pages of `limit`; each page is full while there is a next one.
async fn all(admin: &Admin, limit: usize) -> Vec<Value> {
    let (mut pins, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("/admin/v1/pins?limit={limit}{cursor}")).await;
        let found = page["pins"].as_array().unwrap().clone();
        let next = page["next"].as_str().map(|next| format!("&cursor={next}"));
        assert!(next.is_none() || found.len() >= limit, "{}", found.len());
        pins.extend(found);
        match next {
            Some(next) => cursor = next,
            None => return pins,
        }
    }
}

#[tokio::test]
async fn a_pin_is_shown_moved_and_released() {
    let (gateway, admin, _ends) = start().await;
    assert_eq!(gateway.ask(&turn("raw-session")).await.affinity(), ("false", "claimed", ONE));
    let shown = admin.get("/admin/v1/pin?session=raw-session").await;
    assert_eq!((&shown["model"], &shown["route"]), (&json!(ONE), &json!("one")));
    assert!((590..=600).contains(&shown["expires_in_seconds"].as_u64().unwrap()), "{shown}");
    let key = shown["key"].as_str().unwrap();
    let path = format!("/admin/v1/pins/{key}");
    let by_key = admin.get(&path).await;
    assert_eq!((&by_key["key"], &by_key["epoch"]), (&shown["key"], &shown["epoch"]));
    assert_eq!(admin.get("/admin/v1/pins").await["pins"][0]["key"], key);

    let moved = admin.ask(patch(&path, json!({"model": TWO}))).await.json();
    assert_eq!((&moved["moved"], &moved["pin"]["model"]), (&json!(true), &json!(TWO)));
    assert_eq!(gateway.ask(&turn("raw-session")).await.affinity(), ("true", "hit", TWO));
    let again = admin.ask(patch(&path, json!({"model": TWO}))).await.json();
    assert_eq!((&again["moved"], &again["pin"]["epoch"]), (&json!(false), &moved["pin"]["epoch"]));

    let released = admin.ask(delete("/admin/v1/pin?session=raw-session")).await;
    assert_eq!(released.json()["released"], true, "{}", released.text());
    assert_eq!(admin.ask(get(&path)).await.refusal(), (404, "pin_not_found".to_owned()));
    assert_eq!(gateway.ask(&turn("raw-session")).await.affinity().1, "claimed");

    until(async || audit(&gateway).len() == 2).await;
    let lines = audit(&gateway);
    let actions: Vec<_> = lines.iter().map(|line| line["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["repin", "release"]);
    assert_eq!((&lines[0]["from"], &lines[0]["to"]), (&json!(ONE), &json!(TWO)));
    assert!(lines[0]["who"].as_str().unwrap().starts_with("admin at 127.0.0.1:"), "{lines:?}");
    assert_eq!(lines[0]["session"].as_str().unwrap().len(), 12);
    for hidden in [TOKEN, "raw-session"] {
        assert!(!gateway.log().contains(hidden), "{}", gateway.log());
    }
}

#[tokio::test]
async fn every_pin_is_on_one_page() {
    let (gateway, admin, _ends) = start().await;
    let mut connection = gateway.connect().await;
    for n in 0..1000 {
        assert_eq!(connection.ask(&turn(&format!("s-{n}"))).await.status, 200);
    }
    for limit in [1000, 170] {
        let pins = all(&admin, limit).await;
        let keys: BTreeSet<_> = pins.iter().map(|pin| pin["key"].as_str().unwrap()).collect();
        assert_eq!((pins.len(), keys.len()), (1000, 1000), "pages of {limit}");
    }
    let of_one = admin.get(&format!("/admin/v1/pins?limit=1000&model={ONE}")).await;
    let of_one = of_one["pins"].as_array().unwrap();
    assert_eq!(of_one.len(), 500);
    assert!(of_one.iter().all(|pin| pin["model"] == ONE));
    assert_eq!(admin.get("/admin/v1/pins?older_than=3600").await["pins"], json!([]));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let (gateway, admin, _ends) = start().await;
    gateway.ask(&turn("s")).await;
    for (path, code) in [
        ("/admin/v1/pins?limit=0", "invalid_limit"),
        ("/admin/v1/pins?limit=1001", "invalid_limit"),
        ("/admin/v1/pins?limit=99999999999999999999", "invalid_query"),
        ("/admin/v1/pins?limit=-1", "invalid_query"),
        ("/admin/v1/pins?older_than=x", "invalid_query"),
        ("/admin/v1/pins?colour=red", "invalid_query"),
        ("/admin/v1/pins?cursor=x", "invalid_cursor"),
        ("/admin/v1/pins?cursor=-1.0", "invalid_cursor"),
        ("/admin/v1/pins?cursor=", "invalid_cursor"),
        ("/admin/v1/pins?scope=acme", "scope_not_kept"),
        ("/admin/v1/pin", "invalid_query"),
        ("/admin/v1/pin?session=", "invalid_session"),
        ("/admin/v1/pin?session=a%2Cb", "invalid_session"),
    ] {
        assert_eq!(admin.ask(get(path)).await.refusal(), (400, code.to_owned()), "{path}");
    }
    let far = admin.get("/admin/v1/pins?cursor=18446744073709551615.18446744073709551615").await;
    assert_eq!(far, json!({"pins": [], "next": null}));
    let long = format!("/admin/v1/pins/{}", "f".repeat(4000));
    let zeros = format!("/admin/v1/pins/{}", "0".repeat(32));
    for garbage in ["/admin/v1/pins/x", "/admin/v1/pins/%00", "/admin/v1/pins/%FF", &long, &zeros] {
        let found = [
            admin.ask(get(garbage)).await,
            admin.ask(delete(garbage)).await,
            admin.ask(patch(garbage, json!({"model": ONE}))).await,
        ];
        for answer in found {
            assert_eq!(answer.refusal(), (404, "pin_not_found".to_owned()), "{garbage}");
        }
    }
    let path = "/admin/v1/pin?session=s";
    for (body, status, code) in [
        ("{", 400, "invalid_json"),
        ("[]", 400, "invalid_json"),
        ("{}", 400, "invalid_json"),
        ("{\"model\":1}", 400, "invalid_json"),
        ("{\"model\":\"a\",\"x\":1}", 400, "invalid_json"),
        ("{\"model\":\"nobody/serves-it\"}", 404, "model_not_found"),
        ("{\"model\":\"auto\"}", 404, "model_not_found"),
        ("{\"model\":\"\"}", 404, "model_not_found"),
    ] {
        let refused = admin.ask(patch(path, Value::Null).bytes(body)).await.refusal();
        assert_eq!(refused, (status, code.to_owned()), "{body}");
    }
    let large = patch(path, Value::Null).bytes(vec![b' '; 64 * 1024 + 1]);
    assert_eq!(admin.ask(large).await.refusal(), (413, "request_too_large".to_owned()));
    assert_eq!(gateway.ask(&turn("s")).await.affinity(), ("true", "hit", ONE));
    assert_eq!(admin.ask(patch(path, json!({"model": DEFAULT}))).await.status, 200);
    until(async || !audit(&gateway).is_empty()).await;
    assert_eq!(audit(&gateway).len(), 1, "what was refused is no change");
}

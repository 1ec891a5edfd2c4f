//! What was learned of providers that fail: shown, and cleared.

use affinity_tests::models::{ONE, TWO};
use affinity_tests::{Answer, ModelRouter, Setup, Upstream, get, ok_json, until};
use serde_json::json;

use crate::{Admin, audit, delete, part, turn, with_admin};

#[tokio::test]
async fn what_cools_down_is_shown_and_can_be_cleared() {
    let upstream = Upstream::start(|seen| {
        if !String::from_utf8_lossy(&seen.body).contains("claude") {
            return ok_json(&json!({"choices": []}));
        }
        let head =
            "HTTP/1.1 429 Too Many Requests\r\nretry-after: 600\r\ncontent-length: 0\r\n\r\n";
        Answer::Bytes(head.into())
    });
    let (upstream, router) = (upstream.await, ModelRouter::start().await);
    let gateway = with_admin(Setup::routed(&upstream, &router)).start().await;
    let admin = Admin::of(&gateway).await;
    assert_eq!(admin.get("/admin/v1/cooldowns").await, json!({"cooldowns": []}));
    gateway.ask(&turn("skip")).await;
    assert_eq!(gateway.ask(&turn("s")).await.affinity(), ("false", "repinned", ONE));
    let cooling = admin.get("/admin/v1/cooldowns").await;
    let expected = json!({"kind": "model", "target": TWO, "state": "cooling", "cause": "429",
        "model": TWO, "failures": 1, "seconds_left": 600});
    assert_eq!(cooling["cooldowns"], json!([expected]));

    let named = |target: &str| format!("/admin/v1/cooldowns?kind=model&target={}", part(target));
    let unknown = admin.ask(delete(&named(ONE))).await;
    assert_eq!(unknown.refusal(), (404, "not_cooling".to_owned()));
    let typo = admin.ask(delete("/admin/v1/cooldowns?name=x")).await;
    assert_eq!(typo.refusal(), (400, "invalid_query".to_owned()));
    let cleared = admin.ask(delete(&named(TWO))).await;
    assert_eq!((cleared.status, cleared.json()), (200, json!({"cleared": 1})));
    assert_eq!(admin.get("/admin/v1/cooldowns").await, json!({"cooldowns": []}));
    until(async || audit(&gateway).iter().any(|line| line["action"] == "clear_cooldowns")).await;
    // Without a name all are meant, and that there are none is no error.
    let cleared = admin.ask(delete("/admin/v1/cooldowns")).await;
    assert_eq!((cleared.status, cleared.json()), (200, json!({"cleared": 0})));
    let refused = admin.ask_plainly(&get("/admin/v1/cooldowns")).await;
    assert_eq!(refused.status, 401);
}

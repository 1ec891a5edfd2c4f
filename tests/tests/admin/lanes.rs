//! Sessions steered by the names that the page has for them.

use affinity_tests::models::{DEFAULT, ONE};
use affinity_tests::{Gateway, Setup, Upstream, get, post, until};
use serde_json::json;

use crate::{Admin, turn, with_admin};

/// The page's name for the only session there is.
async fn lane(admin: &Admin) -> String {
    let sessions = admin.get("/admin/v1/ledger/sessions").await;
    sessions["sessions"][0]["session"].as_str().unwrap().to_owned()
}

/// A gateway with one session, and where that is steered.
async fn steered(upstream: &Upstream) -> (Gateway, Admin, String) {
    let gateway = with_admin(Setup::new(&upstream.url())).start().await;
    let admin = Admin::of(&gateway).await;
    assert_eq!(gateway.ask(&turn("hush-one")).await.affinity(), ("false", "claimed", DEFAULT));
    let path = format!("/admin/v1/lanes/{}", lane(&admin).await);
    // The turn may be on its way to the page.
    until(async || admin.ask(get(&path)).await.status == 200).await;
    (gateway, admin, path)
}

#[tokio::test]
async fn a_session_is_moved_by_its_lane() {
    let upstream = Upstream::echo().await;
    let (gateway, admin, path) = steered(&upstream).await;
    let pin = admin.get(&path).await;
    assert_eq!(pin["model"], DEFAULT, "{pin}");
    let moved = admin.ask(post(&path, json!({"model": ONE})).method("PATCH")).await;
    assert_eq!((moved.status, &moved.json()["moved"]), (200, &true.into()));
    assert_eq!(gateway.ask(&turn("hush-one")).await.affinity(), ("true", "hit", ONE));
    let session = path.rsplit('/').next().unwrap();
    let log = gateway.log();
    let audit = log.lines().find(|line| line.contains("\"audit\"")).unwrap();
    assert!(audit.contains(session), "the log calls it as the page does: {audit}");
    assert!(!log.contains("hush"), "{log}");
}

#[tokio::test]
async fn a_session_is_released_by_its_lane() {
    let upstream = Upstream::echo().await;
    let (gateway, admin, path) = steered(&upstream).await;
    assert_eq!(admin.ask(get(&path).method("DELETE")).await.status, 200);
    assert_eq!(admin.ask(get(&path)).await.status, 404, "no pin stands");
    assert_eq!(admin.ask(get(&path).method("DELETE")).await.status, 404);
    assert_eq!(gateway.ask(&turn("hush-one")).await.affinity(), ("false", "claimed", DEFAULT));
}

#[tokio::test]
async fn a_lane_that_there_is_not_is_not_found() {
    let upstream = Upstream::echo().await;
    let (_gateway, admin, _) = steered(&upstream).await;
    for name in ["000000000000", "null", "%ff", "hush-one"] {
        let path = format!("/admin/v1/lanes/{name}");
        assert_eq!(admin.ask(get(&path)).await.status, 404, "{name}");
        assert_eq!(admin.ask_plainly(&get(&path)).await.status, 401, "{name}");
    }
}

//! Session ids that are too long for anything.

use affinity_tests::models::ONE;

use crate::{is, start, told, turn};

#[tokio::test]
async fn ids_of_kilobytes_are_refused_and_not_kept() {
    let (upstream, gateway) = start().await;
    for (length, answer) in [
        (256, is(200, "")),
        (257, is(400, "invalid_session_id")),
        (4 << 10, is(400, "invalid_session_id")),
        (64 << 10, is(400, "invalid_session_id")),
        (300 << 10, is(431, "")),
        (1 << 20, is(431, "")),
    ] {
        let request = turn().session(&"x".repeat(length)).wire();
        assert_eq!(told(&gateway, &request).await, answer, "{length}");
    }
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn thousands_of_long_ids_leave_nothing_behind() {
    let (_upstream, gateway) = start().await;
    let request = turn().session(&"x".repeat(60_000));
    let mut connection = gateway.connect().await;
    assert_eq!(connection.ask(&request).await.status, 400);
    let before = gateway.resident();
    for _ in 0..2000 {
        assert_eq!(connection.ask(&request).await.status, 400);
    }
    let after = gateway.resident();
    // Kept, they would take 120 MB.
    assert!(after < before + 16 * 1024, "{before} KiB, then {after} KiB");
}

#[tokio::test]
async fn what_looks_like_something_else_is_an_id_like_any_other() {
    let (_upstream, gateway) = start().await;
    let ids = ["implicit:0123456789abcdef", "plano:affinity:x", "../x", "*", "{a}", "%00", "$(x)"];
    for id in ids.into_iter().chain(["'OR'1'='1", "acme:s1", "A", "a", "sk-looks-like-a-key"]) {
        for expected in [("false", "claimed", ONE), ("true", "hit", ONE)] {
            assert_eq!(gateway.ask(&turn().session(id)).await.affinity(), expected, "{id}");
        }
    }
    assert!(!gateway.log().contains("sk-looks"));
}

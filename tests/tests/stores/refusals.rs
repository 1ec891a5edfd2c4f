//! A Redis that answers, and says no.

use std::error::Error;
use std::time::Duration;

use affinity_layer::{AffinityStore, RedisStore, StoreError, StoreErrorKind};
use affinity_tests::redis::RedisServer;
use affinity_tests::until;

use crate::support::{claim, get, key, options, redis, soon};

/// All that an error says, its causes included.
fn text(error: &StoreError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(" {cause} {cause:?}"));
        source = cause.source();
    }
    text
}

#[tokio::test]
async fn a_refused_claim_is_an_error_and_leaves_nothing() {
    // The last case needs it, to send snapshots to where none can be written.
    let server = RedisServer::builder().setting("enable-protected-configs", "yes").start().await;
    let store = redis(&options(&server.url())).await;
    let cases: [(&str, &[&str], &[&str]); 4] = [
        ("OOM", &["CONFIG", "SET", "maxmemory", "1"], &["CONFIG", "SET", "maxmemory", "0"]),
        (
            "NOREPLICAS",
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
        ),
        ("READONLY", &["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"]),
        (
            "MISCONF",
            &["CONFIG", "SET", "save", "3600 1000000", "dir", "/proc"],
            &["CONFIG", "SET", "save", ""],
        ),
    ];
    for (what, breaks, heals) in cases {
        server.run(breaks).await;
        if what == "MISCONF" {
            server.run(&["BGSAVE"]).await;
            until(async || {
                let info = server.run(&["INFO", "persistence"]).await;
                info.has_line("rdb_last_bgsave_status:err")
            })
            .await;
        }
        let error = claim(&store, what, "a/one").await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{}", text(&error));
        assert!(text(&error).contains(what), "{}", text(&error));
        for _ in 0..20 {
            assert!(claim(&store, what, "a/one").await.is_err(), "{what}");
        }
        server.run(heals).await;
        soon(Duration::from_secs(3), &format!("claims after {what}"), async || {
            claim(&store, what, "a/two").await.is_ok()
        })
        .await;
        let pin = get(&store, what).await.unwrap().unwrap();
        assert_eq!(pin.selection.model().as_str(), "a/two", "{what}: the refused one is gone");
    }
}

#[tokio::test]
async fn a_password_that_changes_is_an_outage_until_it_is_right_again() {
    let server = RedisServer::start().await;
    server.run(&["ACL", "SETUSER", "u", "on", ">hunter2", "~*", "&*", "+@all"]).await;
    let url = server.url().replace("redis://", "redis://u:hunter2@");
    let store = redis(&options(&url)).await;
    claim(&store, "s", "a/one").await.unwrap();
    server.run(&["ACL", "SETUSER", "u", "resetpass", ">other"]).await;
    server.client_kill_normal().await;
    for _ in 0..200 {
        let error = get(&store, "s").await.unwrap_err();
        assert!(!text(&error).contains("hunter2"), "{}", text(&error));
        tokio::task::yield_now().await;
    }
    server.run(&["ACL", "SETUSER", "u", ">hunter2"]).await;
    until(async || get(&store, "s").await.is_ok_and(|pin| pin.is_some())).await;
}

#[tokio::test]
async fn a_wrong_password_is_an_error_that_does_not_show_it() {
    let server = RedisServer::builder().password("right").start().await;
    let url = server.url().replace("right", "hunter2");
    let store = RedisStore::new(&options(&url)).unwrap();
    for _ in 0..200 {
        let error = get(&store, "s").await.unwrap_err();
        assert!(!text(&error).contains("hunter2"), "{}", text(&error));
        tokio::task::yield_now().await;
    }
    server.run(&["ACL", "SETUSER", "default", ">hunter2"]).await;
    until(async || get(&store, "s").await.is_ok()).await;
}

#[tokio::test]
async fn a_server_that_asks_for_a_password_is_tried_until_it_asks_no_more() {
    let server = RedisServer::builder().password("right").start().await;
    let url = format!("redis://{}", server.addr());
    let store = RedisStore::new(&options(&url)).unwrap();
    for _ in 0..20 {
        assert!(get(&store, "s").await.is_err());
    }
    server.run(&["ACL", "SETUSER", "default", "nopass"]).await;
    until(async || claim(&store, "s", "a/one").await.is_ok()).await;
}

#[tokio::test]
async fn a_server_that_loads_its_data_is_an_outage_that_ends() {
    let server = RedisServer::builder().appendonly(true).start().await;
    let store = redis(&options(&server.url())).await;
    claim(&store, "s", "a/one").await.unwrap();
    server.restart().await;
    soon(Duration::from_secs(3), "what was on disk is found again", async || {
        get(&store, "s").await.is_ok_and(|pin| pin.is_some())
    })
    .await;
}

#[tokio::test]
async fn what_the_access_list_forbids_is_an_error_of_that_verb_alone() {
    let server = RedisServer::start().await;
    server.run(&["ACL", "SETUSER", "u", "on", ">hunter2", "~*", "&*", "+@all", "-eval"]).await;
    let url = server.url().replace("redis://", "redis://u:hunter2@");
    let store = redis(&options(&url)).await;
    let pin = claim(&store, "s", "a/one").await.unwrap().pin;
    let error = store.release(&key("s"), Some(pin.epoch)).await.unwrap_err();
    assert!(text(&error).contains("NOPERM"), "{}", text(&error));
    assert_eq!(get(&store, "s").await.unwrap(), Some(pin));
    server.run(&["ACL", "SETUSER", "u", "-set"]).await;
    let error = claim(&store, "t", "a/one").await.unwrap_err();
    assert!(text(&error).contains("NOPERM"), "{}", text(&error));
}

#[tokio::test]
async fn a_server_with_no_room_for_another_client_is_an_outage_until_it_has() {
    let server = RedisServer::builder().setting("maxclients", "1").start().await;
    let first = redis(&options(&server.url())).await;
    let second = RedisStore::new(&options(&server.url())).unwrap();
    for _ in 0..20 {
        assert!(get(&second, "s").await.is_err());
    }
    assert!(get(&first, "s").await.is_ok());
    drop(first);
    until(async || claim(&second, "s", "a/one").await.is_ok()).await;
}

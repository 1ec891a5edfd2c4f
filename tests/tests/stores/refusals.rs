//! A Redis that answers, and says no.

use std::error::Error;
use std::time::Duration;

use affinity_layer::{AffinityStore, PinRead, RedisStore, StoreError, StoreErrorKind, TieredStore};
use affinity_tests::redis::RedisServer;
use affinity_tests::until;

use crate::support::{
    CALM, LONG, claim, get, key, model, options, redis, selection, soon, tiered, turn,
};

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
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{}", text(&error));
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

/// As many managed services allow it: a user who may do all but what is taken away.
async fn without(server: &RedisServer, rights: &str) -> TieredStore {
    let rights: Vec<&str> = rights.split(' ').collect();
    let user = ["ACL", "SETUSER", "u", "on", ">hunter2", "~*", "&*", "+@all"];
    server.run(&[&user[..], &rights].concat()).await;
    tiered(&options(&server.url().replace("redis://", "redis://u:hunter2@"))).await
}

#[tokio::test]
async fn a_move_that_redis_refuses_is_none_on_every_replica() {
    let server = RedisServer::start().await;
    let (a, b) = (tiered(&options(&server.url())).await, tiered(&options(&server.url())).await);
    let pin = claim(&a, "s", "a/one").await.unwrap().pin;
    assert_eq!(get(&b, "s").await.unwrap().as_ref(), Some(&pin));
    server.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let error = a.repin(&key("s"), pin.epoch, selection("a/two"), &LONG).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{}", text(&error));
    for store in [&a, &b] {
        assert_eq!(get(store, "s").await.unwrap().as_ref(), Some(&pin));
    }
    server.run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    tokio::time::sleep(CALM).await;
    assert_eq!(get(&b, "s").await.unwrap(), Some(pin), "nor is it told to Redis later");
}

#[tokio::test]
async fn a_claim_that_redis_refuses_is_used_here_and_told_as_no_pin() {
    let server = RedisServer::start().await;
    let (a, b) = (tiered(&options(&server.url())).await, tiered(&options(&server.url())).await);
    server.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert!(claim(&a, "s", "a/one").await.is_err());
    for _ in 0..20 {
        let read = Box::pin(a.get(&key("s"), &LONG)).await.unwrap();
        let decided =
            PinRead::Decided { selection: selection("a/one"), failure: StoreErrorKind::Refused };
        assert_eq!(read, decided);
    }
    assert_eq!(get(&b, "s").await.unwrap(), None);
    server.run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    until(async || get(&b, "s").await.unwrap().is_some()).await;
    assert_eq!(model(&a, "s").await.as_deref(), Some("a/one"), "it is told when Redis takes it");
}

#[tokio::test]
async fn a_refused_claim_gives_way_to_the_pin_of_another_replica() {
    let server = RedisServer::start().await;
    let (a, b) = (without(&server, "-info").await, tiered(&options(&server.url())).await);
    server.run(&["ACL", "SETUSER", "u", "-set"]).await;
    assert!(claim(&a, "s", "a/one").await.is_err());
    let pin = claim(&b, "s", "a/two").await.unwrap().pin;
    assert_eq!(get(&a, "s").await.unwrap(), Some(pin));
}

#[tokio::test]
async fn each_right_that_is_missing_turns_off_what_needs_it_and_no_pin_is_stale() {
    for rights in ["-client", "-client|tracking", "-client|id", "-info", "-info -client"] {
        let server = RedisServer::start().await;
        let (a, b) = (without(&server, rights).await, tiered(&options(&server.url())).await);
        let pin = claim(&a, "s", "a/one").await.unwrap().pin;
        assert_eq!(get(&a, "s").await.unwrap().as_ref(), Some(&pin), "{rights}");
        assert!(b.release(&key("s"), None).await.unwrap());
        until(async || turn(&a, "s", &LONG).await.is_none()).await;
        claim(&a, "s", "a/two").await.unwrap();
        server.run(&["FLUSHALL"]).await;
        soon(Duration::from_secs(2), rights, async || turn(&a, "s", &LONG).await.is_none()).await;
        assert!(a.is_ready(), "{rights}");
    }
}

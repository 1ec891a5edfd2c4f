//! Near copies while Redis is well: they save the round trip, and follow every change.

use std::time::Duration;

use affinity_layer::{AffinityStore, Expiry, TieredStore};
use affinity_tests::redis::RedisServer;
use affinity_tests::until;
use tokio::time::Instant;

use crate::support::{
    LONG, all_follow, claim, key, left, model, name, options, redis, selection, soon, tiered, turn,
};

/// The longest that a change by another replica goes unseen, with a margin for a busy machine.
const SEEN: Duration = Duration::from_millis(1500);

async fn two() -> (RedisServer, TieredStore, TieredStore) {
    let server = RedisServer::start().await;
    let options = options(&server.url());
    let (a, b) = (tiered(&options).await, tiered(&options).await);
    (server, a, b)
}

/// Waits until the store answers a session from its near copy.
async fn is_near(store: &TieredStore, session: &str) {
    soon(SEEN, "a near copy", async || {
        model(store, session).await;
        store.peek(&key(session), &LONG).is_some()
    })
    .await;
}

async fn shows(store: &impl AffinityStore, session: &str, expected: Option<&str>) {
    soon(SEEN, &format!("{session} has {expected:?}"), async || {
        model(store, session).await.as_deref() == expected
    })
    .await;
}

#[tokio::test]
async fn a_pinned_turn_makes_no_command() {
    let (server, a, b) = two().await;
    claim(&a, "s", "a/one").await.unwrap();
    for store in [&a, &b] {
        is_near(store, "s").await;
        let before = server.pin_commands().await;
        for _ in 0..1000 {
            assert_eq!(model(store, "s").await.as_deref(), Some("a/one"));
        }
        assert_eq!(server.pin_commands().await, before);
    }
    // The same without near copies, to see that the count counts.
    let plain = redis(&options(&server.url())).await;
    let before = server.pin_commands().await;
    for _ in 0..10 {
        model(&plain, "s").await;
    }
    assert_eq!(server.pin_commands().await, before + 20);
}

#[tokio::test]
async fn moves_and_releases_by_others_are_seen() {
    let (server, a, b) = two().await;
    for n in 0..20 {
        let session = format!("s-{n}");
        let pin = claim(&a, &session, "a/one").await.unwrap().pin;
        is_near(&b, &session).await;
        a.repin(&key(&session), pin.epoch, selection("a/two"), &LONG).await.unwrap();
        shows(&b, &session, Some("a/two")).await;
        is_near(&b, &session).await;
        is_near(&a, &session).await;
        assert!(b.release(&key(&session), None).await.unwrap());
        shows(&a, &session, None).await;
        // By hand, as with redis-cli.
        claim(&a, &session, "a/three").await.unwrap();
        is_near(&b, &session).await;
        server.run(&["DEL", &name(&session)]).await;
        shows(&a, &session, None).await;
        shows(&b, &session, None).await;
    }
}

#[tokio::test]
async fn what_others_decide_is_not_hidden_by_a_lost_connection() {
    let (server, a, b) = two().await;
    let plain = redis(&options(&server.url())).await;
    for round in 0..10 {
        let session = format!("s-{round}");
        let pin = claim(&a, &session, "a/one").await.unwrap().pin;
        is_near(&a, &session).await;
        is_near(&b, &session).await;
        // The news of the move are lost with the connections that would bring them.
        let store = &plain;
        let moves = async {
            soon(Duration::from_secs(10), "the move", async || {
                let to = selection("a/two");
                let moved = store.repin(&key(&session), pin.epoch, to, &LONG).await;
                moved.is_ok()
            })
            .await;
        };
        tokio::join!(server.client_kill_normal(), Box::pin(moves));
        for store in [&a, &b] {
            shows(store, &session, Some("a/two")).await;
            for _ in 0..50 {
                assert_eq!(model(store, &session).await.as_deref(), Some("a/two"), "for good");
            }
        }
        let follow = async || all_follow(&server, &[&a, &b]).await;
        soon(Duration::from_secs(5), "both follow again", follow).await;
    }
}

#[tokio::test]
async fn a_flush_is_seen() {
    let (server, a, b) = two().await;
    for command in [&["FLUSHALL"][..], &["FLUSHDB"], &["SWAPDB", "0", "1"]] {
        claim(&a, "s", "a/one").await.unwrap();
        is_near(&a, "s").await;
        is_near(&b, "s").await;
        server.run(command).await;
        shows(&a, "s", None).await;
        shows(&b, "s", None).await;
    }
}

#[tokio::test]
async fn a_copy_ends_with_the_pin_in_redis() {
    let server = RedisServer::builder().setting("enable-debug-command", "local").start().await;
    // No news of the expiry: the copies must know by themselves.
    server.run(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]).await;
    let options = options(&server.url());
    let (a, b) = (tiered(&options).await, tiered(&options).await);
    let expiry = Expiry::fixed(Duration::from_secs(2));
    let start = Instant::now();
    a.claim(&key("s"), selection("a/one"), &expiry).await.unwrap();
    soon(SEEN, "half of the time has passed", async || left(&server, "s").await < 1000).await;
    is_near(&b, "s").await;
    for store in [&a, &b] {
        while turn(store, "s", &expiry).await.is_some() {
            tokio::task::yield_now().await;
        }
        let lived = start.elapsed();
        assert!(lived > Duration::from_millis(1900), "{lived:?}");
        assert!(lived < Duration::from_millis(2200), "{lived:?}");
    }
}

#[tokio::test]
async fn a_sliding_pin_lives_by_near_turns() {
    let (server, a, b) = two().await;
    let expiry = Expiry::sliding(Duration::from_secs(2), Duration::from_secs(60));
    for session in ["used", "unused"] {
        a.claim(&key(session), selection("a/one"), &expiry).await.unwrap();
    }
    let (start, before) = (Instant::now(), server.pin_commands().await);
    let mut turns = 0;
    while start.elapsed() < Duration::from_secs(5) {
        assert!(turn(&a, "used", &expiry).await.is_some(), "after {:?}", start.elapsed());
        turns += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(turn(&b, "used", &expiry).await.is_some(), "it lives in Redis too");
    assert_eq!(turn(&b, "unused", &expiry).await, None, "and one without use does not");
    let made = server.pin_commands().await - before;
    // A deferral is five commands at least, and each turn without a near copy three.
    assert!(made < turns, "{made} commands for {turns} turns");
}

#[tokio::test]
async fn copies_are_bounded() {
    let server = RedisServer::start().await;
    let store = TieredStore::new(redis(&options(&server.url())).await, 100);
    soon(SEEN, "it follows", async || store.is_ready()).await;
    for n in 0..1000 {
        claim(&store, &format!("s-{n}"), "a/one").await.unwrap();
    }
    assert!((1..=100).contains(&store.near_len()), "{}", store.near_len());
    assert_eq!(model(&store, "s-0").await.as_deref(), Some("a/one"), "Redis has them all");
}

/// Every turn of `a` reads from Redis, and so a change by another replica is seen at once.
async fn always_reads(server: &RedisServer, a: &TieredStore) {
    let b = redis(&options(&server.url())).await;
    let pin = claim(a, "s", "a/one").await.unwrap().pin;
    let before = server.pin_commands().await;
    for _ in 0..100 {
        assert!(a.peek(&key("s"), &LONG).is_none());
        assert_eq!(model(a, "s").await.as_deref(), Some("a/one"));
    }
    assert_eq!(server.pin_commands().await, before + 200);
    b.repin(&key("s"), pin.epoch, selection("a/two"), &LONG).await.unwrap();
    assert_eq!(model(a, "s").await.as_deref(), Some("a/two"), "seen at once");
}

#[tokio::test]
async fn without_the_right_to_track_every_turn_reads_from_redis() {
    let server = RedisServer::start().await;
    server
        .run(&["ACL", "SETUSER", "u", "on", ">pw", "~*", "&*", "+@all", "-client|tracking"])
        .await;
    let limited = options(&server.url().replace("redis://", "redis://u:pw@"));
    always_reads(&server, &tiered(&limited).await).await;
}

#[tokio::test]
async fn a_store_may_read_every_turn_from_redis_and_still_carry_an_outage() {
    let server = RedisServer::start().await;
    let store = TieredStore::always_read(redis(&options(&server.url())).await, 100);
    until(async || store.is_ready()).await;
    always_reads(&server, &store).await;
    server.freeze();
    assert_eq!(model(&store, "s").await.as_deref(), Some("a/two"), "what is known here serves");
}

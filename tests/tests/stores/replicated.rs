//! Pins that count only once a replica of Redis holds them.

use std::time::Duration;

use affinity_layer::{AffinityStore, Pin, PinRead, StoreErrorKind};
use affinity_tests::redis::{RedisServer, SentinelSet};
use affinity_tests::until;
use tokio::time::timeout;

use crate::support::{
    LONG, claim, get, key, left, model_in, name, options, redis, selection, soon, tiered,
};

/// A command timeout as it is set in the gateway, doubled for a busy machine.
const TIMEOUT: Duration = Duration::from_millis(100);

/// How soon a replica of Redis is in step after all.
const IN_STEP: Duration = Duration::from_secs(20);

async fn replica_of(primary: &RedisServer) -> RedisServer {
    let of_primary = format!("127.0.0.1 {}", primary.port());
    RedisServer::builder().setting("replicaof", &of_primary).start().await
}

/// Claims a session as soon as a replica of Redis confirms it.
async fn held(store: &impl AffinityStore, session: &str, model: &str) -> Pin {
    let mut claimed = None;
    soon(IN_STEP, "a claim is confirmed", async || {
        claimed = claim(store, session, model).await.ok();
        claimed.is_some()
    })
    .await;
    claimed.unwrap().pin
}

async fn value(server: &RedisServer, session: &str) -> String {
    let value = server.run(&["GET", &name(session)]).await;
    value.text().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_claim_counts_when_a_replica_holds_it_and_else_leaves_nothing() {
    let primary = RedisServer::start().await;
    let store = redis(&options(&primary.url()).replicated(true)).await;
    let error = claim(&store, "alone", "a/one").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unconfirmed);
    assert_eq!(primary.run(&["EXISTS", &name("alone")]).await.integer(), Some(0));

    let replica = replica_of(&primary).await;
    held(&store, "held", "a/one").await;
    assert_eq!(model_in(&replica, "held").await.as_deref(), Some("a/one"), "at once");

    replica.freeze();
    let error = claim(&store, "unconfirmed", "a/one").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unconfirmed);
    assert_eq!(primary.run(&["EXISTS", &name("unconfirmed")]).await.integer(), Some(0));
    let late = claim(&store, "held", "a/two").await.unwrap();
    assert!(!late.won, "what is confirmed stands without another confirmation");
    // The same without the wait, to see what it is that refuses.
    let plain = redis(&options(&primary.url())).await;
    assert!(claim(&plain, "unconfirmed", "a/one").await.unwrap().won);
    replica.thaw();
}

#[tokio::test]
async fn a_move_without_a_replica_is_not_told_and_leaves_the_pin_as_it_was() {
    let primary = RedisServer::start().await;
    let options = options(&primary.url()).command_timeout(TIMEOUT).replicated(true);
    let store = redis(&options).await;
    let near = tiered(&options).await;
    let replica = replica_of(&primary).await;
    let pin = held(&store, "s", "a/one").await;
    primary.run(&["PEXPIRE", &name("s"), "30000"]).await;
    let before = value(&primary, "s").await;

    replica.freeze();
    let error = store.repin(&key("s"), pin.epoch, selection("a/two"), &LONG).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unconfirmed);
    assert_eq!(value(&primary, "s").await, before);
    assert!((1..=30_000).contains(&left(&primary, "s").await));
    assert_eq!(get(&near, "s").await.unwrap().unwrap(), pin);
    let moved = near.repin(&key("s"), pin.epoch, selection("a/two"), &LONG).await;
    assert_eq!(moved.unwrap_err().kind(), StoreErrorKind::Unconfirmed);
    assert_eq!(get(&store, "s").await.unwrap().as_ref(), Some(&pin));
    assert_eq!(get(&near, "s").await.unwrap().as_ref(), Some(&pin));
    replica.thaw();
    let mut epoch = None;
    soon(IN_STEP, "a move is confirmed", async || {
        let moved = near.repin(&key("s"), pin.epoch, selection("a/two"), &LONG).await;
        epoch = moved.ok().flatten().map(|claim| claim.pin.epoch);
        epoch.is_some()
    })
    .await;
    assert_eq!(model_in(&replica, "s").await.as_deref(), Some("a/two"), "at once");
    assert_eq!(get(&store, "s").await.unwrap().map(|pin| pin.epoch), epoch);
}

/// What is confirmed needs no replica any more, even beside changes that do.
#[tokio::test]
async fn a_confirmed_pin_is_read_without_any_replica() {
    let primary = RedisServer::start().await;
    let options = options(&primary.url()).command_timeout(TIMEOUT).replicated(true);
    let store = redis(&options).await;
    let replica = replica_of(&primary).await;
    let pin = held(&store, "s", "a/one").await;
    replica.kill();
    let stranger = redis(&options).await;
    for n in 0..10 {
        let error = claim(&stranger, &format!("new-{n}"), "a/two").await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unconfirmed, "{n}: Redis has answered");
    }
    assert_eq!(get(&stranger, "s").await.unwrap(), Some(pin));
}

#[tokio::test]
async fn a_change_whose_maker_is_gone_is_told_by_nobody_before_a_replica_holds_it() {
    let primary = RedisServer::start().await;
    let options = options(&primary.url()).replicated(true);
    let (maker, reader) = (redis(&options).await, redis(&options).await);
    let replica = replica_of(&primary).await;
    let pin = held(&maker, "moved", "a/one").await;
    replica.freeze();
    let (claimed, moved) = (key("claimed"), key("moved"));
    let waits = Duration::from_millis(50);
    let claiming = Box::pin(maker.claim(&claimed, selection("a/two"), &LONG));
    assert!(timeout(waits, claiming).await.is_err());
    let moving = Box::pin(maker.repin(&moved, pin.epoch, selection("a/two"), &LONG));
    assert!(timeout(waits, moving).await.is_err());
    let gone = maker;
    drop(gone);
    for session in ["claimed", "moved"] {
        assert_eq!(model_in(&primary, session).await.as_deref(), Some("a/two"), "{session}");
        let error = get(&reader, session).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unconfirmed, "{session}");
        let error = claim(&reader, session, "a/three").await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unconfirmed, "{session}");
        assert_eq!(model_in(&primary, session).await.as_deref(), Some("a/two"), "{session}");
    }
    replica.thaw();
    for session in ["claimed", "moved"] {
        soon(IN_STEP, "it is told", async || get(&reader, session).await.is_ok()).await;
        let told = get(&reader, session).await.unwrap().unwrap();
        assert_eq!(told.selection.model().as_str(), "a/two", "{session}");
        assert!(!value(&primary, session).await.contains("unconfirmed"));
        assert_eq!(model_in(&replica, session).await.as_deref(), Some("a/two"), "{session}");
    }
}

/// A decision that no replica of Redis holds is used here, told as such, and told again later.
#[tokio::test]
async fn what_was_decided_in_an_outage_becomes_a_pin_when_a_replica_holds_it() {
    let primary = RedisServer::start().await;
    let options = options(&primary.url()).command_timeout(TIMEOUT).replicated(true);
    let near = tiered(&options).await;
    let replica = replica_of(&primary).await;
    held(&near, "first", "a/one").await;
    for outage in ["frozen", "alone"] {
        let server = if outage == "frozen" { &primary } else { &replica };
        server.freeze();
        assert!(claim(&near, outage, "a/one").await.is_err());
        for _ in 0..3 {
            assert_eq!(near.peek(&key(outage), &LONG), None, "{outage}");
            let read = Box::pin(near.get(&key(outage), &LONG)).await.unwrap();
            assert!(matches!(read, PinRead::Decided { .. }), "{outage}: {read:?}");
            assert_eq!(read.selection(), Some(selection("a/one")), "{outage}");
        }
        server.thaw();
        soon(IN_STEP, "it is told as a pin", async || get(&near, outage).await.is_ok()).await;
        assert_eq!(model_in(&replica, outage).await.as_deref(), Some("a/one"), "at once");
    }
    primary.kill();
    replica.run(&["REPLICAOF", "NO", "ONE"]).await;
    for outage in ["frozen", "alone"] {
        assert_eq!(model_in(&replica, outage).await.as_deref(), Some("a/one"));
    }
}

#[tokio::test]
async fn a_failover_loses_no_confirmed_claim_and_no_told_move() {
    let set = SentinelSet::start().await;
    let store = redis(&options(&set.url()).replicated(true)).await;
    let sessions: Vec<String> = (0..60).map(|n| format!("s-{n}")).collect();
    let mut told: Vec<Pin> = Vec::new();
    for (n, session) in sessions.iter().enumerate() {
        let claimed = claim(&store, session, &format!("a/m{n}")).await.unwrap().pin;
        if n % 2 == 0 {
            told.push(claimed);
            continue;
        }
        let moved = store.repin(&key(session), claimed.epoch, selection("a/moved"), &LONG).await;
        told.push(moved.unwrap().unwrap().pin);
    }
    let replicas = set.servers().iter().skip(1);
    replicas.clone().for_each(RedisServer::freeze);
    let lost = store.repin(&key("s-0"), told[0].epoch, selection("a/lost"), &LONG).await;
    assert_eq!(lost.unwrap_err().kind(), StoreErrorKind::Unconfirmed);
    let old = set.kill_primary().await;
    replicas.for_each(RedisServer::thaw);
    let primary = set.wait_for_failover(old).await;
    for (session, pin) in sessions.iter().zip(&told) {
        let model = Some(pin.selection.model().to_string());
        assert_eq!(model_in(primary, session).await, model, "{session}");
    }
    until(async || get(&store, "s-0").await.is_ok()).await;
    for (session, pin) in sessions.iter().zip(&told) {
        assert_eq!(get(&store, session).await.unwrap().as_ref(), Some(pin), "{session}");
    }
    held(&store, "new", "a/one").await;
}

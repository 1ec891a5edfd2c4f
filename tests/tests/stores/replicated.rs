//! Claims that count only once a replica of Redis holds them.

use std::time::Duration;

use affinity_layer::StoreErrorKind;
use affinity_tests::redis::{RedisServer, SentinelSet};
use affinity_tests::until;

use crate::support::{claim, get, model_in, name, options, redis, soon};

#[tokio::test]
async fn a_claim_counts_when_a_replica_holds_it_and_else_leaves_nothing() {
    let primary = RedisServer::start().await;
    let of_primary = format!("127.0.0.1 {}", primary.port());
    let store = redis(&options(&primary.url()).replicated(true)).await;
    let error = claim(&store, "alone", "a/one").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert_eq!(primary.run(&["EXISTS", &name("alone")]).await.integer(), Some(0));

    let replica = RedisServer::builder().setting("replicaof", &of_primary).start().await;
    soon(Duration::from_secs(20), "the replica confirms", async || {
        claim(&store, "held", "a/one").await.is_ok()
    })
    .await;
    assert_eq!(model_in(&replica, "held").await.as_deref(), Some("a/one"), "at once");

    replica.freeze();
    let error = claim(&store, "unconfirmed", "a/one").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert_eq!(primary.run(&["EXISTS", &name("unconfirmed")]).await.integer(), Some(0));
    let late = claim(&store, "held", "a/two").await.unwrap();
    assert!(!late.won, "what is confirmed stands without another confirmation");
    // The same without the wait, to see what it is that refuses.
    let plain = redis(&options(&primary.url())).await;
    assert!(claim(&plain, "unconfirmed", "a/one").await.unwrap().won);
    replica.thaw();
}

#[tokio::test]
async fn a_failover_loses_no_confirmed_claim() {
    let set = SentinelSet::start().await;
    let store = redis(&options(&set.url()).replicated(true)).await;
    let sessions: Vec<String> = (0..60).map(|n| format!("s-{n}")).collect();
    for (n, session) in sessions.iter().enumerate() {
        assert!(claim(&store, session, &format!("a/m{n}")).await.unwrap().won);
    }
    let old = set.kill_primary().await;
    let primary = set.wait_for_failover(old).await;
    for (n, session) in sessions.iter().enumerate() {
        assert_eq!(model_in(primary, session).await, Some(format!("a/m{n}")), "{session}");
    }
    until(async || get(&store, "s-0").await.is_ok()).await;
    for (n, session) in sessions.iter().enumerate() {
        let pin = get(&store, session).await.unwrap().unwrap();
        assert_eq!(pin.selection.model().as_str(), format!("a/m{n}"), "{session}");
    }
    soon(Duration::from_secs(20), "new claims are confirmed", async || {
        claim(&store, "new", "a/one").await.is_ok()
    })
    .await;
}

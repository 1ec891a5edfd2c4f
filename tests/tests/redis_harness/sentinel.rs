//! A Sentinel set: it forms, and a replica takes over.

use affinity_tests::redis::SentinelSet;

#[tokio::test]
async fn a_replica_takes_over_from_a_killed_primary() {
    let set = SentinelSet::start().await;
    let first = set.primary().await;
    assert_eq!(first.port(), set.servers()[0].port());
    first.run(&["SET", "k", "v"]).await;
    assert_eq!(first.run(&["WAIT", "2", "500"]).await.integer(), Some(2));

    let killed = set.kill_primary().await;
    assert_eq!(killed.port(), first.port());
    assert!(!killed.is_running());
    let second = set.wait_for_failover(killed).await;
    assert_ne!(second.port(), first.port());
    assert_eq!(second.run(&["GET", "k"]).await.text(), Some("v"));
    second.run(&["SET", "k", "w"]).await;
}

#[tokio::test]
async fn a_frozen_primary_is_replaced_too() {
    let set = SentinelSet::start().await;
    let first = set.primary().await;
    first.freeze();
    let second = set.wait_for_failover(first).await;
    assert_ne!(second.port(), first.port());
}

#[tokio::test]
async fn the_url_names_every_sentinel() {
    let set = SentinelSet::start().await;
    let ports: Vec<_> = set.sentinels().iter().map(|sentinel| sentinel.port()).collect();
    let [a, b, c] = ports[..] else { panic!("{ports:?}") };
    assert_eq!(
        set.url(),
        format!(
            "redis-sentinel://127.0.0.1:{a}?sentinelServiceName=mymaster\
             &node=127.0.0.1:{b}&node=127.0.0.1:{c}"
        )
    );
}

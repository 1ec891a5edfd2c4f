//! A `RedisStore` without near copies knows by itself whether pins can be read and written.

use std::time::Duration;

use affinity_layer::store::Unready;
use affinity_layer::{AffinityStore, RedisStore, StoreErrorKind};
use affinity_tests::redis::{RedisCluster, RedisServer};

use crate::support::{LONG, claim, key, options, selection, soon};

const SOON: Duration = Duration::from_secs(10);

fn alone(url: &str) -> RedisStore {
    RedisStore::new(&options(url)).unwrap()
}

async fn until(store: &RedisStore, cause: Option<Unready>) {
    let what = format!("{cause:?}");
    soon(SOON, &what, async || store.unready() == cause).await;
    assert_eq!(store.is_ready(), cause.is_none());
}

#[tokio::test]
async fn it_is_ready_once_it_has_written_and_read_and_not_before() {
    let server = RedisServer::start().await;
    server.run(&["CONFIG", "RESETSTAT"]).await;
    let store = alone(&server.url());
    assert_eq!(store.unready(), Some(Unready::Unreachable), "nothing was tried yet");
    assert!(store.wait_ready(SOON).await);
    let stats = server.run(&["INFO", "commandstats"]).await;
    let stats = stats.text().unwrap();
    for command in ["getrange", "pttl", "set", "eval"] {
        assert!(stats.contains(&format!("cmdstat_{command}:")), "{command}: {stats}");
    }
    soon(SOON, "nothing is left", async || server.run(&["DBSIZE"]).await.integer() == Some(0))
        .await;

    server.kill();
    until(&store, Some(Unready::Unreachable)).await;
    assert!(!store.wait_ready(Duration::from_millis(100)).await);
    server.restart().await;
    until(&store, None).await;
    server.freeze();
    until(&store, Some(Unready::Unreachable)).await;
    server.thaw();
    until(&store, None).await;
}

#[tokio::test]
async fn what_a_server_refuses_is_named_while_it_refuses_it() {
    let server = RedisServer::start().await;
    let store = alone(&server.url());
    until(&store, None).await;
    let cases: [(Unready, &[&str], &[&str]); 2] = [
        (Unready::Full, &["CONFIG", "SET", "maxmemory", "1"], &["CONFIG", "SET", "maxmemory", "0"]),
        (Unready::ReadOnly, &["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"]),
    ];
    for (cause, breaks, heals) in cases {
        server.run(breaks).await;
        let refused = claim(&store, "refused", "a/one").await.unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Refused);
        assert_eq!(Unready::behind(&refused), Some(cause.clone()));
        until(&store, Some(cause)).await;
        server.run(heals).await;
        until(&store, None).await;
    }
    assert_eq!(Unready::behind(&StoreErrorKind::Refused.into()), None);
}

#[tokio::test]
async fn the_right_that_is_missing_is_named() {
    let server = RedisServer::start().await;
    let url = server.url().replace("redis://", "redis://u:hunter2@");
    for command in ["set", "eval", "getrange", "pttl", "pexpire", "del", "time"] {
        let user = ["ACL", "SETUSER", "u", "reset", "on", ">hunter2", "~*", "&*", "+@all"];
        let without = format!("-{command}");
        server.run(&[&user[..], &[&without]].concat()).await;
        let store = alone(&url);
        until(&store, Some(Unready::NoPermission(Some(command.to_owned())))).await;
        server.run(&user).await;
        until(&store, None).await;
    }
    // What only near copies need is not missed.
    let user = ["ACL", "SETUSER", "u", "reset", "on", ">hunter2", "~*", "&*", "+@all", "-client"];
    server.run(&[&user[..], &["-info"]].concat()).await;
    until(&alone(&url), None).await;
}

#[tokio::test]
async fn a_node_of_a_cluster_behind_the_address_of_one_server_is_named() {
    let cluster = RedisCluster::start(3).await;
    for node in cluster.nodes() {
        until(&alone(&node.url()), Some(Unready::Cluster)).await;
    }
    until(&alone(&cluster.url()), None).await;
}

/// A primary that takes no writes still answers reads, whichever change it refuses.
#[tokio::test]
async fn releases_that_are_refused_do_not_shut_out_reads() {
    let server = RedisServer::start().await;
    let store = alone(&server.url());
    until(&store, None).await;
    let pin = claim(&store, "s", "a/one").await.unwrap().pin;
    // It keeps what it has, and refuses writes.
    server.run(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    for _ in 0..20 {
        assert!(store.release(&key("s"), None).await.is_err());
        assert!(store.claim(&key("new"), selection("a/two"), &LONG).await.is_err());
    }
    let read = store.get(&key("s"), &LONG).await.unwrap();
    assert_eq!(read.pin(), Some(pin));
}

//! A cluster: it forms, a slot moves, a replica takes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use affinity_tests::redis::{CommandError, RedisCluster, RedisServer, Reply};

fn moved(reply: Result<Reply, CommandError>) -> bool {
    matches!(reply, Err(CommandError::Refused(text)) if text.starts_with("MOVED"))
}

#[tokio::test]
async fn three_primaries_share_the_slots() {
    let cluster = RedisCluster::start_with(3, 0, RedisServer::builder().password("secret")).await;
    let mut keys_of = [0; 3];
    for key in ["a", "b", "c", "d", "e", "f"] {
        let owner = cluster.owner(cluster.slot_of(key).await).await;
        cluster.node(owner).run(&["SET", key, "v"]).await;
        assert!(moved(cluster.node((owner + 1) % 3).cmd(&["GET", key]).await));
        keys_of[owner] += 1;
    }
    assert!(keys_of.iter().all(|keys| *keys > 0), "{keys_of:?}");
    let ports: Vec<_> = cluster.nodes().iter().map(RedisServer::port).collect();
    let [a, b, c] = ports[..] else { panic!("{ports:?}") };
    assert_eq!(
        cluster.url(),
        format!("redis-cluster://:secret@127.0.0.1:{a}?node=127.0.0.1:{b}&node=127.0.0.1:{c}")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_moves_with_its_keys_while_a_client_writes_to_it() {
    let cluster = Arc::new(RedisCluster::start(3).await);
    let slot = cluster.slot_of("{t}").await;
    let from = cluster.owner(slot).await;
    let to = (from + 1) % 3;
    // More than one batch.
    for i in 0..250 {
        cluster.node(from).run(&["SET", &format!("{{t}}{i}"), &i.to_string()]).await;
    }

    let done = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(overwrite_until(done.clone(), cluster.clone(), from, to));
    // Spawned, to show that a test may do so.
    let moving = cluster.clone();
    tokio::spawn(async move { moving.migrate_slot(slot, from, to).await }).await.unwrap();
    done.store(true, Ordering::Relaxed);
    let written = load.await.unwrap();

    assert_ne!(written, "0", "the client got through at least once");
    assert_eq!(cluster.owner(slot).await, to);
    assert!(moved(cluster.node(from).cmd(&["GET", "{t}0"]).await));
    assert_eq!(cluster.node(to).run(&["GET", "{t}0"]).await.text(), Some(written.as_str()));
    for i in 1..250 {
        let value = cluster.node(to).run(&["GET", &format!("{{t}}{i}")]).await;
        assert_eq!(value.text(), Some(i.to_string().as_str()));
    }
    let left = cluster.node(from).run(&["DBSIZE"]).await;
    assert_eq!(left.integer(), Some(0));
}

/// Writes ever new values to one key wherever it is, and gives the last that was acknowledged.
async fn overwrite_until(
    done: Arc<AtomicBool>,
    cluster: Arc<RedisCluster>,
    from: usize,
    to: usize,
) -> String {
    let mut last = String::from("0");
    for i in 1_000_000.. {
        if done.load(Ordering::Relaxed) {
            break;
        }
        let value = i.to_string();
        for node in [from, to] {
            if cluster.node(node).cmd(&["SET", "{t}0", &value]).await.is_ok() {
                last.clone_from(&value);
                break;
            }
        }
    }
    last
}

#[tokio::test]
async fn a_replica_takes_over_from_a_killed_primary_which_comes_back_as_a_replica() {
    let cluster = RedisCluster::start_with_replicas(3).await;
    let slot = cluster.slot_of("k").await;
    let old = cluster.owner(slot).await;
    cluster.node(old).run(&["SET", "k", "v"]).await;
    cluster.node(old).run(&["WAIT", "1", "500"]).await;

    let new = cluster.failover(old).await;
    assert_eq!(new, old + 3, "the replica of that primary");
    assert_eq!(cluster.node(new).run(&["GET", "k"]).await.text(), Some("v"));

    cluster.node(old).restart().await;
    cluster.wait_until_ready().await;
    assert_eq!(cluster.owner(slot).await, new);
}

//! Near copies of pins in a cluster: each node tells of its own.

use std::time::Duration;

use affinity_layer::{AffinityStore, RedisOptions, TieredStore};
use affinity_tests::redis::{RedisCluster, RedisServer};

use crate::support::{LONG, claim, key, model, options, selection, soon, tiered};

/// A change that is seen, or a cluster that is well again.
const SOON: Duration = Duration::from_secs(15);

/// Sessions enough for each node to have some.
const SESSIONS: usize = 30;

fn session(n: usize) -> String {
    format!("s-{n}")
}

async fn two(options: &RedisOptions) -> (TieredStore, TieredStore) {
    (tiered(options).await, tiered(options).await)
}

/// Waits until the store answers all sessions from near copies.
async fn all_near(store: &TieredStore) {
    soon(SOON, "near copies of all sessions", async || {
        let mut near = 0;
        for n in 0..SESSIONS {
            model(store, &session(n)).await;
            near += usize::from(store.peek(&key(&session(n)), &LONG).is_some());
        }
        near == SESSIONS
    })
    .await;
}

/// Moves all sessions by `from`, and waits until `to` has heard of it.
async fn moves_are_seen(from: &TieredStore, to: &TieredStore, wanted: &str) {
    for n in 0..SESSIONS {
        let pin = from.get(&key(&session(n)), &LONG).await.unwrap().pin().unwrap();
        let wanted = selection(wanted);
        from.repin(&key(&session(n)), pin.epoch, wanted, &LONG).await.unwrap().unwrap();
    }
    for n in 0..SESSIONS {
        soon(SOON, "a move by another replica", async || {
            model(to, &session(n)).await.as_deref() == Some(wanted)
        })
        .await;
    }
}

#[tokio::test]
async fn pinned_turns_make_no_command_and_follow_every_change() {
    let cluster = RedisCluster::start(3).await;
    let (a, b) = two(&options(&cluster.url())).await;
    for n in 0..SESSIONS {
        claim(&a, &session(n), "a/one").await.unwrap();
    }
    for store in [&a, &b] {
        all_near(store).await;
        let sent = async || {
            let mut sent = 0;
            for node in cluster.nodes() {
                sent += node.pin_commands().await;
            }
            sent
        };
        let before = sent().await;
        for n in 0..SESSIONS {
            assert_eq!(model(store, &session(n)).await.as_deref(), Some("a/one"));
        }
        assert_eq!(sent().await, before);
    }
    moves_are_seen(&a, &b, "a/two").await;
    moves_are_seen(&b, &a, "a/three").await;
}

#[tokio::test]
async fn changes_are_seen_wherever_a_slot_moves() {
    let cluster = RedisCluster::start(3).await;
    let (a, b) = two(&options(&cluster.url()).key_prefix("{t}:")).await;
    let slot = cluster.slot_of("{t}").await;
    for n in 0..SESSIONS {
        claim(&a, &session(n), "a/one").await.unwrap();
    }
    for hop in 0..3 {
        all_near(&b).await;
        let from = cluster.owner(slot).await;
        cluster.migrate_slot(slot, from, (from + 1) % 3).await;
        moves_are_seen(&a, &b, &format!("a/hop-{hop}")).await;
    }
}

#[tokio::test]
async fn no_copy_is_near_while_a_node_is_away() {
    let settings = RedisServer::builder().setting("cluster-require-full-coverage", "no");
    let cluster = RedisCluster::start_with(3, 1, settings).await;
    let (a, b) = two(&options(&cluster.url())).await;
    for n in 0..SESSIONS {
        claim(&a, &session(n), "a/one").await.unwrap();
    }
    all_near(&b).await;
    let size = async |node| cluster.node(node).run(&["DBSIZE"]).await.integer();
    soon(SOON, "its replica has them too", async || size(0).await == size(3).await).await;
    cluster.node(0).freeze();
    soon(SOON, "copies are doubted", async || {
        (0..SESSIONS).all(|n| b.peek(&key(&session(n)), &LONG).is_none())
    })
    .await;
    for n in 0..SESSIONS {
        assert_eq!(model(&b, &session(n)).await.as_deref(), Some("a/one"), "known all the same");
    }
    // Its replica takes over, without a word from the frozen one.
    all_near(&b).await;
    soon(SOON, "both follow", async || a.is_ready() && b.is_ready()).await;
    moves_are_seen(&a, &b, "a/two").await;
}

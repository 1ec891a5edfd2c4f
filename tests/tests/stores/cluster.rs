//! A cluster whose slots move and whose nodes fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use affinity_layer::{RedisOptions, RedisStore};
use affinity_tests::redis::{RedisCluster, RedisServer};
use tokio::task::JoinSet;

use crate::support::{claim, get, name, options, redis, soon};

/// One slot holds every session, so that moving it moves all of them.
const ONE_SLOT: &str = "{t}:";

/// A command timeout for hundreds of calls at once on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a cluster may be without one of its nodes' slots, at a node timeout of two seconds: six
/// seconds, and what a busy machine may add.
const FAILOVER: Duration = Duration::from_secs(15);

async fn in_one_slot(cluster: &RedisCluster) -> (RedisOptions, u16, usize) {
    let slot = cluster.slot_of(ONE_SLOT).await;
    let options = options(&cluster.url()).key_prefix(ONE_SLOT).command_timeout(PATIENCE);
    (options, slot, cluster.owner(slot).await)
}

/// Claims all `sessions` at once, each by every store, which want different models. Gives the model of
/// each; the stores must agree on it.
async fn race(stores: &[RedisStore], sessions: &[String]) -> Vec<String> {
    let mut claims = JoinSet::new();
    for session in sessions {
        let (stores, session) = (stores.to_vec(), session.clone());
        claims.spawn(async move {
            let mut racing = JoinSet::new();
            for (n, store) in stores.into_iter().enumerate() {
                let session = session.clone();
                racing.spawn(async move { claim(&store, &session, &format!("a/{n}")).await });
            }
            let told = racing.join_all().await;
            let told: Vec<_> = told.into_iter().map(|claim| claim.unwrap().pin).collect();
            assert!(told.iter().all(|pin| *pin == told[0]), "{session}: {told:?}");
            (session, told[0].selection.model().to_string())
        });
    }
    let mut models = claims.join_all().await;
    models.sort_by_key(|(session, _)| sessions.iter().position(|one| one == session));
    models.into_iter().map(|(_, model)| model).collect()
}

fn sessions(what: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{what}-{n}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_slot_is_half_moved_each_key_has_one_node() {
    let cluster = RedisCluster::start(3).await;
    let (options, slot, from) = in_one_slot(&cluster).await;
    let to = (from + 1) % 3;
    let mut stores = vec![redis(&options).await, redis(&options).await];
    let (old, new) = (sessions("old", 200), sessions("new", 200));
    let before = race(&stores, &old).await;
    let (from_id, to_id) = (id(cluster.node(from)).await, id(cluster.node(to)).await);
    let slot = slot.to_string();
    cluster.node(to).run(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]).await;
    cluster.node(from).run(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]).await;
    // One that has not seen the cluster before.
    stores.push(redis(&options).await);
    let mixed: Vec<_> = old.iter().zip(&new).flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
    let during = race(&stores, &mixed).await;
    let again = race(&stores, &mixed).await;
    assert_eq!(during, again);
    let of_old: Vec<_> = during.iter().step_by(2).cloned().collect();
    assert_eq!(of_old, before, "what stands on the old node holds");
    let size = async |node| cluster.node(node).run(&["DBSIZE"]).await.integer();
    assert_eq!((size(from).await, size(to).await), (Some(200), Some(200)), "each key once");
}

async fn id(node: &RedisServer) -> String {
    node.run(&["CLUSTER", "MYID"]).await.text().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_splits_and_loses_no_session() {
    let cluster = Arc::new(RedisCluster::start(3).await);
    let (options, slot, from) = in_one_slot(&cluster).await;
    let stores = [redis(&options).await, redis(&options).await, redis(&options).await];
    let fixed = sessions("fixed", 500);
    let before = race(&stores, &fixed).await;
    let failed = failures(&stores);
    let done = Arc::new(AtomicBool::new(false));
    let load = {
        let (stores, done) = (stores.clone(), done.clone());
        tokio::spawn(async move {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) {
                race(&stores, &sessions(&format!("round-{rounds}"), 50)).await;
                rounds += 1;
            }
            rounds
        })
    };
    for hop in 0..6 {
        cluster.migrate_slot(slot, (from + hop) % 3, (from + hop + 1) % 3).await;
        assert_eq!(race(&stores, &fixed).await, before, "hop {hop}");
    }
    done.store(true, Ordering::Relaxed);
    assert!(load.await.unwrap() > 0);
    assert_eq!(failures(&stores), failed, "every call was answered");
}

fn failures(stores: &[RedisStore]) -> u64 {
    let stats = stores.iter().map(RedisStore::stats);
    stats.map(|stats| stats.timeouts + stats.errors + stats.refused).sum()
}

/// A session of each node.
async fn one_each(cluster: &RedisCluster) -> Vec<String> {
    let mut found = vec![None; 3];
    for n in 0.. {
        let session = format!("s-{n}");
        let slot = cluster.slot_of(&name(&session)).await;
        found[cluster.owner(slot).await].get_or_insert(session);
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    found.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_fails_takes_no_other_with_it_and_is_replaced() {
    for frozen in [false, true] {
        let settings = RedisServer::builder().setting("cluster-require-full-coverage", "no");
        let cluster = RedisCluster::start_with(3, 1, settings).await;
        let store = redis(&options(&cluster.url())).await;
        let sessions = one_each(&cluster).await;
        for session in &sessions {
            claim(&store, session, "a/one").await.unwrap();
        }
        let size = async |node| cluster.node(node).run(&["DBSIZE"]).await.integer();
        soon(FAILOVER, "its replica has them too", async || size(0).await == size(3).await).await;
        if frozen {
            cluster.node(0).freeze();
        } else {
            cluster.node(0).kill();
        }
        soon(FAILOVER, "another node serves its slots", async || {
            for others in &sessions[1..] {
                let pin = get(&store, others).await;
                assert!(pin.is_ok_and(|pin| pin.is_some()), "{others}, frozen: {frozen}");
            }
            get(&store, &sessions[0]).await.is_ok_and(|pin| pin.is_some())
        })
        .await;
        claim(&store, "later", "a/two").await.unwrap();
    }
}

#[tokio::test]
async fn a_slot_that_nobody_serves_is_an_outage_of_its_sessions() {
    let settings = RedisServer::builder().setting("cluster-require-full-coverage", "no");
    let cluster = RedisCluster::start_with(3, 0, settings).await;
    let (options, slot, from) = in_one_slot(&cluster).await;
    let store = redis(&options).await;
    claim(&store, "s", "a/one").await.unwrap();
    for node in cluster.nodes() {
        node.run(&["CLUSTER", "DELSLOTS", &slot.to_string()]).await;
    }
    for _ in 0..20 {
        assert!(get(&store, "s").await.is_err(), "CLUSTERDOWN");
    }
    cluster.node(from).run(&["CLUSTER", "ADDSLOTS", &slot.to_string()]).await;
    soon(FAILOVER, "the slot is served again", async || {
        get(&store, "s").await.is_ok_and(|pin| pin.is_some())
    })
    .await;
}

//! Workers of a queue that keep the jobs of one account on one shard: no HTTP, and no model.
//!
//!     cargo run -p affinity-layer --example queue_worker
//!
//! Three workers take jobs from one queue. The shard of an account is chosen when its first job comes; when
//! that shard fails, the account moves once, for all workers.

// An example prints what it found.
#![allow(clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use affinity_layer::{
    Affinity, AffinityKey, BoxError, MemoryStore, RouteDecision, RouterService, TargetName,
};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tower::service_fn;

/// What the router judges.
#[derive(Clone)]
struct Job {
    account: String,
    rows: usize,
}

/// Ranks the shards in turn, as a router does that only balances load.
fn router(asked: Arc<AtomicUsize>) -> impl RouterService<Job> + Sync {
    service_fn(move |_: Job| {
        let turn = asked.fetch_add(1, Ordering::SeqCst);
        async move {
            let shards = ["shard-a", "shard-b", "shard-c"];
            let ranked = shards.iter().cycle().skip(turn % shards.len()).take(shards.len());
            let ranked = ranked.map(|name| TargetName::new(name)).collect::<Result<Vec<_>, _>>()?;
            Ok::<_, BoxError>(RouteDecision::new(ranked))
        }
    })
}

/// Stands for the work on a shard.
async fn import(shard: &TargetName, job: &Job, is_down: bool) -> Result<(), BoxError> {
    tokio::task::yield_now().await;
    if is_down && shard.as_str() == "shard-a" || job.rows == 0 {
        return Err("connection refused".into());
    }
    Ok(())
}

/// For each account the shards that did its jobs, before and after shard-a went down.
type ShardsByAccount = BTreeMap<(bool, String), BTreeSet<String>>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let asked = Arc::new(AtomicUsize::new(0));
    let affinity = Affinity::new(MemoryStore::default(), router(asked.clone()));
    let (sender, receiver) = mpsc::channel::<Job>(100);
    let receiver = Arc::new(Mutex::new(receiver));
    let is_down = Arc::new(AtomicBool::new(false));
    let done: Arc<Mutex<ShardsByAccount>> = Arc::default();

    let mut workers = JoinSet::new();
    for _ in 0..3 {
        let (affinity, receiver) = (affinity.clone(), receiver.clone());
        let (is_down, done) = (is_down.clone(), done.clone());
        workers.spawn(async move {
            loop {
                let Some(job) = receiver.lock().await.recv().await else { return Ok(()) };
                let key = AffinityKey::new(&job.account)?;
                let down = is_down.load(Ordering::SeqCst);
                // Held until the job is done: the pin does not expire meanwhile.
                let mut decision = affinity.decide(&key, job.clone()).await?;
                while let Err(error) = import(decision.target(), &job, down).await {
                    if !decision.failed().await {
                        return Err::<(), BoxError>(error);
                    }
                }
                decision.served().await;
                let shard = decision.target().to_string();
                done.lock().await.entry((down, job.account)).or_default().insert(shard);
            }
        });
    }
    for round in 0..20 {
        if round == 10 {
            // The queue drains, and shard-a goes down.
            while sender.capacity() < sender.max_capacity() {
                tokio::task::yield_now().await;
            }
            is_down.store(true, Ordering::SeqCst);
        }
        for account in ["acme", "globex", "initech"] {
            sender.send(Job { account: account.into(), rows: 1 + round }).await?;
        }
    }
    drop(sender);
    while let Some(worker) = workers.join_next().await {
        worker??;
    }

    let done = done.lock().await;
    assert_eq!(asked.load(Ordering::SeqCst), 3, "the router was asked once for each account");
    for ((_, account), shards) in done.iter().filter(|((down, _), _)| *down) {
        assert_eq!(shards.len(), 1, "{account} has one shard after the failure: {shards:?}");
        assert!(!shards.contains("shard-a"));
    }
    println!("three accounts, each on one shard; the one on shard-a moved once");
    Ok(())
}

//! The read of a pin, compared between stores.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use affinity_benches::redis::Redis;
use affinity_benches::turns::{Subject, Work, medians};
use affinity_benches::{Failure, Random, claim, key, selection};
use affinity_layer::{
    AffinityKey, AffinityStore, Expiry, MemoryStore, RedisStore, Selection, TieredStore,
};
use moka::policy::EvictionPolicy;
use tokio::runtime::{Builder, Runtime};

use crate::ROUNDS;

/// Sessions in Redis: each is claimed by a call of its own.
const SHARED: u64 = 5_000;
/// Keys that are read.
const SAMPLE: u64 = 100_000;

pub(crate) fn table(sessions: u64, times: usize) -> Result<String, Failure> {
    let runtime = Arc::new(Builder::new_multi_thread().worker_threads(1).enable_all().build()?);
    let redis = Redis::start()?;
    let stored = runtime.block_on(async { redis.store() })?;
    let tiered = runtime.block_on(redis.tiered(usize::try_from(sessions)?))?;
    let missed = Arc::new(AtomicUsize::new(0));
    let mut subjects = Vec::new();
    for (name, work) in [
        (format!("memory, {sessions} sessions"), memory(sessions, &missed)),
        (format!("moka, LRU, {sessions} sessions"), moka(sessions, &missed)),
        (format!("quick_cache, {sessions} sessions"), quick(sessions, &missed)),
        (format!("near copies, {SHARED} sessions"), near(&runtime, tiered, &missed)?),
    ] {
        for threads in [1, 2] {
            subjects.push(Subject { name: name.clone(), threads, work: work.clone() });
        }
    }
    let shared = Subject {
        name: format!("Redis, {SHARED} sessions, one call at a time"),
        threads: 1,
        work: remote(&runtime, stored),
    };
    let mut medians = medians(&subjects, ROUNDS, times);
    medians.extend(self::medians(&[shared], ROUNDS, times.min(2_000)));
    let mut table = String::from(
        "| store | one thread, ns per read | two threads, ns per read |\n|---|---:|---:|\n",
    );
    let names = subjects.iter().step_by(2).map(|subject| subject.name.as_str());
    for (name, pair) in names.chain(["Redis, one call at a time"]).zip(medians.chunks(2)) {
        let nanoseconds = |at: usize| pair.get(at).map(|taken| taken.as_nanos().to_string());
        let [one, two] = [0, 1].map(|at| nanoseconds(at).unwrap_or_default());
        writeln!(table, "| {name} | {one} | {two} |")?;
    }
    writeln!(table, "\nReads that found nothing: {}.", missed.load(Ordering::Relaxed))?;
    Ok(table)
}

fn sample(sessions: u64) -> Vec<AffinityKey> {
    let mut random = Random::default();
    (0..SAMPLE).map(|_| key(random.below(sessions))).collect()
}

/// Reads the keys one after the other, each thread from another one on.
fn reads(
    keys: Vec<AffinityKey>,
    missed: &Arc<AtomicUsize>,
    read: impl Fn(&AffinityKey) -> bool + Send + Sync + 'static,
) -> Work {
    let missed = missed.clone();
    Arc::new(move |thread, times| {
        let keys = keys.iter().cycle().skip(thread * keys.len() / 2).take(times);
        let found = keys.filter(|key| read(key)).count();
        missed.fetch_add(times - found, Ordering::Relaxed);
    })
}

fn memory(sessions: u64, missed: &Arc<AtomicUsize>) -> Work {
    let expiry = Expiry::fixed(Duration::from_secs(86_400));
    let store = MemoryStore::new(usize::try_from(sessions).unwrap_or(usize::MAX));
    for n in 0..sessions {
        claim(&store, &key(n), &expiry);
    }
    reads(sample(sessions), missed, move |key| store.peek(key, &expiry).is_some())
}

fn moka(sessions: u64, missed: &Arc<AtomicUsize>) -> Work {
    let cache = moka::sync::Cache::builder()
        .max_capacity(sessions)
        .eviction_policy(EvictionPolicy::lru())
        .time_to_live(Duration::from_secs(86_400))
        .build();
    for n in 0..sessions {
        cache.insert(key(n), selection());
    }
    reads(sample(sessions), missed, move |key| cache.get(key).is_some())
}

fn quick(sessions: u64, missed: &Arc<AtomicUsize>) -> Work {
    // Twice the room: it is bounded for each of its parts, and these differ in size.
    let capacity = usize::try_from(sessions.saturating_mul(2)).unwrap_or(usize::MAX);
    let cache = quick_cache::sync::Cache::<AffinityKey, Arc<Selection>>::new(capacity);
    for n in 0..sessions {
        cache.insert(key(n), selection());
    }
    reads(sample(sessions), missed, move |key| cache.get(key).is_some())
}

fn near(
    runtime: &Arc<Runtime>,
    store: TieredStore,
    missed: &Arc<AtomicUsize>,
) -> Result<Work, Failure> {
    let expiry = Expiry::fixed(Duration::from_secs(86_400));
    runtime.block_on(async {
        for n in 0..SHARED {
            store.claim(&key(n), selection(), &expiry).await?;
            store.get(&key(n), &expiry).await?;
        }
        Ok::<_, Failure>(())
    })?;
    Ok(reads(sample(SHARED), missed, move |key| store.peek(key, &expiry).is_some()))
}

fn remote(runtime: &Arc<Runtime>, store: RedisStore) -> Work {
    let (runtime, keys) = (runtime.clone(), sample(SHARED));
    Arc::new(move |_, times| {
        runtime.block_on(async {
            for key in keys.iter().cycle().take(times) {
                drop(store.get(key, &Expiry::default()).await);
            }
        });
    })
}

//! Who is evicted: hit ratios of the memory store, of exact LRU, and of the library caches.

use std::fmt::Write;
use std::num::NonZeroUsize;

use affinity_benches::{Random, claim, key};
use affinity_layer::{AffinityStore, Expiry, MemoryStore};
use lru::LruCache;
use moka::policy::EvictionPolicy;

/// A place for so many of the ids of a trace.
const PART: u64 = 10;

/// The ids of so many requests.
type Trace = fn(u64) -> Vec<u64>;

/// Whether an id is there; it is afterwards.
type Cache = Box<dyn FnMut(u64) -> bool>;

pub(crate) fn table(requests: u64) -> String {
    let capacity = usize::try_from(requests / PART / PART).unwrap_or(1);
    let mut table = String::from(
        "| trace | exact LRU | memory store | difference | moka, LRU | moka, TinyLFU | quick_cache |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
    );
    let traces: [(&str, Trace); 3] = [
        ("Zipf", zipf),
        ("Zipf, every other request a scan", scan),
        ("sessions of ten turns", turns),
    ];
    for (name, trace) in traces {
        let trace = trace(requests);
        let ratio = |cache| hit_ratio(cache, &trace);
        let (exact, ours) = (ratio(exact(capacity)), ratio(memory(capacity)));
        let _ = writeln!(
            table,
            "| {name} | {exact:.1} % | {ours:.1} % | {:+.1} | {:.1} % | {:.1} % | {:.1} % |",
            ours - exact,
            ratio(moka(capacity, EvictionPolicy::lru())),
            ratio(moka(capacity, EvictionPolicy::tiny_lfu())),
            ratio(quick(capacity)),
        );
    }
    table
}

#[expect(clippy::cast_precision_loss, reason = "counts of millions")]
fn hit_ratio(mut cache: Cache, trace: &[u64]) -> f64 {
    let hits = trace.iter().filter(|id| cache(**id)).count();
    100.0 * hits as f64 / trace.len() as f64
}

fn exact(capacity: usize) -> Cache {
    let mut cache = LruCache::new(NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN));
    Box::new(move |id| cache.put(id, ()).is_some())
}

fn memory(capacity: usize) -> Cache {
    let (store, expiry) = (MemoryStore::new(capacity), Expiry::default());
    Box::new(move |id| {
        let key = key(id);
        let hit = store.peek(&key, &expiry).is_some();
        if !hit {
            claim(&store, &key, &expiry);
        }
        hit
    })
}

fn moka(capacity: usize, policy: EvictionPolicy) -> Cache {
    let cache = moka::sync::Cache::builder()
        .max_capacity(u64::try_from(capacity).unwrap_or(u64::MAX))
        .eviction_policy(policy)
        .build();
    Box::new(move |id| {
        let hit = cache.get(&id).is_some();
        if !hit {
            cache.insert(id, ());
        }
        hit
    })
}

fn quick(capacity: usize) -> Cache {
    let cache = quick_cache::sync::Cache::new(capacity);
    Box::new(move |id| {
        let hit = cache.get(&id).is_some();
        if !hit {
            cache.insert(id, ());
        }
        hit
    })
}

/// The id of rank k comes with a likelihood of 1/k.
fn zipf(requests: u64) -> Vec<u64> {
    let (mut random, ids) = (Random::default(), requests / PART);
    (0..requests).map(|_| random.zipf(ids)).collect()
}

/// The same, with as many ids that come once.
fn scan(requests: u64) -> Vec<u64> {
    let once = (0..requests).map(|n| u64::MAX / 2 + n);
    zipf(requests / 2).into_iter().zip(once).flat_map(|(id, once)| [id, once]).collect()
}

/// Agents: as many sessions at a time as three quarters of the capacity, each for ten turns.
fn turns(requests: u64) -> Vec<u64> {
    let mut random = Random::default();
    let active = requests / PART / PART * 3 / 4;
    let mut next = active;
    let mut sessions: Vec<(u64, u8)> = (0..active).map(|id| (id, 0)).collect();
    let mut trace = Vec::new();
    for _ in 0..requests {
        let at = usize::try_from(random.below(active)).unwrap_or_default();
        let Some((id, turn)) = sessions.get_mut(at) else { continue };
        trace.push(*id);
        *turn += 1;
        if *turn == 10 {
            (*id, *turn) = (next, 0);
            next += 1;
        }
    }
    trace
}

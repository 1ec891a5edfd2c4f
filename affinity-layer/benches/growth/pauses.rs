//! How long a hit may take while many pins expire.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use affinity_benches::{Failure, claim, key};
use affinity_layer::{AffinityKey, AffinityStore, Expiry, MemoryStore};
use tokio::time::Instant;

/// Pins that are hit meanwhile.
const STEADY: u64 = 1_000;

const LONG: Expiry = Expiry::fixed(Duration::from_secs(3_600));

/// Each row is the median of so many, measured in turns.
const ROUNDS: usize = 5;

/// Another thread claims new sessions all the time, which drops expired ones. The first row shows what
/// the machine does to hits on a store without other users, while that thread works on its own store.
pub(crate) fn table(sessions: u32) -> Result<String, Failure> {
    let short = Expiry::fixed(Duration::from_secs(1));
    let store = MemoryStore::new;
    let capacity = usize::try_from(sessions)? * 3;
    let mut rounds = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let [apart, stay, expire] = &mut rounds;
        apart.push(hits(&store(capacity), &store(capacity), sessions, LONG));
        let shared = store(capacity);
        stay.push(hits(&shared, &shared, sessions, LONG));
        let shared = store(capacity);
        expire.push(hits(&shared, &shared, sessions, short));
    }
    let mut table = String::from(
        "| while another thread claims | median of a hit | p99.99 | p99.99 / median |\n\
         |---|---:|---:|---:|\n",
    );
    let names = ["in another store", "and all pins stay", "and as many pins expire"];
    for (name, rounds) in names.into_iter().zip(rounds) {
        let median = middle(rounds.iter().map(|[median, _]| *median));
        let p9999 = middle(rounds.iter().map(|[_, p9999]| *p9999));
        let times = p9999.as_secs_f64() / median.as_secs_f64().max(1e-9);
        writeln!(table, "| {name} | {median:?} | {p9999:?} | {times:.1} |")?;
    }
    Ok(table)
}

fn middle(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn hits(
    store: &MemoryStore,
    claimed: &MemoryStore,
    sessions: u32,
    expiry: Expiry,
) -> [Duration; 2] {
    let steady: Vec<AffinityKey> = (0..STEADY).map(|n| key(u64::MAX - n)).collect();
    for key in &steady {
        claim(store, key, &LONG);
    }
    let began = Instant::now();
    for n in 0..sessions {
        claim(claimed, &key(u64::from(n)), &expiry);
    }
    if expiry.initial() < Duration::from_secs(60) {
        thread::sleep(expiry.initial().saturating_sub(began.elapsed()));
    }
    let done = AtomicBool::new(false);
    let mut taken = thread::scope(|scope| {
        scope.spawn(|| {
            // Each claim looks at two old entries.
            for n in sessions..sessions.saturating_mul(2) {
                claim(claimed, &key(u64::from(n)), &LONG);
            }
            done.store(true, Ordering::Relaxed);
        });
        let mut taken = Vec::new();
        while !done.load(Ordering::Relaxed) {
            for key in &steady {
                let began = Instant::now();
                let hit = store.peek(key, &expiry);
                taken.push(began.elapsed());
                drop(hit);
            }
        }
        taken
    });
    taken.sort_unstable();
    let at = |part: usize| taken.get(taken.len() * part / 10_000).copied().unwrap_or_default();
    [at(5_000), at(9_999)]
}

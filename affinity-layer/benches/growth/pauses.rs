//! How long a hit may take while many pins expire.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use affinity_benches::{Failure, claim, key};
use affinity_layer::{AffinityKey, AffinityStore, Expiry, MemoryStore};
use tokio::time::Instant;

/// Pins that are hit meanwhile.
const STEADY: u64 = 1_000;

/// Another thread claims new sessions all the time: by that, expired ones are dropped.
pub(crate) fn table(sessions: u32) -> Result<String, Failure> {
    let calm = hits(sessions, Expiry::fixed(Duration::from_secs(3_600)))?;
    let expiring = hits(sessions, Expiry::fixed(Duration::from_secs(1)))?;
    let row = |name, [median, p9999]: [Duration; 2]| {
        let times = p9999.as_secs_f64() / median.as_secs_f64().max(1e-9);
        format!("| {name} | {median:?} | {p9999:?} | {times:.1} |\n")
    };
    Ok(format!(
        "| while another thread claims | median of a hit | p99.99 | p99.99 / median |\n\
         |---|---:|---:|---:|\n{}{}",
        row(format!("and {sessions} pins stay"), calm),
        row(format!("and {sessions} pins expire"), expiring),
    ))
}

fn hits(sessions: u32, expiry: Expiry) -> Result<[Duration; 2], Failure> {
    let store = MemoryStore::new(usize::try_from(sessions)? * 3);
    let steady: Vec<AffinityKey> = (0..STEADY).map(|n| key(u64::MAX - n)).collect();
    for key in &steady {
        claim(&store, key, &Expiry::fixed(Duration::from_secs(3_600)));
    }
    let began = Instant::now();
    for n in 0..sessions {
        claim(&store, &key(u64::from(n)), &expiry);
    }
    if expiry.initial() < Duration::from_secs(60) {
        thread::sleep(expiry.initial().saturating_sub(began.elapsed()));
    }
    let done = AtomicBool::new(false);
    let mut taken = thread::scope(|scope| {
        scope.spawn(|| {
            let long = Expiry::fixed(Duration::from_secs(3_600));
            // Each claim looks at two old entries.
            for n in sessions..sessions.saturating_mul(2) {
                claim(&store, &key(u64::from(n)), &long);
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
    Ok([at(5_000), at(9_999)])
}

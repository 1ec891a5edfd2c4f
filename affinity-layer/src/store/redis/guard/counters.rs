//! How calls to Redis ended. An absence is not an error, and the two are counted separately.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of a store since it was made.
///
/// A snapshot of counters that only grow; take two and subtract. The fields are read one after the
/// other, so their sum may be off by calls that end meanwhile. Reads that found or missed a pin are
/// counted by their result, and all calls, claims included, by their failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Reads that found a pin.
    pub found: u64,
    /// Reads that found none.
    pub absent: u64,
    /// Calls in the background that kept pins and copies alive.
    pub renewals: u64,
    /// Calls without an answer in time, those included whose caller gave up.
    pub timeouts: u64,
    /// Calls that failed in another way.
    pub errors: u64,
    /// Calls that were not made: the breaker was open, or too many were under way.
    pub refused: u64,
}

/// One set for all servers of a store. See [`StoreStats`] for each.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) found: Counter,
    pub(crate) absent: Counter,
    pub(crate) renewals: Counter,
    pub(crate) timeouts: Counter,
    pub(crate) errors: Counter,
    pub(crate) refused: Counter,
}

/// One count, raised by any thread.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(crate) fn stats(&self) -> StoreStats {
        StoreStats {
            found: self.found.get(),
            absent: self.absent.get(),
            renewals: self.renewals.get(),
            timeouts: self.timeouts.get(),
            errors: self.errors.get(),
            refused: self.refused.get(),
        }
    }
}

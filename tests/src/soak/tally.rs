//! What became of the requests.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Counts of requests, by what became of them.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) sent: AtomicU64,
    pub(super) whole: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) broken: AtomicU64,
    pub(super) given_up: AtomicU64,
    pub(super) half_open: AtomicU64,
    /// Answered, and the provider knows nothing of it.
    pub(super) lost: AtomicU64,
    /// Served by the provider more than once.
    pub(super) doubled: AtomicU64,
    /// Without an answer within the limit.
    pub(super) stuck: AtomicU64,
    /// Another model within one epoch.
    pub(super) splits: AtomicU64,
    /// Refused or broken although nothing was wrong.
    pub(super) unexplained: AtomicU64,
    /// Whether something is wrong, or was a moment ago.
    pub(super) fault: AtomicBool,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

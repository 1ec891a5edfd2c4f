//! What requests to one address learn from each other, on all threads.
//!
//! Those that wait for a connection wait once: when one of them is told that there is none, or waited in
//! vain, the others need not wait for the same. And one that waited in vain for an answer knows whether it
//! is alone with that.

use std::sync::atomic::{AtomicU64, Ordering};

use affinity_layer::ext::NotReached;
use tokio::sync::watch;
use tokio::time::Instant;

/// One address of a provider. Entries of the configuration with the same address share it.
#[derive(Debug)]
pub(super) struct Address {
    made: Instant,
    /// When the last answer began, in microseconds from `made`.
    answered: AtomicU64,
    /// Changes with each connection that could not be made, and says what was not reached.
    unreachable: watch::Sender<(u64, NotReached)>,
}

impl Address {
    pub(super) fn new() -> Self {
        let (made, unreachable) = (Instant::now(), watch::Sender::default());
        Self { made, answered: AtomicU64::new(0), unreachable }
    }

    /// An answer has begun.
    pub(super) fn answered(&self) {
        self.answered.fetch_max(self.micros(Instant::now()), Ordering::Relaxed);
    }

    /// Whether no answer has begun since.
    pub(super) fn is_silent_since(&self, since: Instant) -> bool {
        self.answered.load(Ordering::Relaxed) <= self.micros(since)
    }

    /// A connection could not be made, because `missing` was not reached.
    pub(super) fn could_not_connect(&self, missing: NotReached) {
        self.unreachable.send_modify(|(times, last)| {
            (*times, *last) = (times.wrapping_add(1), missing);
        });
    }

    /// Ends when from now on a connection could not be made, with what was not reached.
    pub(super) fn unreachable(&self) -> impl Future<Output = NotReached> + use<> {
        let mut told = self.unreachable.subscribe();
        async move {
            if told.changed().await.is_err() {
                return std::future::pending().await;
            }
            let (_, missing) = *told.borrow();
            missing
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.made);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }
}

//! Log lines when the store or the router fails and when it is back; not one a request.
//!
//! A store that is away fails every request of a busy gateway. Its operator needs two lines: one when it
//! began and one when it ended. Each failure in between is a line at DEBUG, for whoever asks for it; the
//! counts are in the metrics.
//!
//! 1. A change is logged once: WARN when something begins to fail, INFO when it answers again.
//! 2. At least 10 s lie between two lines on one dependency, so that one that fails every second call
//!    does not fill the log. A change within that time is logged by the first call after it that still
//!    differs from the last line.
//! 3. Reading and writing are two dependencies: a Redis that is full or was demoted still answers reads.
//!
//! Nothing here decides anything. Whether calls are still made to a store that fails is the business of
//! the store's own breaker.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::{BoxError, StoreError};

/// Between two lines on one dependency. One that half fails changes many times a second.
const QUIET: Duration = Duration::from_secs(10);

/// What was last logged of each dependency. Shared by all services of a layer and by its clones.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// A full or demoted Redis answers reads and refuses writes.
    reads: Dependency,
    writes: Dependency,
    router: Dependency,
}

/// Which half of the store a call belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) enum StoreCall {
    Read,
    Write,
}

impl Health {
    /// Notes a call that the store answered, whatever the answer was: no pin is no failure.
    pub(super) fn store_answered(&self, call: StoreCall) {
        if self.store(call).changed(false) {
            tracing::info!(?call, "the session store answers again");
        }
    }

    /// Notes a call that failed or was out of time.
    pub(super) fn store_failed(&self, call: StoreCall, error: &StoreError) {
        if self.store(call).changed(true) {
            tracing::warn!(?call, %error, "the session store fails; new sessions are not pinned");
        } else {
            tracing::debug!(?call, %error, "store call failed");
        }
    }

    fn store(&self, call: StoreCall) -> &Dependency {
        match call {
            StoreCall::Read => &self.reads,
            StoreCall::Write => &self.writes,
        }
    }

    /// Notes a decision, be it that no route matched.
    pub(super) fn router_answered(&self) {
        if self.router.changed(false) {
            tracing::info!("the router answers again");
        }
    }

    /// Notes a call that the router answered with an error. The limits on its time are the router's own.
    pub(super) fn router_failed(&self, error: &BoxError) {
        if self.router.changed(true) {
            tracing::warn!(%error, "the router failed; requests keep the model they ask for");
        } else {
            tracing::debug!(%error, "router call failed");
        }
    }
}

/// Something outside that can fail, as the log last said. Two atomics and no lock: every store call of
/// every request comes by here.
#[derive(Debug)]
struct Dependency {
    /// As the last line said.
    fails: AtomicBool,
    /// Milliseconds since `born`.
    quiet_until: AtomicU64,
    born: Instant,
}

impl Default for Dependency {
    fn default() -> Self {
        let (fails, quiet_until) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { fails, quiet_until, born: Instant::now() }
    }
}

impl Dependency {
    /// Whether this is a change to log. The loads keep the common case from writing.
    fn changed(&self, fails: bool) -> bool {
        if self.fails.load(Ordering::Relaxed) == fails {
            return false;
        }
        let now = self.born.elapsed();
        if millis(now) < self.quiet_until.load(Ordering::Relaxed)
            || self.fails.swap(fails, Ordering::Relaxed) == fails
        {
            return false;
        }
        self.quiet_until.store(millis(now + QUIET), Ordering::Relaxed);
        true
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_dependency_that_half_fails_is_logged_now_and_then() {
        let store = Dependency::default();
        assert!(!store.changed(false), "it is well");
        assert!(store.changed(true));
        let told = (0..1000).filter(|n| store.changed(n % 2 == 0)).count();
        assert_eq!(told, 0);
        tokio::time::advance(QUIET).await;
        assert!(store.changed(false));
        tokio::time::advance(QUIET).await;
        assert!(!store.changed(false));
        assert!(store.changed(true));
    }
}

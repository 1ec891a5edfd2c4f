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

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::{BoxError, StoreError};

/// Between two lines on one dependency. One that half fails changes many times a second.
const QUIET: Duration = Duration::from_secs(10);

/// What was last logged of each dependency. Shared by all services of a layer and by its clones.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// A full or demoted Redis answers reads and refuses writes.
    reads: Dependency,
    writes: Dependency,
    router: Dependency,
}

/// Which half of the store a call belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StoreCall {
    Read,
    Write,
}

impl Health {
    /// Notes a call that the store answered, whatever the answer was: no pin is no failure.
    pub(crate) fn store_answered(&self, call: StoreCall) {
        if self.store(call).changed(false) {
            tracing::info!(?call, "the session store answers again");
        }
    }

    /// Notes a call that failed or was out of time.
    pub(crate) fn store_failed(&self, call: StoreCall, error: &StoreError) {
        if self.store(call).changed(true) {
            let error = Chain(error);
            tracing::warn!(?call, %error, "the session store fails; new sessions are not pinned");
        } else {
            tracing::debug!(?call, error = %Chain(error), "store call failed");
        }
    }

    fn store(&self, call: StoreCall) -> &Dependency {
        match call {
            StoreCall::Read => &self.reads,
            StoreCall::Write => &self.writes,
        }
    }

    /// Notes a decision, be it that no route matched.
    pub(crate) fn router_answered(&self) {
        if self.router.changed(false) {
            tracing::info!("the router answers again");
        }
    }

    /// Notes a call that the router answered with an error. The limits on its time are the router's own.
    pub(crate) fn router_failed(&self, error: &BoxError) {
        if self.router.changed(true) {
            let error = Chain(&**error);
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

/// An error with what it was caused by, on one line of some hundred characters: a cause may come from
/// outside.
struct Chain<'a>(&'a (dyn Error + 'static));

impl Chain<'_> {
    /// The most causes that are told, and the most characters of each.
    const MOST: (usize, usize) = (4, 120);
}

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (causes, characters) = Self::MOST;
        let mut next = Some(self.0);
        for n in 0..=causes {
            let Some(error) = next else { break };
            if n > 0 {
                f.write_str(": ")?;
            }
            let text = error.to_string();
            let printed = text.chars().map(|c| if c.is_control() { ' ' } else { c });
            f.write_str(&printed.take(characters).collect::<String>())?;
            next = error.source();
        }
        Ok(())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_with_its_causes_on_one_line() {
        use crate::StoreErrorKind;

        let cause = std::io::Error::other("connection refused\n(os error 111)");
        let error = StoreError::new(StoreErrorKind::Unavailable, cause);
        let told = "the session store is unavailable: connection refused (os error 111)";
        assert_eq!(Chain(&error).to_string(), told);
        let long = StoreError::new(StoreErrorKind::Refused, "x".repeat(1000));
        assert_eq!(Chain(&long).to_string().len(), 120 + 2 + "the session store refuses it".len());
    }

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

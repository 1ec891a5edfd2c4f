//! How well this replica sees the changes that others make at one server.
//!
//! The follower in `tiered/follow.rs` writes it, and each `peek` reads it. So it is made of
//! atomics: the answer to "is the lease still running" costs a load and a look at the clock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long copies count as fresh after the last sign of life of the connection that brings their
/// invalidations: the longest that a change by another replica can go unseen.
pub(crate) const LEASE: Duration = Duration::from_secs(1);

/// Whether a server is followed, until when its near copies are fresh, and which run of it that was.
#[derive(Debug)]
pub(crate) struct Freshness {
    /// The server is there: it was probed, and reports changes as far as it may.
    followed: AtomicBool,
    /// It reports changes, or they are not wanted.
    coherent: AtomicBool,
    /// Milliseconds since `born`.
    fresh_until: AtomicU64,
    born: Instant,
    /// Redis draws one at each start.
    run_id: Mutex<Option<String>>,
}

impl Default for Freshness {
    fn default() -> Self {
        Self {
            followed: AtomicBool::new(false),
            coherent: AtomicBool::new(false),
            fresh_until: AtomicU64::new(0),
            born: Instant::now(),
            run_id: Mutex::new(None),
        }
    }
}

impl Freshness {
    /// Redis is there, and what it says about absent pins can be relied on.
    pub(crate) fn is_followed(&self) -> bool {
        self.followed.load(Ordering::Acquire)
    }

    /// Whether every change of up to a lease ago is known here.
    pub(crate) fn is_fresh(&self) -> bool {
        self.millis(Instant::now()) < self.fresh_until.load(Ordering::Acquire)
    }

    /// Whether the server tells of changes, or nobody wants to hear of them.
    pub(crate) fn is_coherent(&self) -> bool {
        self.coherent.load(Ordering::Acquire)
    }

    /// Noted at the start of each connection.
    pub(crate) fn set_coherent(&self, coherent: bool) {
        self.coherent.store(coherent, Ordering::Release);
    }

    /// The server is followed from now on. Copies become fresh only by [`renew`](Self::renew).
    pub(crate) fn up(&self) {
        self.followed.store(true, Ordering::Release);
    }

    /// It is not followed any more. The lease ends first: nobody may see a copy as fresh at a
    /// server that is away.
    pub(crate) fn down(&self) {
        self.fresh_until.store(0, Ordering::Release);
        self.followed.store(false, Ordering::Release);
    }

    /// The connection was alive at `since`.
    ///
    /// `since` is when the sign of life was asked for: the server answered later, and every change
    /// from before then is known here.
    pub(crate) fn renew(&self, since: Instant) {
        let until = self.millis(since.checked_add(LEASE).unwrap_or(since));
        self.fresh_until.store(until, Ordering::Release);
    }

    /// Notes which run of Redis is followed from now on, if it is known; returns the previous one.
    pub(crate) fn start_of_run(&self, run_id: Option<String>) -> Option<String> {
        std::mem::replace(&mut *self.run_id(), run_id)
    }

    /// Whether this is the run of Redis that is followed.
    pub(crate) fn is_run(&self, run_id: Option<&str>) -> bool {
        self.run_id().as_deref() == run_id
    }

    fn run_id(&self) -> MutexGuard<'_, Option<String>> {
        self.run_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.born).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

//! What keeps a sick Redis from making us sick: bounded calls in flight, and a breaker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::stats::Counters;
use crate::{StoreError, StoreErrorKind};

/// Calls in flight at once; a further one is refused and never queued.
const MAX_IN_FLIGHT: usize = 4096;

/// Failures in a row that open the breaker.
const FAILURES: u32 = 5;

/// How long an open breaker refuses all calls, before it lets one try. Where signs of life are looked for,
/// it waits for one as well.
const OPEN: Duration = Duration::from_millis(250);

/// Every call to a server goes through here.
#[derive(Debug)]
pub(super) struct Guard {
    in_flight: Semaphore,
    failures: AtomicU32,
    /// Milliseconds since `born`; 0 while closed.
    open_until: AtomicU64,
    probing: AtomicBool,
    /// Whether somebody looks for signs of life.
    watched: AtomicBool,
    /// When there was the last one, in milliseconds since `born`.
    alive_at: AtomicU64,
    born: Instant,
    /// How long a call must have gone unanswered to tell of the server when it is given up.
    patience: Duration,
    counters: Arc<Counters>,
}

impl Guard {
    pub(super) fn new(counters: Arc<Counters>, patience: Duration) -> Self {
        Self {
            in_flight: Semaphore::new(MAX_IN_FLIGHT),
            failures: AtomicU32::new(0),
            open_until: AtomicU64::new(0),
            probing: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            alive_at: AtomicU64::new(0),
            born: Instant::now(),
            patience,
            counters,
        }
    }

    /// Makes a call, or refuses at once when too many are in flight or the last ones failed.
    ///
    /// A call whose future is dropped has failed if the server had time to answer it. Sooner, it tells
    /// of a client that went away and of nothing else.
    pub(super) async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let Ok(_permit) = self.in_flight.try_acquire() else {
            return Err(self.refused("too many calls are in flight"));
        };
        let mut attempt = self.attempt().ok_or_else(|| self.refused("the last calls failed"))?;
        let result = call.await;
        attempt.end = match &result {
            Ok(_) => End::Answered,
            Err(error) if error.kind() == StoreErrorKind::Timeout => End::Silence,
            Err(error)
                if matches!(
                    error.kind(),
                    StoreErrorKind::Invalid | StoreErrorKind::Unconfirmed
                ) =>
            {
                End::Unusable
            }
            Err(_) => End::Failed,
        };
        result
    }

    /// Lets all calls through again: Redis has answered by another way.
    pub(super) fn close(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.open_until.store(0, Ordering::Release);
    }

    /// Until this is dropped, somebody else tries the server and tells of each sign of life: a call
    /// would have to wait for a server that is silent, and learn nothing that is not known.
    pub(super) fn watch(&self) -> Watched<'_> {
        self.watched.store(true, Ordering::Release);
        Watched(self)
    }

    /// The server has given a sign of life.
    pub(super) fn is_alive(&self) {
        self.alive_at.store(self.now(), Ordering::Release);
    }

    /// Whether a call may try the server, whose calls are refused until `open_until`.
    fn may_try(&self, open_until: u64) -> bool {
        let was_seen = || self.alive_at.load(Ordering::Acquire) + millis(OPEN) >= open_until;
        self.now() >= open_until && (!self.watched.load(Ordering::Acquire) || was_seen())
    }

    fn attempt(&self) -> Option<Attempt<'_>> {
        let open_until = self.open_until.load(Ordering::Acquire);
        let probe = open_until != 0;
        if probe && (!self.may_try(open_until) || self.probing.swap(true, Ordering::AcqRel)) {
            return None;
        }
        Some(Attempt { guard: self, probe, began: Instant::now(), end: End::GivenUp })
    }

    fn refused(&self, why: &'static str) -> StoreError {
        self.counters.refused.add();
        StoreError::new(StoreErrorKind::Unavailable, why)
    }

    fn now(&self) -> u64 {
        millis(self.born.elapsed())
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// See [`Guard::watch`].
pub(super) struct Watched<'a>(&'a Guard);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.watched.store(false, Ordering::Release);
    }
}

/// How a call ended.
enum End {
    /// Nobody waits for it any more.
    GivenUp,
    Answered,
    /// An answer that is of no use is still an answer.
    Unusable,
    Silence,
    Failed,
}

struct Attempt<'a> {
    guard: &'a Guard,
    probe: bool,
    began: Instant,
    end: End,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let guard = self.guard;
        if self.probe {
            guard.probing.store(false, Ordering::Release);
        }
        match self.end {
            End::GivenUp if self.began.elapsed() < guard.patience => return,
            End::Answered => {}
            End::GivenUp | End::Silence => guard.counters.timeouts.add(),
            End::Unusable | End::Failed => guard.counters.errors.add(),
        }
        if matches!(self.end, End::Answered | End::Unusable) {
            // Also one that was on its way when the breaker opened.
            guard.close();
        } else if self.probe || guard.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES {
            guard.open_until.store(guard.now() + millis(OPEN), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests;

//! What keeps a sick Redis from making us sick: bounded calls in flight, and breakers.
//!
//! 1. **4,096 calls in flight** to one server. A further one fails at once; a queue would only turn
//!    overload into delay, and memory into a queue.
//! 2. **A breaker for all calls.** After five failures in a row, calls fail at once instead of
//!    after a timeout each. Every 250 ms one is let through to try; its answer closes the breaker.
//! 3. **A breaker for writes.** A server that is full or read-only answers reads well, so the first
//!    breaker stays closed, and each new session would cost a claim that must fail. Each of the two
//!    counts what the other does not: a write that is refused says nothing about reads.
//! 4. **A follower helps.** While near copies follow the server, it is the heartbeat that tries a
//!    silent one, and no request has to wait for that.
//!
//! What counts as a failure: silence, a lost connection, a refusal. What does not: a missing pin; a
//! value of no use, which is still an answer; and a call that was dropped after a moment, which
//! only shows that a client went away.
//!
//! Each server has its own guard.

mod breaker;
mod counters;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use self::breaker::{Attempt, Breaker, End};
pub(super) use self::counters::Counters;
pub use self::counters::StoreStats;
use super::condition::Condition;
use super::errors::is_refusal;
use crate::{StoreError, StoreErrorKind};

/// Calls in flight at once; a further one is refused and never queued.
const MAX_IN_FLIGHT: usize = 4096;

/// Every call to a server goes through here.
///
/// All calls of one server, by all requests of this process.
#[derive(Debug)]
pub(super) struct Guard {
    in_flight: Semaphore,
    calls: Breaker,
    /// A server that is full or takes no writes still answers reads, so all calls together do not show
    /// it. Here only answers to writes count: the other breaker knows whether the server is there.
    writes: Breaker,
    counters: Arc<Counters>,
    condition: Arc<Condition>,
}

impl Guard {
    /// A call that is dropped before `patience` is over only shows that a client went away.
    pub(super) fn new(
        counters: Arc<Counters>,
        condition: Arc<Condition>,
        patience: Duration,
    ) -> Self {
        Self {
            in_flight: Semaphore::new(MAX_IN_FLIGHT),
            calls: Breaker::new(patience),
            writes: Breaker::new(patience),
            counters,
            condition,
        }
    }

    /// Makes a call, or refuses at once when too many are in flight or the last ones failed.
    ///
    /// A call whose future is dropped has failed if the server had time to answer it.
    pub(super) async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.judged(call, End::of).await
    }

    /// The same for a claim, a move or a renewal, which is refused also when Redis said no to the last
    /// ones.
    ///
    /// It passes both breakers: that of writes first, then that of all calls. Only what Redis
    /// *said* counts for the first one, and only whether it answers for the second.
    pub(super) async fn write<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let attempt = self.writes.attempt();
        let refused = || self.not_made(StoreErrorKind::Refused, "the last writes were refused");
        let mut attempt = attempt.ok_or_else(refused)?;
        attempt.end = End::Open;
        let written = self.release(call).await;
        attempt.end = match End::of(&written) {
            End::Silence | End::Failed if !written.as_ref().is_err_and(says_no) => End::Open,
            end => end,
        };
        written
    }

    /// The same for a release, which is sent also where claims are refused: a full server takes it.
    ///
    /// What Redis refuses says nothing about reads.
    pub(super) async fn release<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let judge = |released: &Result<T, StoreError>| match released {
            Err(error) if says_no(error) => End::Open,
            _ => End::of(released),
        };
        self.judged(call, judge).await
    }

    /// Makes a call that ended for the breaker of all calls as `judge` says.
    async fn judged<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
        judge: impl FnOnce(&Result<T, StoreError>) -> End,
    ) -> Result<T, StoreError> {
        let Ok(_permit) = self.in_flight.try_acquire() else {
            let why = "too many calls are in flight";
            return Err(self.not_made(StoreErrorKind::Unavailable, why));
        };
        let refused = || self.not_made(StoreErrorKind::Unavailable, "the last calls failed");
        let attempt = self.calls.attempt().ok_or_else(refused)?;
        let mut counted = Counted { attempt, counters: &self.counters };
        let result = call.await;
        counted.attempt.end = judge(&result);
        if result.is_err() && counted.attempt.end == End::Open {
            self.counters.errors.add();
        }
        if result.as_ref().is_err_and(StoreError::is_refusal) {
            self.condition.has_refused();
        }
        result
    }

    /// Lets all calls through again: Redis has answered by another way.
    pub(super) fn close(&self) {
        self.calls.close();
        self.writes.close();
    }

    /// Until the returned value is dropped, calls do not try a server that gives no sign of life.
    pub(super) fn watch(&self) -> impl Drop {
        self.calls.watch()
    }

    /// Whether something looks for signs of life.
    pub(super) fn is_watched(&self) -> bool {
        self.calls.is_watched()
    }

    /// The server has given a sign of life.
    pub(super) fn is_alive(&self) {
        self.calls.is_alive();
    }

    /// An error for a call that was refused here, which is counted.
    fn not_made(&self, kind: StoreErrorKind, why: &'static str) -> StoreError {
        self.counters.refused.add();
        StoreError::new(kind, why)
    }
}

/// Whether Redis has answered with an error.
fn says_no(error: &StoreError) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref());
    source.is_some_and(is_refusal)
}

/// Counts a call that failed.
struct Counted<'a> {
    attempt: Attempt<'a>,
    counters: &'a Counters,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        match self.attempt.end {
            End::Answered | End::Open => {}
            End::GivenUp if self.attempt.tells_nothing() => {}
            End::GivenUp | End::Silence => self.counters.timeouts.add(),
            End::Unusable | End::Failed => self.counters.errors.add(),
        }
    }
}

#[cfg(test)]
mod tests;

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

/// How long an open breaker refuses all calls, before it lets one try.
const OPEN: Duration = Duration::from_millis(250);

/// Every call to a server goes through here.
#[derive(Debug)]
pub(super) struct Guard {
    in_flight: Semaphore,
    failures: AtomicU32,
    /// Milliseconds since `born`; 0 while closed.
    open_until: AtomicU64,
    probing: AtomicBool,
    born: Instant,
    counters: Arc<Counters>,
}

impl Guard {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self {
            in_flight: Semaphore::new(MAX_IN_FLIGHT),
            failures: AtomicU32::new(0),
            open_until: AtomicU64::new(0),
            probing: AtomicBool::new(false),
            born: Instant::now(),
            counters,
        }
    }

    /// Makes a call, or refuses at once when too many are in flight or the last ones failed.
    ///
    /// A call whose future is dropped has failed: its caller gave up on it.
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
            Err(error) if error.kind() == StoreErrorKind::Invalid => End::Nonsense,
            Err(_) => End::Failed,
        };
        result
    }

    /// Lets all calls through again: Redis has answered by another way.
    pub(super) fn close(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.open_until.store(0, Ordering::Release);
    }

    fn attempt(&self) -> Option<Attempt<'_>> {
        let open_until = self.open_until.load(Ordering::Acquire);
        let probe = open_until != 0;
        if probe && (self.now() < open_until || self.probing.swap(true, Ordering::AcqRel)) {
            return None;
        }
        Some(Attempt { guard: self, probe, end: End::Silence })
    }

    fn refused(&self, why: &'static str) -> StoreError {
        self.counters.refused.add();
        StoreError::new(StoreErrorKind::Unavailable, why)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// How a call ended. A caller that gives up has heard nothing.
enum End {
    Answered,
    /// An answer that makes no sense is still an answer.
    Nonsense,
    Silence,
    Failed,
}

struct Attempt<'a> {
    guard: &'a Guard,
    probe: bool,
    end: End,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let guard = self.guard;
        match self.end {
            End::Answered => {}
            End::Silence => guard.counters.timeouts.add(),
            End::Nonsense | End::Failed => guard.counters.errors.add(),
        }
        if matches!(self.end, End::Answered | End::Nonsense) {
            // Also one that was on its way when the breaker opened.
            guard.close();
        } else if self.probe || guard.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES {
            let open = u64::try_from(OPEN.as_millis()).unwrap_or_default();
            guard.open_until.store(guard.now() + open, Ordering::Release);
        }
        if self.probe {
            guard.probing.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn call(guard: &Guard, result: Result<(), StoreErrorKind>) -> bool {
        let mut called = false;
        let call = guard.call(async {
            called = true;
            result.map_err(StoreError::from)
        });
        let _ = call.await;
        called
    }

    const DOWN: Result<(), StoreErrorKind> = Err(StoreErrorKind::Unavailable);

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_it_and_one_probe_closes_it() {
        let guard = Guard::new(Arc::default());
        for _ in 0..FAILURES {
            assert!(call(&guard, DOWN).await);
        }
        assert!(!call(&guard, Ok(())).await, "open");
        tokio::time::advance(OPEN).await;
        assert!(call(&guard, DOWN).await, "one may try");
        assert!(!call(&guard, Ok(())).await, "it failed");
        tokio::time::advance(OPEN).await;
        assert!(call(&guard, Ok(())).await);
        assert!(call(&guard, Ok(())).await, "closed again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_between_starts_the_count_anew() {
        let guard = Guard::new(Arc::default());
        for _ in 0..10 {
            for _ in 1..FAILURES {
                assert!(call(&guard, DOWN).await);
            }
            assert!(call(&guard, Ok(())).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_without_sense_is_an_answer() {
        let guard = Guard::new(Arc::default());
        for _ in 0..20 {
            assert!(call(&guard, Err(StoreErrorKind::Invalid)).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_gives_up_counts_as_a_failure() {
        let guard = Guard::new(Arc::default());
        for _ in 0..FAILURES {
            let stalled = guard.call(std::future::pending::<Result<(), StoreError>>());
            assert!(tokio::time::timeout(Duration::from_millis(50), stalled).await.is_err());
        }
        assert!(!call(&guard, Ok(())).await);
        tokio::time::advance(OPEN).await;
        let probe = guard.call(std::future::pending::<Result<(), StoreError>>());
        assert!(tokio::time::timeout(Duration::from_millis(50), probe).await.is_err());
        tokio::time::advance(OPEN).await;
        assert!(call(&guard, Ok(())).await, "a probe that was given up does not block the next");
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_closes_it_too() {
        let guard = Guard::new(Arc::default());
        let late = guard.attempt();
        for _ in 0..FAILURES {
            call(&guard, DOWN).await;
        }
        assert!(!call(&guard, Ok(())).await);
        late.unwrap().end = End::Answered;
        assert!(call(&guard, Ok(())).await);
    }

    #[tokio::test(start_paused = true)]
    async fn it_can_be_closed_from_outside() {
        let guard = Guard::new(Arc::default());
        for _ in 0..FAILURES {
            call(&guard, DOWN).await;
        }
        assert!(!call(&guard, Ok(())).await);
        guard.close();
        for _ in 1..FAILURES {
            assert!(call(&guard, DOWN).await, "the count starts anew");
        }
        assert!(call(&guard, DOWN).await);
        assert!(!call(&guard, Ok(())).await);
    }

    #[tokio::test(start_paused = true)]
    async fn while_one_tries_the_others_are_refused() {
        let guard = Guard::new(Arc::default());
        for _ in 0..FAILURES {
            call(&guard, DOWN).await;
        }
        tokio::time::advance(OPEN).await;
        let mut probe = Box::pin(guard.call(std::future::pending::<Result<(), StoreError>>()));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(probe.as_mut().poll(&mut cx).is_pending());
        assert!(!call(&guard, Ok(())).await);
        drop(probe);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_failures_and_refusals_are_counted_apart() {
        let guard = Guard::new(Arc::default());
        call(&guard, Ok(())).await;
        call(&guard, Err(StoreErrorKind::Timeout)).await;
        call(&guard, Err(StoreErrorKind::Invalid)).await;
        for _ in 0..FAILURES + 2 {
            call(&guard, DOWN).await;
        }
        let stats = guard.counters.stats();
        assert_eq!((stats.timeouts, stats.errors, stats.refused), (1, 1 + u64::from(FAILURES), 2));
    }
}

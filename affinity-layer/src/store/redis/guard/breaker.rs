//! Refuses calls of a kind that have failed, and lets one try now and then.
//!
//! ```text
//!           5 failures in a row
//! closed ------------------------> open: refuses for 250 ms
//!    ^                               |  then one call tries
//!    +------- it is answered --------+
//!             it fails: open for another 250 ms
//! ```
//!
//! Any answer closes it, including that of a call sent before it opened. While it is closed, it
//! limits no calls.
//!
//! All state is in atomics: every call passes the breaker, and all threads would share a lock.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::{StoreError, StoreErrorKind};

/// Failures in a row that open it.
pub(super) const FAILURES: u32 = 5;

/// How long it refuses all calls when it is open, before it lets one try. If something looks for signs
/// of life, it waits for one as well.
pub(super) const OPEN: Duration = Duration::from_millis(250);

/// Times are milliseconds since it was made, on tokio's clock.
#[derive(Debug)]
pub(super) struct Breaker {
    failures: AtomicU32,
    /// Milliseconds since `born`; 0 while closed.
    open_until: AtomicU64,
    probing: AtomicBool,
    /// Whether something looks for signs of life.
    watched: AtomicBool,
    /// When there was the last one, in milliseconds since `born`.
    alive_at: AtomicU64,
    born: Instant,
    /// How long a call must have gone unanswered to count against the server when it is dropped.
    patience: Duration,
}

impl Breaker {
    /// A closed breaker.
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            failures: AtomicU32::new(0),
            open_until: AtomicU64::new(0),
            probing: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            alive_at: AtomicU64::new(0),
            born: Instant::now(),
            patience,
        }
    }

    /// Lets all calls through.
    pub(super) fn close(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.open_until.store(0, Ordering::Release);
    }

    /// Until this is dropped, something else tries the server and reports each sign of life: a call would
    /// only wait for a silent server and learn nothing new.
    pub(super) fn watch(&self) -> Watched<'_> {
        self.watched.store(true, Ordering::Release);
        Watched(self)
    }

    /// Whether something else tries the server.
    pub(super) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Acquire)
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

    /// A call, unless calls are refused.
    ///
    /// `None` while calls are refused. Of the calls that ask after the wait, one gets through; the
    /// others are refused until it has ended.
    pub(super) fn attempt(&self) -> Option<Attempt<'_>> {
        let open_until = self.open_until.load(Ordering::Acquire);
        let probe = open_until != 0;
        if probe && (!self.may_try(open_until) || self.probing.swap(true, Ordering::AcqRel)) {
            return None;
        }
        Some(Attempt { breaker: self, probe, began: Instant::now(), end: End::GivenUp })
    }

    fn now(&self) -> u64 {
        millis(self.born.elapsed())
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// See [`Breaker::watch`].
pub(super) struct Watched<'a>(&'a Breaker);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.watched.store(false, Ordering::Release);
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// In a way that says nothing about the server.
    Open,
    /// Its caller is gone.
    GivenUp,
    Answered,
    /// An answer that is of no use is still an answer.
    Unusable,
    Silence,
    Failed,
}

impl End {
    /// `Invalid` and `Unconfirmed` are answers: Redis is there.
    pub(super) fn of<T>(result: &Result<T, StoreError>) -> Self {
        match result.as_ref().map_err(StoreError::kind) {
            Ok(_) => Self::Answered,
            Err(StoreErrorKind::Timeout) => Self::Silence,
            Err(StoreErrorKind::Invalid | StoreErrorKind::Unconfirmed) => Self::Unusable,
            Err(_) => Self::Failed,
        }
    }
}

/// A call under way; it reports how it ended when it is dropped.
///
/// A call whose future is dropped runs no code but this destructor, so it is here that it counts.
pub(super) struct Attempt<'a> {
    breaker: &'a Breaker,
    probe: bool,
    began: Instant,
    pub(super) end: End,
}

impl Attempt<'_> {
    /// Whether it says nothing about the server, as when it was dropped early.
    pub(super) fn tells_nothing(&self) -> bool {
        let early = || self.began.elapsed() < self.breaker.patience;
        self.end == End::Open || self.end == End::GivenUp && early()
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let breaker = self.breaker;
        if self.probe {
            breaker.probing.store(false, Ordering::Release);
        }
        if self.tells_nothing() {
            return;
        }
        if matches!(self.end, End::Answered | End::Unusable) {
            // Also one that was on its way when it opened.
            breaker.close();
        } else if self.probe || breaker.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES {
            breaker.open_until.store(breaker.now() + millis(OPEN), Ordering::Release);
        }
    }
}

//! What a client's connection is doing, and until when it may.
//!
//! hyper has one timer for a connection, which runs while a head is awaited, whether a byte of it
//! has come or not, and none before it knows the version. Here each wait has its own limit.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::guarded::Untaken;
use crate::config::Limits;

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Shared by a connection's socket, its requests, and the task that looks after it.
#[derive(Debug)]
pub(super) struct Activity {
    born: Instant,
    /// Requests whose answers are not over.
    running: AtomicU32,
    /// Whether a head has begun to arrive; while no request runs.
    in_head: AtomicBool,
    /// When that was, or when the last request was over; milliseconds after `born`.
    since: AtomicU64,
    /// When the client was first found not to read what is sent, plus one; 0 while it reads.
    stuck: AtomicU64,
    /// How much of the preface of HTTP/2 the connection began with; beyond its length once another byte
    /// came. HTTP/2 has frames that belong to no request, such as pings: they begin no head.
    preface: AtomicUsize,
    /// Of the answers that HTTP/2 sends, some of which are over.
    untaken: Mutex<Vec<Weak<Untaken>>>,
}

/// What a look at a connection found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing can be over before this much time has passed.
    Again(Duration),
    /// The connection waits for a request, and has for too long.
    Idle,
    /// The client is too slow.
    Slow(&'static str),
}

impl Activity {
    /// A connection that was just accepted: its first head is awaited.
    pub(super) fn begin() -> Arc<Self> {
        Arc::new(Self {
            born: Instant::now(),
            running: AtomicU32::new(0),
            in_head: AtomicBool::new(true),
            since: AtomicU64::new(0),
            stuck: AtomicU64::new(0),
            preface: AtomicUsize::new(0),
            untaken: Mutex::default(),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether a limit is exceeded.
    pub(super) fn look(&self, limits: &Limits) -> Look {
        let now = self.now();
        let left = |since: u64, limit: Duration| {
            limit.checked_sub(Duration::from_millis(now.saturating_sub(since)))
        };
        // Whatever begins after this look is not over before the next.
        let pace = limits.header_timeout.min(limits.idle_timeout).min(limits.send_timeout);
        let mut next = pace;
        if let Some(since) = self.stuck.load(Ordering::Relaxed).checked_sub(1) {
            match left(since, limits.send_timeout).filter(|left| !left.is_zero()) {
                Some(left) => next = next.min(left),
                None => return Look::Slow("reads nothing of what is sent"),
            }
        }
        next = next.min(self.end_untaken(limits.send_timeout));
        if self.running.load(Ordering::Relaxed) > 0 {
            return Look::Again(next);
        }
        let since = self.since.load(Ordering::Relaxed);
        let (limit, over) = match self.in_head.load(Ordering::Relaxed) {
            true => (limits.header_timeout, Look::Slow("has not sent the head of a request")),
            false => (limits.idle_timeout, Look::Idle),
        };
        let left = left(since, limit).filter(|left| !left.is_zero());
        left.map_or(over, |left| Look::Again(next.min(left)))
    }

    /// Ends the streams of which the client took nothing for `limit`. Returns the time for which no other
    /// will have to end.
    fn end_untaken(&self, limit: Duration) -> Duration {
        let mut untaken = self.untaken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = limit;
        untaken.retain(|answer| {
            let left = answer.upgrade().and_then(|answer| answer.end_after(limit));
            next = next.min(left.unwrap_or(limit));
            left.is_some()
        });
        next
    }

    /// Watches whether the client takes an answer of HTTP/2.
    pub(super) fn sends(&self, answer: Weak<Untaken>) {
        let mut untaken = self.untaken.lock().unwrap_or_else(PoisonError::into_inner);
        if untaken.len() == untaken.capacity() {
            untaken.retain(|answer| answer.strong_count() > 0);
        }
        untaken.push(answer);
    }

    /// Notes bytes that came from the client.
    pub(super) fn received(&self, bytes: &[u8]) {
        if self.is_h2(bytes) || self.running.load(Ordering::Relaxed) > 0 {
            return;
        }
        if !self.in_head.swap(true, Ordering::Relaxed) {
            self.since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Whether the connection, of which `bytes` are the next, speaks HTTP/2. Only its first bytes say so:
    /// later, a head may begin with `PRI` too.
    fn is_h2(&self, bytes: &[u8]) -> bool {
        let before = self.preface.load(Ordering::Relaxed);
        let Some(rest) = PREFACE.get(before..).filter(|rest| !rest.is_empty()) else {
            return before == PREFACE.len();
        };
        let length = rest.len().min(bytes.len());
        let goes_on = rest.get(..length) == bytes.get(..length);
        let seen = if goes_on { before + length } else { usize::MAX };
        self.preface.store(seen, Ordering::Relaxed);
        seen == PREFACE.len()
    }

    /// Notes whether the client read some of what is sent.
    pub(super) fn sent(&self, done: bool) {
        let is_stuck = self.stuck.load(Ordering::Relaxed) > 0;
        if done && is_stuck {
            self.stuck.store(0, Ordering::Relaxed);
        } else if !done && !is_stuck {
            self.stuck.store(self.now().saturating_add(1), Ordering::Relaxed);
        }
    }
}

/// A request of a connection, from its head to the end of its answer.
#[derive(Debug)]
pub(super) struct Running(Arc<Activity>);

impl Running {
    pub(super) fn begin(activity: &Arc<Activity>) -> Self {
        activity.running.fetch_add(1, Ordering::Relaxed);
        activity.in_head.store(false, Ordering::Relaxed);
        Self(activity.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.since.store(self.0.now(), Ordering::Relaxed);
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        let (header_timeout, idle_timeout) = (Duration::from_secs(10), Duration::from_secs(90));
        Limits { header_timeout, idle_timeout, ..Limits::default() }
    }

    async fn after(seconds: u64, activity: &Activity) -> Look {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        activity.look(&limits())
    }

    const SLOW_HEAD: Look = Look::Slow("has not sent the head of a request");

    fn again(seconds: u64) -> Look {
        Look::Again(Duration::from_secs(seconds))
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_head_is_awaited_from_the_connection_on() {
        let silent = Activity::begin();
        assert_eq!(after(9, &silent).await, again(1));
        silent.received(b"P");
        assert_eq!(after(1, &silent).await, SLOW_HEAD);
    }

    #[tokio::test(start_paused = true)]
    async fn a_kept_connection_has_its_own_limit_until_a_head_begins() {
        let activity = Activity::begin();
        let request = Running::begin(&activity);
        assert_eq!(after(1000, &activity).await, again(10), "a request may take long");
        activity.received(b"more of its body");
        drop(request);
        assert_eq!(after(85, &activity).await, again(5));
        assert_eq!(after(5, &activity).await, Look::Idle);
        activity.received(b"GET");
        assert_eq!(after(9, &activity).await, again(1));
        activity.received(b" / HTTP/1.1");
        assert_eq!(after(1, &activity).await, SLOW_HEAD, "byte by byte is no excuse");
    }

    #[tokio::test(start_paused = true)]
    async fn a_ping_of_http2_begins_no_head() {
        let activity = Activity::begin();
        activity.received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        drop(Running::begin(&activity));
        activity.received(b"\x00\x00\x08\x06\x00");
        assert_eq!(after(89, &activity).await, again(1));
        assert_eq!(after(1, &activity).await, Look::Idle);
        let preface_only = Activity::begin();
        preface_only.received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        assert_eq!(after(10, &preface_only).await, SLOW_HEAD);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_first_bytes_of_a_connection_make_it_http2() {
        let in_pieces = Activity::begin();
        PREFACE.chunks(5).for_each(|piece| in_pieces.received(piece));
        drop(Running::begin(&in_pieces));
        in_pieces.received(b"\x00\x00\x08\x06\x00");
        assert_eq!(after(89, &in_pieces).await, again(1));
        for first in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PRI / HTTP/1.1\r\n\r\n"] {
            let activity = Activity::begin();
            activity.received(first);
            drop(Running::begin(&activity));
            activity.received(PREFACE);
            assert_eq!(after(10, &activity).await, SLOW_HEAD, "a head like any other");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_slow_and_one_that_takes_little_is_not() {
        let activity = Activity::begin();
        let _request = Running::begin(&activity);
        activity.sent(false);
        assert_eq!(after(59, &activity).await, again(1));
        activity.sent(true);
        activity.sent(false);
        assert_eq!(after(59, &activity).await, again(1));
        assert_eq!(after(1, &activity).await, Look::Slow("reads nothing of what is sent"));
    }
}

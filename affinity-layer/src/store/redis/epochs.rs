//! Epochs that grow across all replicas: Redis' time, carried on by the process's own steady clock.
//!
//! An epoch is microseconds since 1970, and below them a few bits that each process draws for
//! itself: while Redis is away, two replicas may decide for one session in the same microsecond,
//! and their pins must not look like one.
//!
//! ```text
//! 63                                   12 11        0
//! +--------------------------------------+-----------+
//! | microseconds since 1970, as in Redis | process   |
//! +--------------------------------------+-----------+
//! ```
//!
//! 1. The time of Redis is asked for at each new connection and every 30 s. Between, and while
//!    Redis is away, a steady clock carries it on; a jump of the system's time moves nothing.
//! 2. An epoch is greater than every one that this process has made or *seen*. So it grows even if
//!    Redis' clock is set back, or a failover leads to a server with another clock.
//! 3. A number far in the future, more than a day ahead, is not taken over: one damaged value would
//!    push all epochs to the end of their range. A move from such a pin still gets a greater one,
//!    for that pin alone.
//!
//! *Rejected*: a counter in the stored pin, because after a release there is none; a counter for
//! each replica. Both break the protocol without any fault, as the model checker shows
//! (`docs/protocol.md`).

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fred::error::Error;
use tokio::time::{Instant, sleep, timeout};

use super::cluster::Servers;
use super::node::Node;
use crate::Epoch;

/// The bits of an epoch that distinguish processes. With 12 the rest lasts until 2112.
const OWN_BITS: u32 = 12;

/// How far ahead of the clock an epoch may be that is taken over from a stored value: a number out
/// of nowhere must not push all further epochs to the end of their range.
const MAX_LEAD: u64 = 24 * 3600 * 1_000_000;

/// How often the clock is set by that of Redis.
const CLOCK_PERIOD: Duration = Duration::from_secs(30);

/// Between two attempts to set it.
const CLOCK_RETRY: Duration = Duration::from_millis(50);

/// Microseconds since 1970 as Redis counts them.
///
/// The wall clock is read once; after that only a steady clock counts, corrected by the time that
/// Redis reports. A jump of the system's time moves nothing.
#[derive(Debug)]
pub(super) struct EpochClock {
    started: Instant,
    started_unix: u64,
    /// What to add for Redis' time, in microseconds.
    offset: AtomicI64,
    /// The microseconds of the greatest epoch made or seen.
    last: AtomicU64,
    own: u64,
}

impl Default for EpochClock {
    fn default() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            started: Instant::now(),
            started_unix: u64::try_from(unix.as_micros()).unwrap_or_default(),
            offset: AtomicI64::new(0),
            last: AtomicU64::new(0),
            own: RandomState::new().hash_one(()) % (1 << OWN_BITS),
        }
    }
}

impl EpochClock {
    /// Microseconds since 1970 by the steady clock alone.
    fn steady(&self) -> u64 {
        let elapsed = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.started_unix.saturating_add(elapsed)
    }

    /// The time at Redis, as well as it is known.
    fn micros(&self) -> u64 {
        self.steady().saturating_add_signed(self.offset.load(Ordering::Relaxed))
    }

    /// Redis' time, for the time of a claim that people read.
    pub(super) fn now(&self) -> SystemTime {
        from_unix_millis(self.micros() / 1000)
    }

    /// The time until what was claimed then has its maximum age; `None` if nobody knows the time of the
    /// claim, as of pins of the older system.
    pub(super) fn until(&self, max_age: Duration, claimed_at: SystemTime) -> Option<Duration> {
        if claimed_at == UNIX_EPOCH {
            return None;
        }
        let age = self.now().duration_since(claimed_at).unwrap_or_default();
        Some(max_age.saturating_sub(age))
    }

    /// Redis' clock showed `micros` just now.
    ///
    /// How long the answer was under way is not taken off: epochs grow in any case.
    pub(super) fn correct(&self, micros: u64) {
        let ahead = i128::from(micros) - i128::from(self.steady());
        self.offset.store(i64::try_from(ahead).unwrap_or_default(), Ordering::Relaxed);
    }

    /// An epoch greater than all that were made or seen here, and made by no other process.
    pub(super) fn next(&self) -> Epoch {
        let now = self.micros();
        let next = |last: u64| Some(now.max(last.saturating_add(1)));
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let micros = now.max(last.unwrap_or_default().saturating_add(1));
        Epoch((micros << OWN_BITS) | self.own)
    }

    /// An epoch greater than `from`, even if that is far ahead of the clock. Only if none is greater, it
    /// is that of now.
    pub(super) fn after(&self, from: Epoch) -> Epoch {
        self.saw(from);
        let next = self.next();
        let ahead = ((from.0 >> OWN_BITS) + 1).checked_mul(1 << OWN_BITS);
        match ahead.filter(|_| next <= from) {
            Some(ahead) => Epoch(ahead | self.own),
            None => next,
        }
    }

    /// Epochs to come shall be greater than `epoch`.
    ///
    /// More than a day ahead of the clock, it is not taken over.
    pub(super) fn saw(&self, epoch: Epoch) {
        let micros = epoch.0 >> OWN_BITS;
        if micros <= self.micros().saturating_add(MAX_LEAD) {
            self.last.fetch_max(micros, Ordering::Relaxed);
        }
    }
}

/// As stored in a value; a time before 1970 becomes 1970.
pub(super) fn unix_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A time that the system cannot represent becomes 1970: a stored number must not cause a panic.
pub(super) fn from_unix_millis(millis: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(UNIX_EPOCH)
}

/// Sets the clock at each new connection and periodically. In a cluster all replicas go by the same
/// node.
pub(super) async fn keep_time(servers: Arc<Servers>, clock: Arc<EpochClock>) {
    loop {
        let Some(node) = servers.first() else {
            sleep(CLOCK_RETRY).await;
            continue;
        };
        let mut clients = node.followed().clients();
        if set_clock(&node, &servers, &clock).await.is_err() {
            sleep(CLOCK_RETRY).await;
            continue;
        }
        let _ = timeout(CLOCK_PERIOD, clients.changed()).await;
    }
}

/// Sets the clock by that of a node.
pub(super) async fn set_clock(
    node: &Node,
    servers: &Servers,
    clock: &EpochClock,
) -> Result<(), Error> {
    let (seconds, micros) = node.commands(servers.command_timeout()).time().await?;
    clock.correct(seconds.saturating_mul(1_000_000).saturating_add(micros));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn epochs_grow_whatever_the_clock_does() {
        let clock = EpochClock::default();
        let mut last = Epoch(0);
        let mut grows = |clock: &EpochClock| {
            let next = clock.next();
            assert!(next > last, "{next} after {last}");
            last = next;
        };
        grows(&clock);
        grows(&clock);
        clock.correct(0);
        grows(&clock);
        clock.correct(u64::MAX);
        grows(&clock);
        clock.correct(clock.steady() + 3_600_000_000);
        grows(&clock);
        clock.correct(clock.steady());
        grows(&clock);
    }

    #[tokio::test(start_paused = true)]
    async fn processes_never_make_the_same_epoch() {
        let (one, mut other) = (EpochClock::default(), EpochClock::default());
        // Time stands still, and each draws its bits; a rare draw of the same ones is not the point.
        other.own = one.own ^ 1;
        let made: std::collections::BTreeSet<_> =
            (0..1000).flat_map(|_| [one.next(), other.next()]).collect();
        assert_eq!(made.len(), 2000);
    }

    #[tokio::test(start_paused = true)]
    async fn an_epoch_out_of_nowhere_is_not_taken_over() {
        let clock = EpochClock::default();
        clock.saw(Epoch(u64::MAX));
        assert!(clock.next() < Epoch(u64::MAX / 2));
        let ahead = Epoch((clock.micros() + 1_000_000) << OWN_BITS);
        clock.saw(ahead);
        assert!(clock.next() > ahead);
    }

    #[tokio::test(start_paused = true)]
    async fn a_move_is_later_than_a_pin_of_a_clock_that_was_far_ahead() {
        const MONTH: u64 = 30 * MAX_LEAD;
        let (clock, now) = (EpochClock::default(), Epoch(0));
        assert!(clock.after(now) > now);
        let ahead = Epoch((clock.micros() + MONTH) << OWN_BITS);
        let moved = clock.after(ahead);
        assert!(moved > ahead && clock.after(moved) > moved);
        assert!(clock.next() < ahead, "it is not taken over");
        for huge in [u64::MAX, u64::MAX - (1 << OWN_BITS), u64::MAX / 2] {
            assert!(clock.after(Epoch(huge)) > now, "no overflow");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_follows_redis_and_the_steady_clock() {
        let clock = EpochClock::default();
        clock.correct(5_000_000_000);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(clock.now(), from_unix_millis(5_002_000));
    }
}

//! How long to wait before the next attempt to connect.
//!
//! 1. After an attempt that reached no server: 5 ms, then twice as long each time, at most 50 ms. A
//!    Redis that comes back is found soon, and refused connections to it cost little.
//! 2. After a connection that was made and broke within 250 ms, three times in a row: 400 ms. A
//!    server that accepts and drops connections, such as a proxy without a backend, would otherwise
//!    be connected to some two hundred times a second, each time with a greeting and perhaps TLS.
//!
//! Between the two kinds nothing is forgotten: an attempt that reached nobody does not excuse
//! connections that break.

use std::time::Duration;

/// The wait after an attempt that reached no server: the first one, and the longest.
const RETRY: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(50)];

/// A connection that lasts less than this counts as broken at once.
const STEADY: Duration = Duration::from_millis(250);

/// After so many of those in a row the server is left alone for a while: they cost more than they bring.
const BREAKS: u32 = 3;

/// How long it is left alone.
const REST: Duration = Duration::from_millis(400);

/// The waits between attempts, from what became of the earlier ones.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    retry: Duration,
    breaks: u32,
}

impl Backoff {
    /// The wait after a connection that lasted so long, or after none.
    pub(super) fn after(&mut self, lasted: Option<Duration>) -> Duration {
        let [first, most] = RETRY;
        let Some(lasted) = lasted else {
            self.retry = (self.retry * 2).clamp(first, most);
            return self.retry;
        };
        self.retry = Duration::ZERO;
        self.breaks = if lasted < STEADY { self.breaks + 1 } else { 0 };
        if self.breaks < BREAKS { first } else { REST }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_again_soon_and_then_less_often() {
        let mut backoff = Backoff::default();
        let pauses = [5, 10, 20, 40, 50, 50].map(Duration::from_millis);
        assert_eq!(pauses.map(|_| backoff.after(None)), pauses);
        assert_eq!(backoff.after(Some(STEADY)), RETRY[0]);
        assert_eq!(backoff.after(None), RETRY[0]);
    }

    #[test]
    fn a_server_is_left_alone_whose_connections_break_one_after_the_other() {
        let mut backoff = Backoff::default();
        let short = Some(STEADY / 2);
        assert_eq!([(); 4].map(|()| backoff.after(short)), [RETRY[0], RETRY[0], REST, REST]);
        // That nobody was met meanwhile makes it no better.
        assert_eq!((backoff.after(None), backoff.after(short)), (RETRY[0], REST));
        assert_eq!((backoff.after(Some(STEADY)), backoff.after(short)), (RETRY[0], RETRY[0]));
    }
}

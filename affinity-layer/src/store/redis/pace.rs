//! How long to wait before the next connection.

use std::time::Duration;

/// Before the next attempt after one that found nobody, for the first time and at most.
const RETRY: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(50)];

/// A connection that lasts less than this has broken at once.
const STEADY: Duration = Duration::from_millis(250);

/// So many in a row that have, and the server is left alone for a while: they cost more than they bring.
const BREAKS: u32 = 3;

/// How long it is.
const REST: Duration = Duration::from_millis(400);

#[derive(Debug, Default)]
pub(super) struct Pace {
    retry: Duration,
    breaks: u32,
}

impl Pace {
    /// After a connection that has lasted so long, or none.
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
        let mut pace = Pace::default();
        let pauses = [5, 10, 20, 40, 50, 50].map(Duration::from_millis);
        assert_eq!(pauses.map(|_| pace.after(None)), pauses);
        assert_eq!(pace.after(Some(STEADY)), RETRY[0]);
        assert_eq!(pace.after(None), RETRY[0]);
    }

    #[test]
    fn a_server_is_left_alone_whose_connections_break_one_after_the_other() {
        let mut pace = Pace::default();
        let short = Some(STEADY / 2);
        assert_eq!([(); 4].map(|()| pace.after(short)), [RETRY[0], RETRY[0], REST, REST]);
        // That nobody was met meanwhile makes it no better.
        assert_eq!((pace.after(None), pace.after(short)), (RETRY[0], REST));
        assert_eq!((pace.after(Some(STEADY)), pace.after(short)), (RETRY[0], RETRY[0]));
    }
}

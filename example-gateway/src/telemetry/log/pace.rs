//! How often one kind of log line may be written, so that no client can fill the log.
//!
//! 1. A kind is a place in the code. Each has some lines at once, and then one a second.
//! 2. What is held back is counted, and [`LogPace::held`] reports it by kind.
//! 3. Lines at DEBUG and below pass: an operator asked for them. So do audit lines and those of a reload,
//!    since only an operator causes them and each counts, and the lines that report what was held back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::callsite::Identifier;
use tracing::{Level, Metadata};

/// Lines of one kind that are written at once.
const AT_ONCE: u32 = 20;

/// Time until the next line of a kind that has used them up.
const EACH: Duration = Duration::from_secs(1);

/// The target of lines about what an operator did.
const AUDIT: &str = "audit";

/// The target of lines about a reload, of which an operator wants to see every error.
pub(crate) const RELOAD: &str = "reload";

/// The target of lines about what was held back.
pub(super) const SUMMARY: &str = "log";

/// Holds back lines that come too often. Clones share what they know.
#[derive(Clone, Debug, Default)]
pub(super) struct LogPace(Arc<Mutex<HashMap<Identifier, Kind>>>);

/// What is known of one kind. There are as many as there are places in the code that log.
#[derive(Debug)]
struct Kind {
    left: u32,
    refilled: Instant,
    held: u64,
    /// How many of those were reported.
    told: u64,
    /// Where in the code it is.
    place: String,
}

/// Lines of one kind that were held back since this was last asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Where in the code they come from.
    pub(super) kind: String,
    pub(super) lines: u64,
}

impl LogPace {
    /// Whether a line from `place` may be written now.
    pub(super) fn admits(&self, place: &Metadata<'_>) -> bool {
        if *place.level() > Level::INFO || [AUDIT, RELOAD, SUMMARY].contains(&place.target()) {
            return true;
        }
        let now = Instant::now();
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Kind::new(place, now);
        kinds.entry(place.callsite()).or_insert_with(new).admits(now)
    }

    /// How many lines were held back so far.
    pub(super) fn count(&self) -> u64 {
        let kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.values().map(|kind| kind.held).sum()
    }

    /// What was held back since this was last asked, by kind.
    pub(super) fn held(&self) -> Vec<Held> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.values_mut().filter_map(Kind::tell).collect()
    }
}

impl Kind {
    fn new(place: &Metadata<'_>, now: Instant) -> Self {
        let place = format!("{}:{}", place.target(), place.line().unwrap_or_default());
        Self { left: AT_ONCE, refilled: now, held: 0, told: 0, place }
    }

    fn admits(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.refilled);
        let earned = u32::try_from(passed.as_secs() / EACH.as_secs()).unwrap_or(u32::MAX);
        if earned >= AT_ONCE - self.left {
            (self.left, self.refilled) = (AT_ONCE, now);
        } else {
            self.left += earned;
            self.refilled += EACH * earned;
        }
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => {
                self.held += 1;
                return false;
            }
        }
        true
    }

    fn tell(&mut self) -> Option<Held> {
        let lines = self.held - self.told;
        self.told = self.held;
        (lines > 0).then(|| Held { kind: self.place.clone(), lines })
    }
}

#[cfg(test)]
mod tests {
    use tracing::Event;
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;

    /// Counts the lines that may be written, by their targets.
    #[derive(Clone, Default)]
    struct Lines(LogPace, Arc<Mutex<HashMap<String, usize>>>);

    impl<S: tracing::Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            if self.0.admits(event.metadata()) {
                let target = event.metadata().target().to_owned();
                *self.1.lock().unwrap().entry(target).or_default() += 1;
            }
        }
    }

    fn noisy() {
        tracing::warn!(target: "noisy", "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_comes_too_often_is_held_back_and_the_others_are_not() {
        let Lines(pace, lines) = Lines::default();
        let subscriber = Lines(pace.clone(), lines.clone());
        let subscriber = tracing_subscriber::registry().with(subscriber);
        let _default = tracing::subscriber::set_default(subscriber);
        let of = |target: &str| lines.lock().unwrap().get(target).copied();
        for _ in 0..1000 {
            noisy();
            tracing::debug!(target: "asked for", "");
            tracing::info!(target: "audit", "");
        }
        tracing::warn!(target: "rare", "");
        assert_eq!(of("noisy"), Some(20));
        assert_eq!((of("asked for"), of("audit"), of("rare")), (Some(1000), Some(1000), Some(1)));
        let held = pace.held();
        assert_eq!(held.iter().map(|held| held.lines).collect::<Vec<_>>(), [980]);
        assert!(held[0].kind.starts_with("noisy:"), "{held:?}");
        assert_eq!(pace.held(), []);

        tokio::time::advance(Duration::from_millis(2500)).await;
        (0..10).for_each(|_| noisy());
        assert_eq!(of("noisy"), Some(22));
        assert_eq!(pace.held()[0].lines, 8);
        tokio::time::advance(Duration::from_secs(86_400)).await;
        (0..100).for_each(|_| noisy());
        assert_eq!((of("noisy"), pace.count()), (Some(42), 980 + 8 + 80));
    }
}

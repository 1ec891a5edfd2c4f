//! The targets that failed lately, and until when each is left alone.
//!
//! ```text
//! unknown ── failure ─▶ cooling ── time is over ─▶ due ── the next request ─▶ on trial
//!    ▲                    ▲                                                   │    │
//!    ╰──── it serves ─────│───────────────────────────────────────────────────╯    │
//!                         ╰──────────────── it fails: twice as long ───────────────╯
//! ```
//!
//! - A request that was under way when the target began to cool says nothing new: ten requests that fail
//!   together are one failure, and one that succeeds late does not end the cooling.
//! - Nothing here reads a clock. The callers say what time it is.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::target::{CooldownCause, Target, TargetKind};
use crate::ModelName;

/// The first cooling of a target that named no time.
const FIRST: Duration = Duration::from_secs(10);

/// The longest cooling of a target that named no time.
const LONGEST: Duration = Duration::from_secs(300);

/// The longest `Retry-After` that is believed. A daily quota names hours; once an hour is asked whether
/// that is still true.
const MOST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// How long a target that nobody has tried since is remembered, so that its next cooling is longer.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The most targets that are remembered.
const MOST: usize = 1024;

/// The most of them whose names a client may have made up.
const MOST_GUESSED: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Table {
    entries: HashMap<Target, Entry>,
    /// The number of the last trial.
    trials: u64,
}

#[derive(Debug)]
struct Entry {
    cause: CooldownCause,
    /// The model that met the failure.
    model: ModelName,
    since: Instant,
    until: Instant,
    /// Coolings without a success between them.
    failures: u32,
    /// The request that tries the target now.
    trial: Option<u64>,
}

/// One failure of a target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure<'a> {
    pub(super) cause: CooldownCause,
    pub(super) model: &'a ModelName,
    /// How long the provider asked to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// When the request that failed was sent.
    pub(super) sent: Instant,
}

/// What may be done with a model, by all its targets together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// None of them failed lately.
    Open,
    /// Some did, and one request may try.
    Due,
    Cooling(Cooling),
}

/// A model whose targets are to be left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cooling {
    /// Whether all that cools of it is tried by other requests now. Such a model is the last choice.
    pub(crate) is_tried: bool,
    /// For how long. While another request tries, nobody knows: it is as long as the target has cooled, so
    /// that who would have waited for that is not sent away by a slow trial.
    pub(crate) left: Duration,
    /// How many of its targets cool.
    pub(crate) targets: usize,
    /// Whether its address did not answer a request in time.
    pub(crate) is_silent: bool,
}

/// A target that failed lately.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CoolingTarget {
    /// Which one.
    pub target: Target,
    /// What made it cool down.
    pub cause: CooldownCause,
    /// The model that met the failure.
    pub model: ModelName,
    /// How often it failed without a success between.
    pub failures: u32,
    /// How long it is still left alone. Zero when the next request may try it, or one does.
    pub left: Duration,
    /// Whether a request tries it now.
    pub is_tried: bool,
}

impl CoolingTarget {
    /// Whether requests pass it over now: the time is not over, or another request tries it.
    #[must_use]
    pub fn is_passed_over(&self) -> bool {
        self.is_tried || !self.left.is_zero()
    }
}

impl Table {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Notes a failure. Returns what began to cool, or cools again.
    pub(super) fn cool(
        &mut self,
        target: &Target,
        failure: &Failure<'_>,
        now: Instant,
    ) -> Option<CoolingTarget> {
        let asked = failure.retry_after.map(|asked| asked.min(MOST_RETRY_AFTER));
        if asked.is_some_and(|asked| asked.is_zero()) {
            return None;
        }
        self.forget(now);
        if let Some(entry) = self.entries.get_mut(target)
            && (failure.sent < entry.since || now < entry.until && entry.trial.is_none())
        {
            // It is known; but another answer may name a later time.
            entry.until = entry.until.max(now + asked.unwrap_or_default());
            return None;
        }
        if !self.entries.contains_key(target) {
            self.make_room(target, now);
        }
        let failures = self.entries.get(target).map_or(0, |entry| entry.failures) + 1;
        let doubled = FIRST.saturating_mul(1 << (failures - 1).min(5)).min(LONGEST);
        let entry = Entry {
            cause: failure.cause,
            model: failure.model.clone(),
            since: now,
            until: now + asked.unwrap_or(doubled),
            failures,
            trial: None,
        };
        let told = entry.told(target, now);
        self.entries.insert(target.clone(), entry);
        Some(told)
    }

    /// Notes that the targets have served a request that was sent at `sent`. Returns those that had
    /// failed before.
    pub(super) fn served(
        &mut self,
        targets: impl IntoIterator<Item = Target>,
        sent: Instant,
        now: Instant,
    ) -> Vec<CoolingTarget> {
        let mut ended = Vec::new();
        for target in targets {
            let is_older = self.entries.get(&target).is_some_and(|entry| entry.since <= sent);
            if let Some(entry) = is_older.then(|| self.entries.remove(&target)).flatten() {
                ended.push(entry.told(&target, now));
            }
        }
        ended
    }

    /// What may be done with a model of these targets.
    pub(super) fn standing(
        &self,
        targets: impl IntoIterator<Item = Target>,
        now: Instant,
    ) -> Standing {
        let mut standing = Standing::Open;
        for target in targets {
            let Some(entry) = self.entries.get(&target) else { continue };
            let is_tried = entry.trial.is_some();
            let from = if is_tried { entry.since } else { now };
            let left = entry.until.saturating_duration_since(from);
            if left.is_zero() && !is_tried {
                if standing == Standing::Open {
                    standing = Standing::Due;
                }
                continue;
            }
            let is_silent =
                target.kind() == TargetKind::Address && entry.cause == CooldownCause::Timeout;
            let cooling = Cooling { is_tried, left, targets: 1, is_silent };
            standing = Standing::Cooling(match standing {
                Standing::Cooling(others) => Cooling {
                    is_tried: others.is_tried && is_tried,
                    left: others.left.max(left),
                    targets: others.targets + 1,
                    is_silent: others.is_silent || is_silent,
                },
                _ => cooling,
            });
        }
        standing
    }

    /// Begins a trial of those targets that are due. Returns its number.
    pub(super) fn begin_trial(
        &mut self,
        targets: impl IntoIterator<Item = Target>,
        now: Instant,
    ) -> u64 {
        self.trials += 1;
        for target in targets {
            if let Some(entry) = self.entries.get_mut(&target)
                && entry.trial.is_none()
                && entry.until <= now
            {
                entry.trial = Some(self.trials);
            }
        }
        self.trials
    }

    /// Ends a trial: where nothing was learned, the next request tries.
    pub(super) fn end_trial(&mut self, trial: u64) {
        for entry in self.entries.values_mut() {
            entry.trial.take_if(|running| *running == trial);
        }
    }

    /// Forgets a target. Returns what was known of it.
    pub(super) fn clear(&mut self, target: &Target, now: Instant) -> Option<CoolingTarget> {
        self.entries.remove(target).map(|entry| entry.told(target, now))
    }

    /// What is known, in no order.
    pub(super) fn list(&mut self, now: Instant) -> Vec<CoolingTarget> {
        self.forget(now);
        self.entries.iter().map(|(target, entry)| entry.told(target, now)).collect()
    }

    fn forget(&mut self, now: Instant) {
        self.entries.retain(|_, entry| entry.trial.is_some() || now < entry.until + REMEMBERED);
    }

    /// Drops the target whose cooling ends first if there is no room for another one of this kind.
    fn make_room(&mut self, target: &Target, now: Instant) {
        let is_guessed = target.is_guessed();
        let most = if is_guessed { MOST_GUESSED } else { MOST };
        let rivals = || self.entries.iter().filter(|(other, _)| other.is_guessed() == is_guessed);
        if rivals().count() < most {
            return;
        }
        let first = rivals().min_by_key(|(_, entry)| entry.until.saturating_duration_since(now));
        if let Some(first) = first.map(|(target, _)| target.clone()) {
            self.entries.remove(&first);
        }
    }
}

impl Entry {
    fn told(&self, target: &Target, now: Instant) -> CoolingTarget {
        CoolingTarget {
            target: target.clone(),
            cause: self.cause,
            model: self.model.clone(),
            failures: self.failures,
            left: self.until.saturating_duration_since(now),
            is_tried: self.trial.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn target(name: &str) -> Target {
        Target::new(TargetKind::Model, name)
    }

    /// A table, a target and a clock.
    struct Bench {
        table: Table,
        model: ModelName,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let model = ModelName::new("v/one").unwrap();
            Self { table: Table::default(), model, now: Instant::now() }
        }

        fn fail(&mut self, name: &str, retry_after: Option<u64>, sent: Instant) -> bool {
            let cause = CooldownCause::Status(StatusCode::TOO_MANY_REQUESTS);
            let retry_after = retry_after.map(seconds);
            let failure = Failure { cause, model: &self.model, retry_after, sent };
            self.table.cool(&target(name), &failure, self.now).is_some()
        }

        fn left(&self, name: &str) -> Option<u64> {
            match self.table.standing([target(name)], self.now) {
                Standing::Cooling(Cooling { left, .. }) => Some(left.as_secs()),
                Standing::Due => Some(0),
                Standing::Open => None,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cooling_doubles_up_to_five_minutes_and_a_success_forgets_it() {
        let mut bench = Bench::new();
        for expected in [10, 20, 40, 80, 160, 300, 300] {
            assert!(bench.fail("a", None, bench.now));
            assert_eq!(bench.left("a"), Some(expected));
            bench.now += seconds(expected);
            assert_eq!(bench.left("a"), Some(0), "due");
            bench.table.begin_trial([target("a")], bench.now);
        }
        assert_eq!(bench.table.served([target("a")], bench.now, bench.now).len(), 1);
        assert!(bench.table.is_empty());
        assert!(bench.fail("a", None, bench.now));
        assert_eq!(bench.left("a"), Some(10));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_that_were_under_way_count_once_and_the_latest_time_holds() {
        let mut bench = Bench::new();
        let sent = bench.now;
        bench.now += seconds(1);
        assert!(bench.fail("a", Some(1), sent));
        for (asked, expected) in [(None, 1), (Some(60), 60), (Some(5), 60), (Some(0), 60)] {
            assert!(!bench.fail("a", asked, sent), "not another failure");
            assert_eq!(bench.left("a"), Some(expected));
        }
        assert!(bench.table.served([target("a")], sent, bench.now).is_empty(), "sent before");
        assert!(!bench.fail("a", None, bench.now), "tried although it cools");
        assert_eq!(bench.left("a"), Some(60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_after_is_believed_up_to_an_hour_and_zero_cools_nothing() {
        let mut bench = Bench::new();
        assert!(!bench.fail("a", Some(0), bench.now));
        assert_eq!(bench.left("a"), None);
        assert!(bench.fail("a", Some(86_400), bench.now));
        assert_eq!(bench.left("a"), Some(3600));
    }

    #[tokio::test(start_paused = true)]
    async fn one_trial_at_a_time_and_one_that_learned_nothing_gives_way() {
        let mut bench = Bench::new();
        bench.fail("a", None, bench.now);
        bench.now += seconds(10);
        let standing = |bench: &Bench| bench.table.standing([target("a")], bench.now);
        assert_eq!(standing(&bench), Standing::Due);
        let trial = bench.table.begin_trial([target("a")], bench.now);
        let cooling = Cooling { is_tried: true, left: seconds(10), targets: 1, is_silent: false };
        assert_eq!(standing(&bench), Standing::Cooling(cooling));
        bench.table.end_trial(trial + 1);
        assert!(matches!(standing(&bench), Standing::Cooling(_)), "not that one");
        bench.table.end_trial(trial);
        assert_eq!(standing(&bench), Standing::Due);
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_clients_make_up_take_the_place_of_no_others() {
        let mut bench = Bench::new();
        bench.fail("known", None, bench.now);
        let cause = CooldownCause::Connect;
        for n in 0..5000 {
            let (model, sent) = (&bench.model, bench.now);
            let failure = Failure { cause, model, retry_after: Some(seconds(3600)), sent };
            bench.table.cool(&target(&format!("{n}")).guessed(), &failure, bench.now);
        }
        assert_eq!(bench.table.list(bench.now).len(), MOST_GUESSED + 1);
        assert_eq!(bench.left("known"), Some(10));
        for n in 0..2 * MOST {
            bench.fail(&format!("more {n}"), None, bench.now);
        }
        assert_eq!(bench.table.list(bench.now).len(), MOST_GUESSED + MOST);
        bench.now += MOST_RETRY_AFTER + REMEMBERED;
        assert!(bench.table.list(bench.now).is_empty());
    }
}

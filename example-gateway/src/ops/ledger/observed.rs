//! What pins would have done for observed sessions: the switches that they would have had, the tokens that
//! they would have found in a cache, and what that would have cost.
//!
//! A turn of an observed session tells which model served, and which one a pin would have given. The second
//! course is followed beside the first:
//!
//! - A switch is a turn with another model than the turn of the session before, on either course.
//! - Where both courses have the same model now and had it on the turn before, the tokens that the provider
//!   counted are those of both.
//! - Else a pin that stood would have found the prompt of the turn before in the cache, if that ended within the
//!   provider's window; as much of it as the model has been seen to find there when it served two turns in a
//!   row, in whatever session. A session that begins at the pinned model, or moves to it, finds nothing.
//! - The cost is that of the same tokens at the pinned model's prices. What was not cached counts as written
//!   where writing has a price.

use std::time::{Duration, SystemTime};

use affinity_layer::ModelName;
use serde::{Deserialize, Serialize};

use crate::prices::{Picodollars, Price, TokenCounts};
use crate::stack::turns::turn::{Group, Turn};

/// How long a provider's cache is taken to live where nothing says so.
pub(super) const CACHE_TTL: Duration = Duration::from_secs(300);

/// Sums over turns of observed sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct ObservedSums {
    pub(crate) turns: u64,
    /// Turns of which it is not known what a pin would have given.
    pub(crate) unknown: u64,
    pub(crate) switches: u64,
    pub(crate) switches_with_pins: u64,
    /// Turns whose tokens are known.
    pub(crate) counted: u64,
    pub(crate) cached: u64,
    pub(crate) cached_with_pins: u64,
    /// Turns whose cost is known on both courses.
    pub(crate) priced: u64,
    pub(crate) spent: Picodollars,
    pub(crate) spent_with_pins: Picodollars,
}

/// How far a session has come: on its own course, and on that of its pin.
#[derive(Clone, Debug, Default)]
pub(super) struct Course {
    before: Option<Before>,
}

#[derive(Clone, Debug)]
struct Before {
    served: ModelName,
    /// The model that a pin gave, or would have given.
    pinned: Option<ModelName>,
    prompt: Option<u64>,
    ended: SystemTime,
}

/// How much of the prompt before a model finds in its cache.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Warmth {
    found: u64,
    expected: u64,
}

impl Warmth {
    fn learn(&mut self, found: u64, expected: u64) {
        self.found = self.found.saturating_add(found);
        self.expected = self.expected.saturating_add(expected);
    }

    /// Of so many tokens, those that are found.
    fn of(self, tokens: u64) -> u64 {
        let found = u128::from(tokens) * u128::from(self.found);
        let found = found.checked_div(u128::from(self.expected)).unwrap_or(u128::from(tokens));
        u64::try_from(found).unwrap_or(u64::MAX)
    }
}

/// What the ledger knows of the models of a turn.
pub(super) struct Models<'a> {
    /// The price of the model that a pin would have given.
    pub(super) price: Option<&'a Price>,
    /// How long its provider's cache lives.
    pub(super) cache_ttl: Duration,
    /// What it finds there.
    pub(super) warmth: Warmth,
}

impl Course {
    /// Goes on with a turn that has ended. Returns what its model has found of the prompt before, if that tells
    /// how warm its cache was.
    pub(super) fn add(
        &mut self,
        turn: &Turn,
        models: &Models<'_>,
    ) -> (ObservedSums, Option<(u64, u64)>) {
        let mut sums = ObservedSums::default();
        let ended = turn.at.checked_add(turn.total).unwrap_or(turn.at);
        let pinned = match turn.group {
            Group::Observed => turn.would_pin.clone(),
            _ => Some(turn.model.clone()),
        };
        let before = self.before.take();
        let same = before.as_ref().filter(|before| before.served == turn.model);
        let warm = same.filter(|before| before.is_warm(turn.at, models.cache_ttl));
        let learnt = warm.and_then(|before| {
            let prompt = turn.tokens.prompt?;
            Some((turn.tokens.cached?, before.prompt?.min(prompt)))
        });
        if turn.group == Group::Observed && turn.may_cost() {
            sums.turns = 1;
            match &pinned {
                Some(pinned) => self.compare(turn, pinned, before.as_ref(), models, &mut sums),
                None => sums.unknown = 1,
            }
        }
        if turn.may_cost() {
            let (served, prompt) = (turn.model.clone(), turn.tokens.prompt);
            // What is not known leaves the course where it was.
            let pinned = pinned.or_else(|| before.and_then(|before| before.pinned));
            self.before = Some(Before { served, pinned, prompt, ended });
        } else {
            self.before = before;
        }
        (sums, learnt)
    }

    fn compare(
        &self,
        turn: &Turn,
        pinned: &ModelName,
        before: Option<&Before>,
        models: &Models<'_>,
        sums: &mut ObservedSums,
    ) {
        let stood = before.filter(|before| before.pinned.as_ref() == Some(pinned));
        let moved = before.is_some_and(|before| before.pinned.is_some()) && stood.is_none();
        sums.switches = u64::from(turn.switched);
        sums.switches_with_pins = u64::from(moved);
        let (Some(prompt), Some(cached)) = (turn.tokens.prompt, turn.tokens.cached) else { return };
        let is_one_course =
            *pinned == turn.model && stood.is_none_or(|before| before.served == turn.model);
        let with_pins = match stood {
            _ if is_one_course => cached,
            Some(before) if before.is_warm(turn.at, models.cache_ttl) => {
                models.warmth.of(before.prompt.unwrap_or_default().min(prompt)).min(prompt)
            }
            _ => 0,
        };
        (sums.counted, sums.cached, sums.cached_with_pins) = (1, cached, with_pins);
        let tokens = if is_one_course { turn.tokens } else { as_pinned(turn, with_pins, models) };
        let cost = models.price.and_then(|price| price.cost(&tokens));
        if let (Some(cost), Some(with_pins)) = (turn.cost, cost) {
            (sums.priced, sums.spent, sums.spent_with_pins) = (1, cost.spent, with_pins.spent);
        }
    }
}

impl Before {
    fn is_warm(&self, at: SystemTime, cache_ttl: Duration) -> bool {
        // A turn that began before the last one ended finds what that one has sent.
        at.duration_since(self.ended).unwrap_or_default() < cache_ttl
    }
}

/// The tokens of a turn as the pinned model would have counted them.
fn as_pinned(turn: &Turn, cached: u64, models: &Models<'_>) -> TokenCounts {
    let prompt = turn.tokens.prompt.unwrap_or_default();
    let are_writes_plain = models.price.is_none_or(|price| {
        let rates = price.rates(prompt);
        rates.cache_write == rates.input
    });
    let written = if are_writes_plain { 0 } else { prompt.saturating_sub(cached) };
    TokenCounts {
        prompt: Some(prompt),
        cached: Some(cached),
        written: Some(written),
        written_1h: Some(0),
        output: turn.tokens.output,
    }
}

impl ObservedSums {
    pub(super) fn add(&mut self, other: &Self) {
        let Self {
            turns,
            unknown,
            switches,
            switches_with_pins,
            counted,
            cached,
            cached_with_pins,
            priced,
            spent,
            spent_with_pins,
        } = self;
        for (sum, more) in [
            (turns, other.turns),
            (unknown, other.unknown),
            (switches, other.switches),
            (switches_with_pins, other.switches_with_pins),
            (counted, other.counted),
            (cached, other.cached),
            (cached_with_pins, other.cached_with_pins),
            (priced, other.priced),
        ] {
            *sum = sum.saturating_add(more);
        }
        *spent = spent.plus(other.spent);
        *spent_with_pins = spent_with_pins.plus(other.spent_with_pins);
    }
}

/// Keeps what a turn has told of the cache of its model.
pub(super) fn learn(warmth: &mut Warmth, learnt: Option<(u64, u64)>) {
    if let Some((found, expected)) = learnt {
        warmth.learn(found, expected);
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use affinity_layer::Outcome;

    use super::*;

    /// A turn of `served` after so many seconds: the model that a pin gives, prompt and cached tokens.
    fn turn(served: &str, pinned: Option<&str>, at: u64, tokens: [u64; 2], switched: bool) -> Turn {
        let model = |name: &str| ModelName::new(name).unwrap();
        let [prompt, cached] = tokens.map(Some);
        Turn {
            at: UNIX_EPOCH + Duration::from_secs(at),
            total: Duration::from_secs(1),
            switched,
            would_pin: pinned.map(model),
            tokens: TokenCounts { prompt, cached, output: Some(10), ..TokenCounts::default() },
            group: Group::Observed,
            outcome: Outcome::Observed,
            ..Turn::of_model(model(served))
        }
    }

    fn sums(turns: &[Turn]) -> ObservedSums {
        let (mut course, mut all) = (Course::default(), ObservedSums::default());
        for turn in turns {
            let (price, warmth) = (None, Warmth::default());
            let (sums, _) = course.add(turn, &Models { price, cache_ttl: CACHE_TTL, warmth });
            all.add(&sums);
        }
        all
    }

    #[test]
    fn a_pin_would_have_prevented_the_switches_and_found_the_prompt_before() {
        let turns = [
            turn("a/one", Some("a/one"), 0, [1000, 0], false),
            turn("a/two", Some("a/one"), 10, [1500, 0], true),
            turn("a/one", Some("a/one"), 20, [2000, 1000], true),
            turn("a/one", Some("a/one"), 30, [2500, 2000], false),
        ];
        let sums = sums(&turns);
        assert_eq!((sums.turns, sums.switches, sums.switches_with_pins), (4, 2, 0));
        // 0 at the beginning; 1,000 and 1,500 of the prompts before; 2,000 as counted.
        assert_eq!((sums.counted, sums.cached, sums.cached_with_pins), (4, 3000, 4500));
    }

    #[test]
    fn a_pin_that_moved_is_a_switch_and_a_cold_cache_holds_nothing() {
        let turns = [
            turn("a/one", Some("a/one"), 0, [1000, 0], false),
            // After the window.
            turn("a/two", Some("a/one"), 400, [1500, 0], true),
            // The pin has expired, and moves.
            turn("a/two", Some("a/three"), 410, [2000, 1500], false),
            turn("a/two", None, 420, [2500, 2000], false),
        ];
        let sums = sums(&turns);
        assert_eq!((sums.switches, sums.switches_with_pins, sums.unknown), (1, 1, 1));
        assert_eq!((sums.counted, sums.cached_with_pins), (3, 0));
    }

    #[test]
    fn what_a_cache_is_expected_to_hold_is_what_it_was_seen_to_hold() {
        let (mut course, mut warmth) = (Course::default(), Warmth::default());
        for (at, tokens) in [(0, [1000, 0]), (10, [2000, 900]), (20, [3000, 1800])] {
            let seen = turn("a/one", Some("a/one"), at, tokens, false);
            let models = Models { price: None, cache_ttl: CACHE_TTL, warmth };
            learn(&mut warmth, course.add(&seen, &models).1);
        }
        assert_eq!(warmth.of(1000), 900);
        let models = Models { price: None, cache_ttl: CACHE_TTL, warmth };
        let away = turn("a/two", Some("a/one"), 30, [4000, 0], true);
        assert_eq!(course.add(&away, &models).0.cached_with_pins, 2700);
    }

    /// Numbers that repeat with the seed.
    struct Lots(u64);

    impl Lots {
        fn draw(&mut self, most: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % most
        }
    }

    /// What a provider's cache finds of the prompts of one session: whole blocks, within its window.
    #[derive(Default)]
    struct Cache(std::collections::HashMap<String, (u64, u64)>);

    impl Cache {
        fn look(&mut self, model: &str, at: u64, prompt: u64) -> u64 {
            let known = self.0.insert(model.to_owned(), (at, prompt));
            let warm = known.filter(|(before, _)| at - before < CACHE_TTL.as_secs());
            warm.map_or(0, |(_, known)| known.min(prompt) / 128 * 128)
        }
    }

    /// The same trace is run as observed and as pinned; pins end after 600 s without a use.
    #[test]
    fn what_is_expected_of_pins_is_what_a_pinned_run_of_the_same_trace_has() {
        let mut lots = Lots(7);
        let (mut all, mut warmth) = (ObservedSums::default(), Warmth::default());
        let (mut switches, mut cached) = (0_u64, 0_u64);
        for _ in 0..300 {
            let (mut course, mut at, mut prompt) =
                (Course::default(), 0, 2_000 + lots.draw(20_000));
            let (mut routed_caches, mut pinned_caches) = (Cache::default(), Cache::default());
            let (mut pin, mut served) = (None::<(String, u64)>, None::<String>);
            for _ in 0..2 + lots.draw(20) {
                let gap = if lots.draw(12) == 0 { 250 + lots.draw(700) } else { 2 + lots.draw(60) };
                at += gap;
                prompt += 100 + lots.draw(3_000);
                let routed = format!("v/{}", lots.draw(3));
                let before =
                    pin.clone().filter(|(_, used)| at - used < 600).map(|(model, _)| model);
                let pinned = before.unwrap_or_else(|| routed.clone());
                switches += u64::from(pin.as_ref().is_some_and(|(model, _)| *model != pinned));
                pin = Some((pinned.clone(), at));
                cached += pinned_caches.look(&pinned, at, prompt);
                let found = routed_caches.look(&routed, at, prompt);
                let switched =
                    served.replace(routed.clone()).is_some_and(|before| before != routed);
                let mut turn = turn(&routed, Some(&pinned), at, [prompt, found], switched);
                turn.total = Duration::ZERO;
                let models = Models { price: None, cache_ttl: CACHE_TTL, warmth };
                let (sums, learnt) = course.add(&turn, &models);
                all.add(&sums);
                learn(&mut warmth, learnt);
            }
        }
        assert_eq!(all.switches_with_pins, switches);
        assert!(all.switches > 10 * switches, "{} and {switches}", all.switches);
        let off = all.cached_with_pins.abs_diff(cached);
        assert!(off * 20 < cached, "expected {}, had {cached}", all.cached_with_pins);
    }
}

//! What is stored for a session, and for how long.
//!
//! A [`Pin`] is a [`Selection`] with an [`Epoch`]. The selection is what the router decided: a model, the
//! route that matched, and the other candidates, which are kept so that a failover needs no second
//! decision. The epoch says which of the session's pins it is. An [`Expiry`] is a setting of the layer and
//! no part of the pin: it comes with each call of the store.
//!
//! A pin is shared by everyone who reads it, behind an `Arc`: a hit copies no name.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::state::StateMark;
use crate::{ModelName, RouteDecision, RouteName};

/// The generation of a pin. It grows with every change of a key's pin, also across a release and a
/// new claim, so that a change made for an older pin cannot hit a newer one.
///
/// Compare epochs of one key only. The number has no unit, and two epochs that follow each other may be
/// far apart: some stores count, others go by a clock. A store must never derive one from the stored pin
/// alone, because after a release there is none to derive it from, and the count would begin anew.
///
/// ```
/// use affinity_layer::{AffinityKey, AffinityStore, Expiry, MemoryStore, ModelName, Selection};
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), affinity_layer::BoxError> {
/// let (store, expiry) = (MemoryStore::default(), Expiry::default());
/// let key = AffinityKey::new("task-1")?;
/// let selection = Arc::new(Selection::of(ModelName::new("openai/gpt-4o")?));
///
/// let first = store.claim(&key, selection.clone(), &expiry).await?.pin.epoch;
/// store.release(&key, Some(first)).await?;
/// let second = store.claim(&key, selection, &expiry).await?.pin.epoch;
/// assert!(second > first);
/// assert!(!store.release(&key, Some(first)).await?, "a late release spares the newer pin");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A model that was chosen, and what the choice was made from.
///
/// ```
/// use affinity_layer::{ModelName, RouteDecision, Selection};
///
/// let ranked = ["openai/gpt-4o", "openai/gpt-4o-mini"].map(ModelName::new);
/// let ranked = ranked.into_iter().collect::<Result<Vec<_>, _>>()?;
/// let best = Selection::best(RouteDecision::new(ranked)).expect("a candidate");
/// assert_eq!(best.model().as_str(), "openai/gpt-4o");
/// // After a failover, another candidate is in use, of the same ranking.
/// let other = best.with_model(best.candidates()[1].clone());
/// assert_eq!(other.candidates(), best.candidates());
/// # Ok::<(), affinity_layer::name::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selection {
    model: ModelName,
    route: Option<RouteName>,
    candidates: Box<[ModelName]>,
    /// Turns that are still to be decided again.
    warm_up: u8,
    /// The last block that the model's vendor cannot read.
    foreign: Option<StateMark>,
}

impl Selection {
    /// Most candidates that are kept of a decision, so that no router can make a pin of any size.
    pub const MAX_CANDIDATES: usize = 32;

    /// Most bytes that the names of these candidates have together.
    pub const MAX_CANDIDATES_BYTES: usize = 2048;

    /// The choice of `model` alone, without a route or other candidates.
    #[must_use]
    pub fn of(model: ModelName) -> Self {
        let candidates = Box::new([model.clone()]);
        Self { candidates, model, route: None, warm_up: 0, foreign: None }
    }

    /// The best candidate of `decision`, `None` when no route matched. The first candidates are kept
    /// with it, as many as [`MAX_CANDIDATES`](Self::MAX_CANDIDATES) and
    /// [`MAX_CANDIDATES_BYTES`](Self::MAX_CANDIDATES_BYTES) let in.
    #[must_use]
    pub fn best(decision: RouteDecision) -> Option<Self> {
        let model = decision.models.first()?.clone();
        Some(Self::new(model, decision.route, decision.models))
    }

    /// The choice of `model` with what else a store has kept of it: the inverse of
    /// [`model`](Self::model), [`route`](Self::route) and [`candidates`](Self::candidates), within the
    /// limits of [`best`](Self::best). A `model` that is not among those comes before them. A store that
    /// keeps it field by field also needs [`with_warm_up`](Self::with_warm_up) and
    /// [`with_foreign`](Self::with_foreign).
    #[must_use]
    pub fn new(
        model: ModelName,
        route: Option<RouteName>,
        candidates: impl IntoIterator<Item = ModelName>,
    ) -> Self {
        let mut candidates = candidates.into_iter().take(Self::MAX_CANDIDATES).collect();
        Self::cut(&mut candidates);
        if !candidates.contains(&model) {
            candidates.insert(0, model.clone());
            Self::cut(&mut candidates);
        }
        Self { model, route, candidates: candidates.into(), warm_up: 0, foreign: None }
    }

    /// Drops the candidates from the first one on that is beyond a limit. One name is always within.
    fn cut(candidates: &mut Vec<ModelName>) {
        let mut room = Self::MAX_CANDIDATES_BYTES;
        let fit = candidates.iter().take(Self::MAX_CANDIDATES).take_while(|candidate| {
            let left = room.checked_sub(candidate.as_str().len());
            room = left.unwrap_or_default();
            left.is_some()
        });
        let fit = fit.count();
        candidates.truncate(fit);
    }

    /// The same route and candidates with another model in use. It need not be one of the candidates.
    #[must_use]
    pub fn with_model(&self, model: ModelName) -> Self {
        Self { model, ..self.clone() }
    }

    /// The same, for a session of which so many turns are still to be decided again.
    #[must_use]
    pub fn with_warm_up(self, turns: u8) -> Self {
        Self { warm_up: turns, ..self }
    }

    /// How many turns of the session are still to be decided again, see
    /// [`AffinityLayer::warm_up`](crate::AffinityLayer::warm_up).
    #[must_use]
    pub fn warm_up(&self) -> u8 {
        self.warm_up
    }

    /// The same, for a session whose conversation up to that block holds what the vendor of the model in
    /// use cannot read; see [`state`](crate::state).
    #[must_use]
    pub fn with_foreign(self, last: Option<StateMark>) -> Self {
        Self { foreign: last, ..self }
    }

    /// The last block of the conversation that the vendor of the model in use cannot read.
    #[must_use]
    pub fn foreign(&self) -> Option<StateMark> {
        self.foreign
    }

    /// The model in use.
    #[must_use]
    pub fn model(&self) -> &ModelName {
        &self.model
    }

    /// The route that matched, if one did.
    #[must_use]
    pub fn route(&self) -> Option<&RouteName> {
        self.route.as_ref()
    }

    /// All candidates as the router ranked them, best first.
    #[must_use]
    pub fn candidates(&self) -> &[ModelName] {
        &self.candidates
    }
}

/// A stored selection. Cloning one shares the selection.
///
/// What is done with it goes by its epoch: pass the epoch of the pin that you have read to
/// [`repin`](crate::AffinityStore::repin) or [`release`](crate::AffinityStore::release), and nothing
/// happens to one that was made meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pin {
    /// What is pinned.
    pub selection: Arc<Selection>,
    /// The generation of this pin.
    pub epoch: Epoch,
    /// When the session was claimed. For people to read: expiry follows the store's own clock.
    pub claimed_at: SystemTime,
}

impl Pin {
    /// A pin as a store keeps it.
    #[must_use]
    pub fn new(selection: Arc<Selection>, epoch: Epoch, claimed_at: SystemTime) -> Self {
        Self { selection, epoch, claimed_at }
    }
}

/// How long a pin lives.
///
/// It is the store that lets pins end, on its own clock: tokio's in memory, the server's in Redis. No
/// wall clock of a replica ends a pin.
///
/// - **Fixed**: a pin ends a certain time after the claim, used or not. A long session is decided again in
///   the middle of its work.
/// - **Sliding**: a pin ends when it has not been used for a time, and at a maximum age at the latest. This
///   suits agents, whose tasks take minutes or hours, and is the default. With an
///   [`AnswerLayer`](crate::AnswerLayer) a pin is in use until its answer has ended: it does not expire
///   meanwhile, and its maximum age takes effect when the last answer has ended.
///
/// ```
/// use std::time::Duration;
///
/// use affinity_layer::Expiry;
///
/// let (idle, age) = (Duration::from_secs(600), Duration::from_secs(86_400));
/// let sliding = Expiry::sliding(idle, age);
/// assert_eq!(sliding.initial(), idle);
/// // A use a minute before the maximum age gives it that minute.
/// let old = age - Duration::from_secs(60);
/// assert_eq!(sliding.after_use(old), Some(Duration::from_secs(60)));
/// // A fixed one is not changed by its use.
/// assert_eq!(Expiry::fixed(idle).after_use(old), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    ttl: Duration,
    max_age: Option<Duration>,
}

impl Expiry {
    /// A pin ends `ttl` after the claim, used or not.
    #[must_use]
    pub const fn fixed(ttl: Duration) -> Self {
        Self { ttl, max_age: None }
    }

    /// A pin ends `idle` after its last use, and `max_age` after the claim at the latest.
    #[must_use]
    pub const fn sliding(idle: Duration, max_age: Duration) -> Self {
        Self { ttl: idle, max_age: Some(max_age) }
    }

    /// What a pin made now has left. A store sets it with a claim.
    #[must_use]
    pub fn initial(&self) -> Duration {
        self.max_age.map_or(self.ttl, |max_age| self.ttl.min(max_age))
    }

    /// Idle time and maximum age, `None` unless it slides.
    #[must_use]
    pub fn limits(&self) -> Option<(Duration, Duration)> {
        self.max_age.map(|max_age| (self.ttl, max_age))
    }

    /// The same lifetime for a look at a pin that is no use of it.
    pub(crate) fn without_use(&self) -> Self {
        Self::fixed(self.initial())
    }

    /// What a pin of `age` has left after a use, `None` when a use changes nothing. Zero for a pin that has
    /// reached its maximum age.
    #[must_use]
    pub fn after_use(&self, age: Duration) -> Option<Duration> {
        self.max_age.map(|max_age| self.ttl.min(max_age.saturating_sub(age)))
    }
}

impl Default for Expiry {
    /// Sliding: 600 s from the last use, and a day from the claim at the latest.
    fn default() -> Self {
        Self::sliding(Duration::from_secs(600), Duration::from_secs(86_400))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_candidates_is_cut() {
        let models = (0..1000).map(|n| ModelName::new(&format!("m/{n}")).unwrap());
        let selection = Selection::best(RouteDecision::new(models)).unwrap();
        assert_eq!(selection.candidates().len(), Selection::MAX_CANDIDATES);
        assert_eq!(selection.model().as_str(), "m/0");
    }

    #[test]
    fn long_names_of_candidates_are_cut_by_their_bytes() {
        let long = |n: usize| ModelName::new(&format!("m/{n:0254}")).unwrap();
        let longest = Selection::best(RouteDecision::new((0..32).map(long))).unwrap();
        assert_eq!(longest.model(), &long(0));
        assert_eq!(longest.candidates(), [0, 1, 2, 3, 4, 5, 6, 7].map(long), "2 KiB to the byte");
        // The ranking has no holes: what comes after one that is too long is dropped as well.
        let short = ModelName::new("m/s").unwrap();
        let mixed = [short.clone()].into_iter().chain((0..8).map(long)).chain([short.clone()]);
        let mixed = Selection::best(RouteDecision::new(mixed)).unwrap();
        assert_eq!(mixed.candidates().len(), 8);
        assert_eq!(mixed.candidates()[0], short);
    }

    #[test]
    fn the_model_in_use_is_a_candidate_however_many_are_dropped() {
        let long = |n: usize| ModelName::new(&format!("m/{n:0254}")).unwrap();
        for given in [(0..32).map(long).collect::<Vec<_>>(), (0..8).map(long).collect(), vec![]] {
            let selection = Selection::new(long(31), None, given);
            assert_eq!(selection.candidates()[0], long(31));
            assert!(selection.candidates().len() <= 8);
        }
        let ranked = Selection::new(long(2), None, (0..32).map(long));
        assert_eq!(ranked.candidates(), [0, 1, 2, 3, 4, 5, 6, 7].map(long), "in its own place");
    }

    #[test]
    fn a_sliding_pin_ends_by_idling_or_by_age() {
        let seconds = Duration::from_secs;
        let fixed = Expiry::fixed(seconds(10));
        assert_eq!((fixed.initial(), fixed.limits()), (seconds(10), None));
        assert_eq!(fixed.after_use(seconds(3)), None);
        let sliding = Expiry::sliding(seconds(10), seconds(25));
        assert_eq!(sliding.initial(), seconds(10));
        assert_eq!(sliding.limits(), Some((seconds(10), seconds(25))));
        for (age, left) in [(0, 10), (15, 10), (16, 9), (25, 0), (30, 0)] {
            assert_eq!(sliding.after_use(seconds(age)), Some(seconds(left)), "{age}");
        }
        assert_eq!(Expiry::sliding(seconds(10), seconds(5)).initial(), seconds(5));
        assert_eq!(Expiry::default(), Expiry::sliding(seconds(600), seconds(86_400)));
    }

    #[test]
    fn a_selection_changes_in_one_part_only() {
        let name = |name: &str| ModelName::new(name).unwrap();
        let route = RouteName::new("code").unwrap();
        let decision = RouteDecision::new([name("a/one"), name("b/two")]).with_route(route.clone());
        let first = Selection::best(decision).unwrap().with_warm_up(3);
        let other = first.with_model(name("b/two"));
        assert_eq!((first.model(), other.model()), (&name("a/one"), &name("b/two")));
        for selection in [first, other] {
            assert_eq!(selection.route(), Some(&route));
            assert_eq!(selection.candidates(), [name("a/one"), name("b/two")]);
            assert_eq!(selection.warm_up(), 3);
        }
        assert_eq!(Selection::best(RouteDecision::none()), None);
        assert_eq!(Selection::of(name("a/one")).candidates(), [name("a/one")]);
        assert_eq!(Epoch(7).to_string(), "7");
    }
}

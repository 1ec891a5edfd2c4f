//! The public type: store, router and rules in one, and the call that decides.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use super::TargetName;
use super::budget::Budget;
use super::decider::Decider;
use super::decision::Decision;
use super::protocol::Protocol;
use super::refusal::Undecided;
use super::rules::{Escalation, Rules};
use super::turn::{Asked, Turn};
use crate::{AffinityKey, AffinityStore, Expiry, Outcome, RouterService, telemetry};

/// Decides which target each session uses, without HTTP.
///
/// Clones share the store and the decisions under way. A rule that is set on a clone is the clone's alone.
///
/// See the [module docs](super) for an example.
#[must_use]
pub struct Affinity<St, R> {
    pub(crate) decider: Arc<Decider<St, R>>,
}

impl<St: AffinityStore, R: Clone> Affinity<St, R> {
    /// Keeps pins in `store`, and asks `router` when there is none.
    ///
    /// The router is a cloneable tower service from a question of your own type to a
    /// [`RouteDecision`](crate::RouteDecision), see [`RouterService`]. Give it a time limit: there is none
    /// here. Calls can be moved to other threads if the router is `Sync`.
    ///
    /// The store belongs to the `Affinity` from here on. To look at its pins from elsewhere, keep a clone of
    /// a store that is cheap to clone, such as [`SharedStore`](crate::SharedStore).
    pub fn new(store: St, router: R) -> Self {
        Self { decider: Arc::new(Decider::new(store, router)) }
    }

    /// Changes one rule, in a copy if the present ones are shared.
    fn rule(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(&mut Arc::make_mut(&mut self.decider).rules);
        self
    }

    /// How long a pin lives. Default: 600 s from its last use, and a day from the claim at the latest.
    pub fn expiry(self, expiry: Expiry) -> Self {
        self.rule(|rules| rules.expiry = expiry)
    }

    /// How many calls of one session may be under way while its first decision is made; further ones are
    /// [`Undecided::Overloaded`]. Default: 2,048, at least 1.
    pub fn max_waiters(self, most: usize) -> Self {
        self.rule(|rules| rules.waiters = most.max(1))
    }

    /// The time that one call may wait for the store, all its reads and writes together; a read takes at
    /// most half of what is left. Default: 50 ms.
    pub fn store_budget(self, budget: Duration) -> Self {
        self.rule(|rules| rules.store_budget = budget)
    }

    /// Whether a call is [`Undecided::StoreUnavailable`] when the store fails, instead of going on
    /// unpinned. Default: no.
    pub fn require_store(self, require: bool) -> Self {
        self.rule(|rules| rules.require_store = require)
    }

    /// The target for when the router fails or no route matches, and the [`Turn`] asks for none. Default:
    /// none.
    pub fn default_target(self, target: TargetName) -> Self {
        self.rule(|rules| rules.default_model = Some(target))
    }

    /// Which targets can be used. Candidates beyond them are passed over, and a pin of any other target
    /// moves to a new decision. The function is asked at every call, so it should be a look-up. Default: all.
    pub fn accept_targets<F>(self, accepts: F) -> Self
    where
        F: Fn(&TargetName) -> bool + Send + Sync + 'static,
    {
        self.rule(|rules| rules.accepts = Some(Arc::new(accepts)))
    }

    /// How many turns at the beginning of a session are a warm-up; each of them is decided again, unless it
    /// [continues](Turn::continues) one. Default: 0, the first turn decides.
    pub fn warm_up(self, turns: u8) -> Self {
        self.rule(|rules| rules.warm_up = turns)
    }

    /// Targets from the weakest to the strongest: a new decision moves a session only to a stronger one. A
    /// target that is not listed counts as weaker than those that are. [`Decision::failed`] may still go
    /// anywhere. Default: every move is allowed.
    pub fn escalation(self, targets: impl IntoIterator<Item = TargetName>) -> Self {
        self.rule(|rules| rules.escalation = Escalation::new(targets))
    }

    /// The target for a call of the session of `key`.
    ///
    /// # Errors
    ///
    /// [`Undecided`] if there is no target, if too many calls wait for one, or if the store is required and
    /// fails. A router or a store that fails is otherwise no error.
    pub async fn decide<Q>(&self, key: &AffinityKey, question: Q) -> Result<Decision, Undecided>
    where
        R: RouterService<Q>,
        Q: Clone + Send,
    {
        self.decide_turn(Some(key), Turn::new(), question).await
    }

    /// The target for a call that wants something else of its session than the default, or has none: without
    /// a key the router decides each time, and nothing is stored.
    ///
    /// # Errors
    ///
    /// As with [`decide`](Self::decide).
    pub async fn decide_turn<Q>(
        &self,
        key: Option<&AffinityKey>,
        turn: Turn,
        question: Q,
    ) -> Result<Decision, Undecided>
    where
        R: RouterService<Q>,
        Q: Clone + Send,
    {
        let decider = &*self.decider;
        let is_probe = turn.is_probe();
        let span = telemetry::request_span();
        let named = key.filter(|_| turn.uses_pin());
        if let Some(pin) =
            named.and_then(|key| decider.at_hand(key, is_probe, || turn.is_continued()))
        {
            // A probe changes no pin, and so it has no epoch to change one by.
            let epoch = Some(pin.epoch).filter(|_| !is_probe);
            let given = decider.hit(pin.selection, epoch, key.cloned());
            telemetry::decided(&span, Some(&given), Outcome::Hit);
            if !is_probe {
                telemetry::saved();
            }
            return Ok(Decision::new(given, decider.rules.accepts.clone(), None));
        }
        let mut asked = Asked { turn, question };
        let budget = Budget::new(decider.rules.store_budget);
        let protocol = Protocol::new(decider, &mut asked, budget);
        let verdict = protocol.verdict(key).instrument(span.clone()).await.map_err(|refusal| {
            telemetry::refused(&refusal.into());
            Undecided::from(refusal)
        })?;
        let outcome = verdict.outcome;
        let given = decider.given(verdict, key.cloned());
        telemetry::decided(&span, given.as_ref(), outcome);
        let given = given.ok_or(Undecided::NoTarget)?;
        let known = given.epoch().and_then(|_| decider.known_everywhere());
        Ok(Decision::new(given, decider.rules.accepts.clone(), known))
    }
}

impl<St, R> Clone for Affinity<St, R> {
    fn clone(&self) -> Self {
        Self { decider: self.decider.clone() }
    }
}

impl<St, R> fmt::Debug for Affinity<St, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Affinity").field("rules", &self.decider.rules).finish_non_exhaustive()
    }
}

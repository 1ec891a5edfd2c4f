//! Store, router and rules, and the single steps that are taken with them: each asks the store or the
//! router once, and records the result in counts and log lines.
//!
//! `protocol.rs` says in which order the steps are taken. Here a failure of the store or the router is
//! turned into what its request can go on with; only where the store is required is one refused.

use std::sync::Arc;

use tokio::time::Instant;

use super::ask::Ask;
use super::budget::Budget;
use super::health::{Health, StoreCall};
use super::refusal::Refusal;
use super::rules::Rules;
use super::verdict::{Agreement, Verdict};
use crate::coalesce::Flights;
use crate::headers::HeaderNames;
use crate::router::oneshot;
use crate::store::{Claim, PinRead, SharedStore};
use crate::telemetry::{self, Call};
use crate::{
    AffinityKey, AffinityStore, Epoch, Expiry, Outcome, Pin, PinnedModel, RouterService, Selection,
    StoreError,
};

/// What decides. A clone, which a changed rule makes, has the same store, flights and log state.
pub(crate) struct Decider<St, R> {
    /// The store by its own type, so that a hit makes no virtual call for it.
    pub(crate) store: Arc<St>,
    /// The same store for a [`PinnedModel`], which does not know its type.
    pub(crate) any_store: SharedStore,
    /// Cloned and driven to readiness for each decision.
    pub(crate) router: R,
    pub(crate) rules: Rules,
    pub(crate) flights: Flights<Agreement>,
    /// What was last logged of store and router.
    pub(crate) health: Arc<Health>,
}

impl<St, R: Clone> Clone for Decider<St, R> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            any_store: self.any_store.clone(),
            router: self.router.clone(),
            rules: self.rules.clone(),
            flights: self.flights.clone(),
            health: self.health.clone(),
        }
    }
}

impl<St: AffinityStore, R> Decider<St, R> {
    pub(crate) fn new(store: St, router: R) -> Self {
        let store = Arc::new(store);
        Self {
            any_store: SharedStore::from_arc(store.clone()),
            store,
            router,
            rules: Rules::default(),
            flights: Flights::default(),
            health: Arc::default(),
        }
    }

    /// The same with another router: store, flights and log state are shared.
    pub(crate) fn with_router<R2>(&self, router: R2) -> Decider<St, R2> {
        Decider {
            store: self.store.clone(),
            any_store: self.any_store.clone(),
            router,
            rules: self.rules.clone(),
            flights: self.flights.clone(),
            health: self.health.clone(),
        }
    }

    /// The pin of `key` if it can be had without waiting and holds for the request. The look-up counts as
    /// a use of the pin, also when the pin then does not hold, unless it `is_probe`.
    pub(crate) fn at_hand(
        &self,
        key: &AffinityKey,
        is_probe: bool,
        continues_turn: impl FnOnce() -> bool,
    ) -> Option<Pin> {
        let pin = if is_probe {
            self.store.peek(key, &self.rules.expiry.without_use())?
        } else {
            self.store.peek(key, &self.rules.expiry)?
        };
        self.rules.holds(&pin, continues_turn).then_some(pin)
    }

    /// What the store has for `key`. A store that fails has nothing, unless it is required.
    ///
    /// # Errors
    ///
    /// [`Refusal::StoreUnavailable`] for a store that fails, if it is required.
    pub(crate) async fn read(
        &self,
        key: &AffinityKey,
        expiry: &Expiry,
        budget: &mut Budget,
    ) -> Result<PinRead, Refusal> {
        let call = Call::store("get");
        let read = budget.read(self.store.get(key, expiry)).await;
        // A decision of this process replaces the answer of a store that failed, and counts as its failure.
        let (answer, decided) = match read {
            Ok(PinRead::Decided { selection, failure }) => {
                let decided = PinRead::Decided { selection, failure };
                (Err(failure.into()), decided)
            }
            Ok(read) => (Ok(read), PinRead::Absent),
            Err(error) => (Err(error), PinRead::Absent),
        };
        call.answered(&answer, |read| match read {
            PinRead::Absent => "absent",
            PinRead::Pinned(_) | PinRead::Decided { .. } => "found",
        });
        match self.watched(StoreCall::Read, answer) {
            Ok(read) => Ok(read),
            Err(_) if self.rules.require_store => Err(Refusal::StoreUnavailable),
            Err(_) => Ok(decided),
        }
    }

    /// Asks the router. `None` when it fails, or names no model that can be served.
    ///
    /// "No route matched" is a decision: the session is to stay with the model that it asks for, and that
    /// is stored, so that it does not move when a later prompt happens to match. It is `None` only if the
    /// request asks for no model either.
    ///
    /// There is no time limit here; it belongs around the router, where it can include its queue.
    pub(crate) async fn route<A: Ask>(
        &self,
        ask: &mut A,
        key: Option<&AffinityKey>,
    ) -> Option<Arc<Selection>>
    where
        R: RouterService<A::Question>,
    {
        // The one copy of a request's head, which only a miss makes.
        let question = ask.question(key);
        let call = Call::router();
        let mut decision = match oneshot(self.router.clone(), question).await {
            Ok(decision) => {
                self.health.router_answered();
                decision
            }
            Err(error) => {
                call.ended("failed");
                self.health.router_failed(&error.into());
                return None;
            }
        };
        // Before candidates are passed over: a list of which none can be served is a failure, and must not
        // pass for "no match".
        if decision.models.is_empty() {
            call.ended("no_match");
            let requested = ask.requested(&self.rules)?;
            return Some(Arc::new(Selection::of(requested)));
        }
        // Before the list is cut, so that its places are not spent on models that cannot serve.
        decision.models.retain(|model| self.rules.accepts(model));
        ask.rank(&mut decision.models);
        let best = Selection::best(decision).map(Arc::new);
        call.ended(if best.is_some() { "decided" } else { "not_served" });
        best
    }

    /// Stores a decision: claims the key, or moves the pin of epoch `from`. Returns what is stored then,
    /// which may be the decision of another, or [`Agreement::Unstored`] when the store fails or two rounds
    /// have not settled it.
    ///
    /// A pin that won against us is adopted unless its model cannot be served here. Then it is moved like
    /// one that was found: while the configurations of two replicas differ, each may move such a session to
    /// a model of its own, but none fails its requests.
    pub(crate) async fn keep(
        &self,
        key: &AffinityKey,
        mut from: Option<Epoch>,
        selection: Arc<Selection>,
        budget: &mut Budget,
    ) -> Agreement {
        // A second round is needed when the pin to move is gone, or when the one that won names a
        // model that only another replica's configuration knows.
        for _ in 0..2 {
            let call = Call::store(if from.is_some() { "repin" } else { "claim" });
            let stored = budget.write(self.claim_or_move(key, from, selection.clone())).await;
            call.answered(&stored, |claim| match claim {
                Some(claim) if claim.won => "won",
                Some(_) => "lost",
                None => "absent",
            });
            match self.watched(StoreCall::Write, stored) {
                Ok(Some(claim)) if claim.won || self.rules.accepts(claim.pin.selection.model()) => {
                    if claim.won && from.is_some() && !key.is_observed() {
                        telemetry::moved("decided_again");
                    }
                    return Agreement::Pinned(claim);
                }
                Ok(claim) => from = claim.map(|claim| claim.pin.epoch),
                Err(_) => break,
            }
        }
        Agreement::Unstored(selection)
    }

    /// One write: a move where there is a pin to move, else a claim. `None` if the pin to move is gone.
    async fn claim_or_move(
        &self,
        key: &AffinityKey,
        from: Option<Epoch>,
        selection: Arc<Selection>,
    ) -> Result<Option<Claim>, StoreError> {
        let expiry = &self.rules.expiry;
        match from {
            Some(epoch) => self.store.repin(key, epoch, selection, expiry).await,
            None => self.store.claim(key, selection, expiry).await.map(Some),
        }
    }

    /// Notes for the log whether the store answered, and passes `result` on. The caller counts it,
    /// because only the caller can name what was found.
    fn watched<T>(&self, call: StoreCall, result: Result<T, StoreError>) -> Result<T, StoreError> {
        match &result {
            Ok(_) => self.health.store_answered(call),
            Err(error) => self.health.store_failed(call, error),
        }
        result
    }

    /// When a change that is made now is known to all replicas, unless it is at once. It is a point in time
    /// and not a duration: the upstream's time counts towards it.
    pub(crate) fn known_everywhere(&self) -> Option<Instant> {
        let coherence = self.store.coherence();
        (!coherence.is_zero()).then(|| Instant::now() + coherence)
    }

    /// What a request gets by its verdict; `None` for a request without a model.
    pub(crate) fn given(&self, verdict: Verdict, key: Option<AffinityKey>) -> Option<PinnedModel> {
        let Verdict { selection, epoch, outcome, stood, asked } = verdict;
        let hit = self.hit(selection?, epoch, key);
        Some(PinnedModel { outcome, pinned: outcome.is_pinned(), stood, asked, ..hit })
    }

    /// What a request gets if its pin was found. It carries the store and the rules with it, so that whoever
    /// has it can move or release the pin without a type parameter and without a way back to us.
    pub(crate) fn hit(
        &self,
        selection: Arc<Selection>,
        epoch: Option<Epoch>,
        key: Option<AffinityKey>,
    ) -> PinnedModel {
        let Rules { expiry, store_budget, .. } = self.rules;
        PinnedModel {
            selection,
            outcome: Outcome::Hit,
            pinned: true,
            key,
            epoch,
            is_final: false,
            store: self.any_store.clone(),
            expiry,
            store_budget,
            expose_epoch: false,
            names: HeaderNames::none(),
            session: None,
            stood: None,
            links: false,
            asked: None,
        }
    }
}

//! What all services of one layer share, and the single steps that they take with it: each asks the
//! store or the router once, and records the result in counts and log lines.
//!
//! `service.rs` and `protocol.rs` say in which order the steps are taken. Here a failure of the store or
//! the router is turned into what its request can go on with; only a layer that requires the store
//! refuses one.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, HeaderMap};
use tokio::time::Instant;
use tower::ServiceExt;

use super::budget::Budget;
use super::health::{Health, StoreCall};
use super::settings::Settings;
use super::verdict::{Agreement, Verdict};
use crate::coalesce::Flights;
use crate::conversations::Conversations;
use crate::cooldown::Question;
use crate::ext::AnyModel;
use crate::key::{BodyIds, IdKind, Seen};
use crate::store::{Claim, PinRead, SharedStore};
use crate::telemetry::{self, Call};
use crate::{
    AffinityKey, AffinityStore, Epoch, Expiry, Outcome, Pin, PinnedModel, Rejection, RouteRequest,
    RouterService, Selection, StoreError, answer::Link,
};

/// Store, router and settings of one layer. A clone, which a changed setting makes, has the same store,
/// flights and log state.
pub(super) struct Shared<St, R> {
    /// The store by its own type, so that a hit makes no virtual call for it.
    pub(super) store: Arc<St>,
    /// The same store for a [`PinnedModel`], which does not know its type.
    pub(super) any_store: SharedStore,
    /// Cloned and driven to readiness for each decision.
    pub(super) router: R,
    pub(super) settings: Settings,
    pub(super) flights: Flights<Agreement>,
    /// The conversations under way of clients that name no session.
    pub(super) conversations: Conversations,
    /// What was last logged of store and router.
    pub(super) health: Arc<Health>,
}

impl<St, R: Clone> Clone for Shared<St, R> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            any_store: self.any_store.clone(),
            router: self.router.clone(),
            settings: self.settings.clone(),
            flights: self.flights.clone(),
            conversations: self.conversations.clone(),
            health: self.health.clone(),
        }
    }
}

impl<St: AffinityStore, R: RouterService> Shared<St, R> {
    /// The session as far as it is known without the body and without waiting: by headers, else by the ids
    /// that a layer outside has read out of the body. A response's id is looked up only among what is at
    /// hand; `None` leaves it to `Protocol`, which may wait.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] for a session id or scope that is present and cannot be used.
    pub(super) fn known_session(
        &self,
        seen: &Seen<'_>,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Option<AffinityKey>, Rejection> {
        let keys = &self.settings.keys;
        if let Some(key) = keys.key(seen, headers, extensions)? {
            return Ok(Some(key));
        }
        let Some(ids) = extensions.get::<BodyIds>().filter(|_| keys.reads_bodies()) else {
            return Ok(None);
        };
        Ok(match keys.named(ids, headers, extensions)? {
            Some(response) if response.kind() == IdKind::Response => {
                let link = self.store.peek(&response, &self.link_lifetime());
                let link = link.and_then(|pin| Link::from_stored(&response, &pin.selection));
                let key = link.map(Link::into_session);
                key.map(|key| keys.with_lane(key, extensions))
            }
            key => key,
        })
    }

    /// How long the link from a response to its session lives.
    pub(super) fn link_lifetime(&self) -> Expiry {
        Link::lifetime(&self.settings.expiry)
    }

    /// The pin of `key` if it can be had without waiting and holds for the request. The look-up counts as
    /// a use of the pin, also when the pin then does not hold, unless it `is_probe`.
    pub(super) fn at_hand(
        &self,
        key: &AffinityKey,
        request: &Extensions,
        is_probe: bool,
    ) -> Option<Pin> {
        let pin = if is_probe {
            self.store.peek(key, &self.settings.expiry.without_use())?
        } else {
            self.store.peek(key, &self.settings.expiry)?
        };
        self.settings.holds(&pin, request).then_some(pin)
    }

    /// What the store has for `key`. A store that fails has nothing, unless the layer requires it.
    ///
    /// # Errors
    ///
    /// [`Rejection::StoreUnavailable`] for a store that fails, if the layer requires it.
    pub(super) async fn read(
        &self,
        key: &AffinityKey,
        expiry: &Expiry,
        budget: &mut Budget,
    ) -> Result<PinRead, Rejection> {
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
            Err(_) if self.settings.require_store => Err(Rejection::StoreUnavailable),
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
    pub(super) async fn route(
        &self,
        parts: &Parts,
        body: &Bytes,
        key: Option<&AffinityKey>,
    ) -> Option<Arc<Selection>> {
        // The one copy of a request's head, which only a miss makes.
        let question = RouteRequest::new(parts.clone(), body.clone()).with_key(key.cloned());
        let call = Call::router();
        let mut decision = match self.router.clone().oneshot(question).await {
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
            let requested = self.settings.requested(parts, body)?;
            return Some(Arc::new(Selection::of(requested)));
        }
        // Before the list is cut, so that its places are not spent on models that cannot serve.
        decision.models.retain(|model| self.settings.accepts(model));
        if let Some(cooldowns) = self.settings.cooldowns.as_ref().filter(|them| them.any()) {
            // In their order, those that may be tried first.
            let first = decision.models.first().cloned();
            decision.models.sort_by_key(|model| cooldowns.cools(model, parts));
            if first.as_ref() != decision.models.first() {
                telemetry::passed_over();
            }
        }
        let best = Selection::best(decision).map(Arc::new);
        call.ended(if best.is_some() { "decided" } else { "not_served" });
        best
    }

    /// The last decision for a session whose last request no candidate has served: its router has nothing
    /// new to say yet to a request that asks for the same.
    pub(super) fn repeated(
        &self,
        key: &AffinityKey,
        parts: &Parts,
        body: &Bytes,
    ) -> Option<Arc<Selection>> {
        let last = self.settings.cooldowns.as_ref()?.last_give_up(key)?;
        let is_same = last.asked.is_some() && last.asked == self.asked(parts, body);
        (is_same && self.settings.accepts(last.selection.model())).then_some(last.selection)
    }

    /// What a request asks for, where decisions are repeated.
    pub(super) fn asked(&self, parts: &Parts, body: &Bytes) -> Option<Question> {
        self.settings.cooldowns.as_ref()?;
        // One for any model names none.
        let is_any = parts.extensions.get::<AnyModel>().is_some();
        let model = if is_any { None } else { self.settings.requested(parts, body) };
        Some(Question::new(parts, model.as_ref()))
    }

    /// Stores a decision: claims the key, or moves the pin of epoch `from`. Returns what is stored then,
    /// which may be the decision of another, or [`Agreement::Unstored`] when the store fails or two rounds
    /// have not settled it.
    ///
    /// A pin that won against us is adopted unless this layer cannot serve its model. Then it is moved like
    /// one that was found: while the configurations of two replicas differ, each may move such a session to
    /// a model of its own, but none fails its requests.
    pub(super) async fn keep(
        &self,
        key: &AffinityKey,
        mut from: Option<Epoch>,
        selection: Arc<Selection>,
        mut budget: Budget,
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
                Ok(Some(claim))
                    if claim.won || self.settings.accepts(claim.pin.selection.model()) =>
                {
                    if claim.won && from.is_some() {
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
        let expiry = &self.settings.expiry;
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
    pub(super) fn known_everywhere(&self) -> Option<Instant> {
        let coherence = self.store.coherence();
        (!coherence.is_zero()).then(|| Instant::now() + coherence)
    }

    /// What a request gets by its verdict; `None` for a request without a model.
    pub(super) fn given(
        &self,
        verdict: Verdict,
        key: Option<AffinityKey>,
        is_final: bool,
    ) -> Option<PinnedModel> {
        let Verdict { selection, epoch, outcome, stood, asked } = verdict;
        let hit = self.hit(selection?, epoch, key);
        Some(PinnedModel { outcome, pinned: outcome.is_pinned(), is_final, stood, asked, ..hit })
    }

    /// What a request gets if its pin was found. It carries the store and the settings with it, so that a
    /// layer below can move or release the pin without a type parameter and without a way back to us.
    pub(super) fn hit(
        &self,
        selection: Arc<Selection>,
        epoch: Option<Epoch>,
        key: Option<AffinityKey>,
    ) -> PinnedModel {
        let Settings { expiry, store_budget, expose_epoch, .. } = self.settings;
        let links = key.as_ref().is_some_and(|key| self.settings.keys.links(key));
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
            expose_epoch,
            session: None,
            stood: None,
            links,
            asked: None,
        }
    }

    /// `model`, or a detour for a request that it cannot take. A detour to the model in use is none.
    pub(super) fn fitting(&self, model: PinnedModel, request: &Parts) -> PinnedModel {
        let detour = self.settings.detour.as_ref();
        match detour.and_then(|detour| detour(request, &model.selection)) {
            Some(other) if other != *model.model() => model.detour(other),
            _ => model,
        }
    }
}

//! What all services of one layer share, and the single steps of the protocol.

use std::sync::Arc;

use bytes::Bytes;
use http::Extensions;
use http::request::Parts;
use tokio::time::Instant;
use tower::ServiceExt;

use super::budget::Budget;
use super::health::{Call, Health};
use super::settings::Settings;
use super::verdict::{Settled, Standing};
use crate::coalesce::Flights;
use crate::store::{Claim, SharedStore};
use crate::telemetry::{self, Call as Counted};
use crate::{
    AffinityKey, AffinityStore, Epoch, Expiry, Pin, Rejection, RouteRequest, RouterService,
    Selection, StoreError,
};

/// Store, router and settings of one layer.
pub(super) struct Core<St, R> {
    pub(super) store: Arc<St>,
    pub(super) shared: SharedStore,
    pub(super) router: R,
    pub(super) settings: Settings,
    pub(super) flights: Flights<Settled>,
    pub(super) health: Arc<Health>,
}

impl<St, R: Clone> Clone for Core<St, R> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            shared: self.shared.clone(),
            router: self.router.clone(),
            settings: self.settings.clone(),
            flights: self.flights.clone(),
            health: self.health.clone(),
        }
    }
}

impl<St: AffinityStore, R: RouterService> Core<St, R> {
    /// The pin of `key` if it can be had without waiting and holds for the request.
    pub(super) fn at_hand(&self, key: &AffinityKey, request: &Extensions) -> Option<Pin> {
        let pin = self.store.peek(key, &self.settings.expiry)?;
        self.settings.holds(&pin, request).then_some(pin)
    }

    /// What the store has for `key`, nothing also when it fails and the layer is not strict about it.
    pub(super) async fn standing(
        &self,
        key: &AffinityKey,
        budget: &mut Budget,
    ) -> Result<Standing, Rejection> {
        self.found(key, &self.settings.expiry, budget).await
    }

    /// The same for what lives by another `expiry`.
    pub(super) async fn found(
        &self,
        key: &AffinityKey,
        expiry: &Expiry,
        budget: &mut Budget,
    ) -> Result<Standing, Rejection> {
        let call = Counted::store("get");
        let pin = budget.read(self.store.get(key, expiry)).await;
        call.answered(&pin, |pin| if pin.is_some() { "found" } else { "absent" });
        match self.watched(Call::Read, pin) {
            Ok(pin) => Ok(pin.map_or(Standing::Nothing, Standing::Pin)),
            Err(_) if self.settings.require_store => Err(Rejection::StoreUnavailable),
            Err(error) => Ok(error.decided().cloned().map_or(Standing::Nothing, Standing::Decided)),
        }
    }

    /// Asks the router. `None` when it fails, or names no model that can be served.
    pub(super) async fn route(
        &self,
        parts: &Parts,
        body: &Bytes,
        key: Option<&AffinityKey>,
    ) -> Option<Arc<Selection>> {
        let question = RouteRequest::new(parts.clone(), body.clone()).with_key(key.cloned());
        let call = Counted::router();
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
        if decision.models.is_empty() {
            call.ended("no_match");
            let requested = self.settings.requested(parts, body)?;
            return Some(Arc::new(Selection::of(requested)));
        }
        decision.models.retain(|model| self.settings.accepts(model));
        let best = Selection::best(decision).map(Arc::new);
        call.ended(if best.is_some() { "decided" } else { "not_served" });
        best
    }

    /// Stores a decision: claims the key, or moves the pin that stands at epoch `from`.
    pub(super) async fn keep(
        &self,
        key: &AffinityKey,
        mut from: Option<Epoch>,
        selection: Arc<Selection>,
        mut budget: Budget,
    ) -> Settled {
        // A second round is needed when the pin to move is gone, or when the one that won names a
        // model that only another replica's configuration knows.
        for _ in 0..2 {
            let call = Counted::store(if from.is_some() { "repin" } else { "claim" });
            let stored = budget.write(self.store_once(key, from, selection.clone())).await;
            call.answered(&stored, |standing| match standing {
                Some(claim) if claim.won => "won",
                Some(_) => "lost",
                None => "absent",
            });
            match self.watched(Call::Write, stored) {
                Ok(Some(claim))
                    if claim.won || self.settings.accepts(claim.pin.selection.model()) =>
                {
                    if claim.won && from.is_some() {
                        telemetry::moved("decided_again");
                    }
                    return Settled::Pinned(claim);
                }
                Ok(standing) => from = standing.map(|claim| claim.pin.epoch),
                Err(_) => break,
            }
        }
        Settled::Unstored(selection)
    }

    async fn store_once(
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

    /// When a change of now is known to all replicas, unless it is at once.
    pub(super) fn known_everywhere(&self) -> Option<Instant> {
        let coherence = self.store.coherence();
        (!coherence.is_zero()).then(|| Instant::now() + coherence)
    }

    fn watched<T>(&self, call: Call, result: Result<T, StoreError>) -> Result<T, StoreError> {
        match &result {
            Ok(_) => self.health.store_answered(call),
            Err(error) => self.health.store_failed(call, error),
        }
        result
    }
}

//! The claim of a session that is observed: what the protocol would have made of its pin.
//!
//! The request was routed as one without a session. Here its decision is taken for that of a first request,
//! of a new turn or of a refresh, and kept by the rules of any decision, under the key of the observed claim.
//! The router is not asked again: a pin that stands answers without it, and one that does not is made of the
//! decision that served the request.

use std::sync::Arc;

use http::request::Parts;

use super::shared::Shared;
use crate::decide::{Agreement, Ask, Budget, Rules};
use crate::ext::{MidTurn, NewTurn};
use crate::observed::{ObservedPin, ObservedTurn};
use crate::outcome::Control;
use crate::{AffinityKey, AffinityStore, ModelName, Outcome, Rejection, Selection, telemetry};

/// One request of a session that is observed.
pub(super) struct Observation<St> {
    pub(super) shared: Arc<Shared<St>>,
    pub(super) session: AffinityKey,
    pub(super) control: Control,
    /// The head, as the layer has passed it on.
    pub(super) parts: Parts,
    /// What the router decided, if it did.
    pub(super) decided: Option<Arc<Selection>>,
}

impl<St: AffinityStore> Observation<St> {
    /// Begins to note what a pin would have done. The request does not wait for it.
    pub(super) fn begin(self) -> ObservedPin {
        let Shared { decider, settings, observing, .. } = &*self.shared;
        let links = settings.keys.links(&self.session);
        let rules = &decider.rules;
        let pin = ObservedPin::new(
            self.session.clone(),
            (self.control == Control::Final, links),
            (decider.any_store.clone(), rules.expiry, rules.store_budget),
            observing.clone(),
        );
        let (key, decided) = (pin.key().clone(), self.decided.clone());
        pin.settle(async move {
            let turn = self.turn(&key).await;
            telemetry::observed(
                turn.as_ref()
                    .map(|turn| decided.is_none_or(|decided| decided.model() == turn.model())),
            );
            turn
        });
        pin
    }

    /// What a request with this session would have done; `None` if the store fails, or there is neither a
    /// pin nor a decision.
    async fn turn(&self, key: &AffinityKey) -> Option<ObservedTurn> {
        let decider = &self.shared.decider;
        let mut budget = Budget::new(decider.rules.store_budget);
        let current = decider.read(key, &decider.rules.expiry, &mut budget).await.ok()?.pin();
        let anew = self.begins_turn() || self.control == Control::Refresh;
        if let Some(pin) = &current
            && (!anew || self.decided.is_none())
            && decider.rules.holds(pin, || self.continues_turn())
        {
            return Some(ObservedTurn::new(pin.clone(), Outcome::Hit));
        }
        let decided = self.decided.clone()?;
        let (selection, outcome) =
            decider.rules.next(self, &self.session, current.as_ref(), decided);
        let outcome = match (outcome, &current) {
            (Outcome::Hit, Some(pin)) if pin.selection == selection => {
                return Some(ObservedTurn::new(pin.clone(), Outcome::Hit));
            }
            (Outcome::Repinned, Some(_)) if anew => Outcome::Refreshed,
            (outcome, _) => outcome,
        };
        let from = current.map(|pin| pin.epoch);
        match decider.keep(key, from, selection, &mut budget).await {
            Agreement::Pinned(claim) => {
                let outcome = if claim.won { outcome } else { Outcome::Joined };
                Some(ObservedTurn::new(claim.pin, outcome))
            }
            Agreement::Unstored(_) | Agreement::RouterUnavailable => None,
        }
    }
}

/// What the rules ask of a request whose decision is made.
impl<St: AffinityStore> Ask for Observation<St> {
    type Question = ();
    type Error = Rejection;

    fn control(&self) -> Control {
        self.control
    }

    fn is_probe(&self) -> bool {
        false
    }

    fn begins_turn(&self) -> bool {
        self.parts.extensions.get::<NewTurn>().is_some()
    }

    fn continues_turn(&self) -> bool {
        self.parts.extensions.get::<MidTurn>().is_some()
    }

    async fn read(&mut self) -> Result<(), Rejection> {
        Ok(())
    }

    fn question(&self, _: Option<&AffinityKey>) {}

    fn requested(&self, _: &Rules) -> Option<ModelName> {
        None
    }

    fn adopted(
        &self,
        key: &AffinityKey,
        current: Option<&Selection>,
        decided: Arc<Selection>,
    ) -> Arc<Selection> {
        match &self.shared.settings.on_decision {
            Some(adopt) => adopt(&self.parts, key, current, decided),
            None => decided,
        }
    }
}

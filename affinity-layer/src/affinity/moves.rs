//! New decisions for a session that has a pin.

use std::sync::Arc;

use http::request::Parts;

use super::budget::Budget;
use super::decide::Turn;
use super::payload::{Payload, Readable};
use super::settings::Settings;
use super::verdict::{Settled, Verdict};
use crate::outcome::Outcome;
use crate::{AffinityKey, AffinityStore, Pin, Rejection, RouterService, Selection};

impl<St: AffinityStore, R: RouterService> Turn<St, R> {
    /// A new decision, unless this is the first turn.
    pub(super) async fn new_turn<B: Readable>(
        &self,
        key: &AffinityKey,
        mut budget: Budget,
        parts: &Parts,
        body: &mut Payload<B>,
    ) -> Result<Verdict, Rejection> {
        match self.core.standing(key, &mut budget).await?.pin() {
            Some(pin) => self.moved(key, Some(pin), budget, parts, body).await,
            None => self.pinned(key, budget, parts, body).await,
        }
    }

    /// A new decision, to which the pin moves.
    pub(super) async fn refreshed<B: Readable>(
        &self,
        key: &AffinityKey,
        mut budget: Budget,
        parts: &Parts,
        body: &mut Payload<B>,
    ) -> Result<Verdict, Rejection> {
        let standing = self.core.standing(key, &mut budget).await?.pin();
        self.moved(key, standing, budget, parts, body).await
    }

    /// A new decision in the place of the pin that is `standing`.
    async fn moved<B: Readable>(
        &self,
        key: &AffinityKey,
        standing: Option<Pin>,
        budget: Budget,
        parts: &Parts,
        body: &mut Payload<B>,
    ) -> Result<Verdict, Rejection> {
        let core = &*self.core;
        let body = body.read().await?;
        let Some(decided) = core.route(parts, &body, Some(key)).await else {
            return core.verdict(Settled::RouterUnavailable, None, standing, parts, &body);
        };
        let next = core.settings.next(standing.as_ref(), decided);
        let made = match (next.outcome, &standing) {
            (Outcome::Hit, Some(pin)) if pin.selection == next.selection => {
                return Ok(Verdict::hit(pin.clone()));
            }
            (Outcome::Hit, _) => Outcome::Hit,
            _ => Outcome::Refreshed,
        };
        let from = standing.as_ref().map(|pin| pin.epoch);
        let settled = core.keep(key, from, next.selection, budget).await;
        core.verdict(settled, Some(made), standing, parts, &body)
    }
}

/// What a new decision makes of a session.
pub(super) struct Next {
    pub(super) selection: Arc<Selection>,
    /// How the request that decided found its model.
    pub(super) outcome: Outcome,
}

impl Settings {
    /// What `decided` makes of a session whose pin is `standing`.
    pub(super) fn next(&self, standing: Option<&Pin>, decided: Arc<Selection>) -> Next {
        let Some(pin) = standing else {
            let selection = with_warm_up(decided, self.warm_up);
            return Next { selection, outcome: Outcome::Claimed };
        };
        let (model, turns) = (pin.selection.model(), pin.selection.warm_up().saturating_sub(1));
        let (selection, outcome) = if !self.accepts(model) {
            (decided, Outcome::Repinned)
        } else if self.escalation.allows(model, decided.model()) {
            (decided, Outcome::Refreshed)
        } else {
            (pin.selection.clone(), Outcome::Hit)
        };
        Next { selection: with_warm_up(selection, turns), outcome }
    }
}

fn with_warm_up(selection: Arc<Selection>, turns: u8) -> Arc<Selection> {
    if selection.warm_up() == turns {
        return selection;
    }
    Arc::new(Arc::unwrap_or_clone(selection).with_warm_up(turns))
}

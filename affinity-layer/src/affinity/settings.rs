//! What an [`AffinityLayer`](super::AffinityLayer) is set to, and the questions that are answered by the
//! settings alone: which pin holds, which model a request asks for, what a new decision may change.
//!
//! None of them waits or asks the store, so they can be asked anywhere on the way of a request. The
//! defaults are at the end; the documentation of each setting is at its setter.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Extensions;
use http::request::Parts;
use serde::Deserialize;

use crate::cooldown::Cooldowns;
use crate::key::KeySource;
use crate::outcome::{Control, Outcome};
use crate::{
    AffinityKey, Expiry, ModelName, Pin, Selection,
    ext::{FallbackModel, MidTurn, RequestedModel},
};

/// Which models can be served.
pub(super) type Accepts = dyn Fn(&ModelName) -> bool + Send + Sync;
/// Another model for a request that the one in use does not accept.
pub(super) type Detour = dyn Fn(&Parts, &Selection) -> Option<ModelName> + Send + Sync;

/// What a decision makes of a session.
pub(super) type OnDecision = dyn Fn(&Parts, &AffinityKey, Option<&Selection>, Arc<Selection>) -> Arc<Selection>
    + Send
    + Sync;

/// Every setting of one layer. It is read on each request and changed only before the layer is used.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) keys: KeySource,
    pub(super) expiry: Expiry,
    pub(super) body_limit: usize,
    pub(super) waiters: usize,
    pub(super) store_budget: Duration,
    pub(super) require_store: bool,
    pub(super) route_unkeyed: bool,
    pub(super) default_model: Option<ModelName>,
    pub(super) accepts: Option<Arc<Accepts>>,
    pub(super) detour: Option<Arc<Detour>>,
    pub(super) on_decision: Option<Arc<OnDecision>>,
    /// Turns of a session whose decision does not bind it.
    pub(super) warm_up: u8,
    pub(super) escalation: Escalation,
    pub(super) cooldowns: Option<Cooldowns>,
    pub(super) expose_epoch: bool,
}

impl Settings {
    /// Whether `model` is one that can be served. It is asked of stored pins as well as of decisions,
    /// because pins outlive configurations.
    pub(super) fn accepts(&self, model: &ModelName) -> bool {
        self.accepts.as_ref().is_none_or(|accepts| accepts(model))
    }

    /// Whether the request is to use `pin` as it is. One that does not hold is decided again, and
    /// then moved by its epoch.
    pub(super) fn holds(&self, pin: &Pin, request: &Extensions) -> bool {
        self.accepts(pin.selection.model())
            && (pin.selection.warm_up() == 0 || request.get::<MidTurn>().is_some())
    }

    /// Whether a request that belongs to no session is let through without a model. One that asks for
    /// `bypass` wants a decision and gets it.
    pub(super) fn passes_unkeyed(&self, control: Control) -> bool {
        !self.route_unkeyed && control != Control::Bypass
    }

    /// The model that a request asks for, else the default. In this order: a
    /// [`FallbackModel`], which may also say that there is none; a [`RequestedModel`]; `model` in a JSON
    /// body, if it can be served; the default. Nothing else of the body is read, and a body that is no JSON
    /// names no model.
    pub(super) fn requested(&self, parts: &Parts, body: &Bytes) -> Option<ModelName> {
        #[derive(Deserialize)]
        struct Body<'a> {
            #[serde(borrow)]
            model: Cow<'a, str>,
        }

        // A drained model stays the requested one, for the lane of its sessions; so this comes first.
        if let Some(FallbackModel(model)) = parts.extensions.get() {
            return model.clone();
        }
        if let Some(RequestedModel(model)) = parts.extensions.get() {
            return Some(model.clone());
        }
        let named = serde_json::from_slice::<Body<'_>>(body).ok();
        let named = named.and_then(|body| ModelName::new(&body.model).ok());
        named.filter(|model| self.accepts(model)).or_else(|| self.default_model.clone())
    }

    /// What a new decision makes of a session that has the `current` pin: the selection to keep, and
    /// how the request that decided has found its model.
    ///
    /// | current pin | selection to keep | turns to warm up | outcome |
    /// |---|---|---|---|
    /// | none | the decision | as set | `claimed` |
    /// | its model is not served any more | the decision | one less | `repinned` |
    /// | the decision may replace it | the decision | one less | `refreshed` |
    /// | it may not: not a stronger model, or the application keeps the session | that of the pin | one less | `hit` |
    pub(super) fn next(
        &self,
        request: &Parts,
        key: &AffinityKey,
        current: Option<&Pin>,
        decided: Arc<Selection>,
    ) -> (Arc<Selection>, Outcome) {
        let chosen = decided.model().clone();
        let decided = self.adopted(request, Some(key), current, decided);
        let Some(pin) = current else {
            return (with_warm_up(decided, self.warm_up), Outcome::Claimed);
        };
        let (model, turns) = (pin.selection.model(), pin.selection.warm_up().saturating_sub(1));
        let (selection, outcome) = if decided.model() == model && chosen != *model {
            (decided, Outcome::Hit)
        } else if !self.accepts(model) {
            (decided, Outcome::Repinned)
        } else if self.escalation.allows(model, decided.model()) {
            (decided, Outcome::Refreshed)
        } else {
            (pin.selection.clone(), Outcome::Hit)
        };
        (with_warm_up(selection, turns), outcome)
    }

    /// What the application makes of a decision for a request of the session of `key`.
    pub(super) fn adopted(
        &self,
        request: &Parts,
        key: Option<&AffinityKey>,
        current: Option<&Pin>,
        decided: Arc<Selection>,
    ) -> Arc<Selection> {
        match (&self.on_decision, key) {
            (Some(adopt), Some(key)) => {
                adopt(request, key, current.map(|pin| &*pin.selection), decided)
            }
            _ => decided,
        }
    }
}

/// The same selection with another number of turns; copied only if that is a change.
fn with_warm_up(selection: Arc<Selection>, turns: u8) -> Arc<Selection> {
    if selection.warm_up() == turns {
        return selection;
    }
    Arc::new(Arc::unwrap_or_clone(selection).with_warm_up(turns))
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keys: KeySource::default(),
            expiry: Expiry::default(),
            body_limit: 2 * 1024 * 1024,
            waiters: 2048,
            store_budget: Duration::from_millis(50),
            require_store: false,
            route_unkeyed: true,
            default_model: None,
            accepts: None,
            detour: None,
            on_decision: None,
            warm_up: 0,
            escalation: Escalation::default(),
            cooldowns: None,
            expose_epoch: false,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("keys", &self.keys)
            .field("expiry", &self.expiry)
            .field("body_limit", &self.body_limit)
            .field("waiters", &self.waiters)
            .field("store_budget", &self.store_budget)
            .field("require_store", &self.require_store)
            .field("route_unkeyed", &self.route_unkeyed)
            .field("default_model", &self.default_model)
            .field("warm_up", &self.warm_up)
            .field("escalation", &self.escalation)
            .field("expose_epoch", &self.expose_epoch)
            .finish_non_exhaustive()
    }
}

/// Models from the weakest to the strongest, the order in which a session may move by a new
/// decision; empty when every move is allowed.
#[derive(Clone, Debug, Default)]
pub(super) struct Escalation(Box<[ModelName]>);

impl Escalation {
    pub(super) fn new(models: impl IntoIterator<Item = ModelName>) -> Self {
        Self(models.into_iter().collect())
    }

    /// Whether a session may move. A model that is not listed counts as weaker than those that are.
    fn allows(&self, from: &ModelName, to: &ModelName) -> bool {
        self.0.is_empty() || self.strength(to) > self.strength(from)
    }

    /// The place in the order; `None`, less than any place, for a model that is not listed.
    fn strength(&self, model: &ModelName) -> Option<usize> {
        self.0.iter().position(|listed| listed == model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stronger_model_is_moved_to() {
        let model = |name: &str| ModelName::new(name).unwrap();
        let order = Escalation::new(["v/small", "v/large"].map(model));
        let allows = |from: &str, to: &str| order.allows(&model(from), &model(to));
        assert!(allows("v/small", "v/large") && !allows("v/large", "v/small"));
        assert!(!allows("v/small", "v/small"));
        assert!(allows("v/other", "v/small") && !allows("v/small", "v/other"));
        assert!(!allows("v/other", "v/another"));
        assert!(Escalation::default().allows(&model("v/large"), &model("v/small")));
    }
}

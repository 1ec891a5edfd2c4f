//! The rules by which sessions are decided, and the questions that they answer alone: which pin holds, what
//! a new decision may change.
//!
//! None of them waits or asks the store, so they can be asked anywhere on the way of a request. The
//! defaults are at the end; the documentation of each rule is at its setter.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::ask::Ask;
use crate::outcome::Outcome;
use crate::{AffinityKey, Expiry, ModelName, Pin, Selection};

/// Which models can be served.
pub(crate) type Accepts = dyn Fn(&ModelName) -> bool + Send + Sync;

/// Every rule. It is read on each request and changed only before the first.
#[derive(Clone)]
pub(crate) struct Rules {
    pub(crate) expiry: Expiry,
    /// How many requests may wait for one decision.
    pub(crate) waiters: usize,
    pub(crate) store_budget: Duration,
    pub(crate) require_store: bool,
    pub(crate) default_model: Option<ModelName>,
    pub(crate) accepts: Option<Arc<Accepts>>,
    /// Turns of a session whose decision does not bind it.
    pub(crate) warm_up: u8,
    pub(crate) escalation: Escalation,
}

impl Rules {
    /// Whether `model` is one that can be served. It is asked of stored pins as well as of decisions,
    /// because pins outlive configurations.
    pub(crate) fn accepts(&self, model: &ModelName) -> bool {
        self.accepts.as_ref().is_none_or(|accepts| accepts(model))
    }

    /// Whether the request is to use `pin` as it is. One that does not hold is decided again, and
    /// then moved by its epoch.
    pub(crate) fn holds(&self, pin: &Pin, continues_turn: impl FnOnce() -> bool) -> bool {
        self.accepts(pin.selection.model()) && (pin.selection.warm_up() == 0 || continues_turn())
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
    pub(crate) fn next<A: Ask>(
        &self,
        ask: &A,
        key: &AffinityKey,
        current: Option<&Pin>,
        decided: Arc<Selection>,
    ) -> (Arc<Selection>, Outcome) {
        let offered = decided.clone();
        let decided = ask.adopted(key, current.map(|pin| &*pin.selection), decided);
        let Some(pin) = current else {
            return (with_warm_up(decided, self.warm_up), Outcome::Claimed);
        };
        let (model, turns) = (pin.selection.model(), pin.selection.warm_up().saturating_sub(1));
        let is_kept = offered.model() != model
            || decided == pin.selection && !Arc::ptr_eq(&offered, &decided);
        let (selection, outcome) = if decided.model() == model && is_kept {
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
}

/// The same selection with another number of turns; copied only if that is a change.
fn with_warm_up(selection: Arc<Selection>, turns: u8) -> Arc<Selection> {
    if selection.warm_up() == turns {
        return selection;
    }
    Arc::new(Arc::unwrap_or_clone(selection).with_warm_up(turns))
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            expiry: Expiry::default(),
            waiters: 2048,
            store_budget: Duration::from_millis(50),
            require_store: false,
            default_model: None,
            accepts: None,
            warm_up: 0,
            escalation: Escalation::default(),
        }
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("expiry", &self.expiry)
            .field("waiters", &self.waiters)
            .field("store_budget", &self.store_budget)
            .field("require_store", &self.require_store)
            .field("default_model", &self.default_model)
            .field("warm_up", &self.warm_up)
            .field("escalation", &self.escalation)
            .finish_non_exhaustive()
    }
}

/// Models from the weakest to the strongest, the order in which a session may move by a new
/// decision; empty when every move is allowed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Escalation(Box<[ModelName]>);

impl Escalation {
    pub(crate) fn new(models: impl IntoIterator<Item = ModelName>) -> Self {
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

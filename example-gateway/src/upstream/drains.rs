//! Models that are being drained: no session gets them any more.
//!
//! The set is small and changes by hand, and every pinned request asks for it. So a replica holds a copy of
//! its own, behind a flag that is one atomic read while nothing is drained.
//! [`ops::drains`](crate::ops::drains) keeps the copies of all replicas equal.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use affinity_layer::ModelName;
use serde::{Deserialize, Serialize};

/// What happens to the sessions that have the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Live {
    /// They keep it until their pins end.
    #[default]
    Keep,
    /// Each moves with its next request.
    Move,
}

/// How a model is drained.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Drain {
    pub(crate) sessions: Live,
    /// The model in its place; without one, the router decides.
    pub(crate) to: Option<ModelName>,
    /// When it began, in Unix seconds.
    pub(crate) since: u64,
}

/// By the names of the models.
pub(crate) type Drained = BTreeMap<String, Drain>;

/// What is drained, as far as this replica knows.
#[derive(Debug, Default)]
pub(crate) struct Drains {
    /// Whether anything is. Every pinned request asks, so it is one read.
    any: AtomicBool,
    drained: RwLock<Arc<Drained>>,
}

impl Drains {
    /// Whether some model is being drained.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// All of them.
    pub(crate) fn all(&self) -> Arc<Drained> {
        self.drained.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn of(&self, model: &ModelName) -> Option<Drain> {
        if !self.any() {
            return None;
        }
        let drained = self.drained.read().unwrap_or_else(PoisonError::into_inner);
        drained.get(model.as_str()).cloned()
    }

    /// Whether no session may begin with `model`.
    pub(crate) fn holds(&self, model: &ModelName) -> bool {
        self.any() && self.of(model).is_some()
    }

    /// Whether existing sessions must leave it too.
    pub(crate) fn moves(&self, model: &ModelName) -> bool {
        self.any() && self.of(model).is_some_and(|drain| drain.sessions == Live::Move)
    }

    /// The model that was named in its place, unless that is drained too.
    pub(crate) fn successor(&self, model: &ModelName) -> Option<ModelName> {
        self.of(model)?.to.filter(|to| !self.holds(to))
    }

    pub(crate) fn replace(&self, drained: Drained) {
        let any = !drained.is_empty();
        *self.drained.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(drained);
        self.any.store(any, Ordering::Relaxed);
    }
}

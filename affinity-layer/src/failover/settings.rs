//! What a [`FailoverLayer`](super::FailoverLayer) is set to, whose methods say what each setting means.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;

use crate::cooldown::Cooldowns;
use crate::ext::Bound;
use crate::{ModelName, PinnedModel};

/// Tells by the head of a request whether a model can take it.
pub(super) type Usable = dyn Fn(&Parts, &ModelName) -> bool + Send + Sync;

/// Names another model for a request that is too much for its own.
pub(super) type Outgrown = dyn Fn(&Parts, &PinnedModel) -> Option<ModelName> + Send + Sync;

/// Tells whether two models have one vendor.
pub(super) type SameVendor = dyn Fn(&ModelName, &ModelName) -> bool + Send + Sync;

/// One copy for all services of a layer.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) attempts: usize,
    pub(super) time_limit: Duration,
    pub(super) patience: Duration,
    pub(super) usable: Option<Arc<Usable>>,
    pub(super) same_vendor: Option<Arc<SameVendor>>,
    pub(super) outgrown: Option<Arc<Outgrown>>,
    pub(super) cooldowns: Option<Cooldowns>,
}

impl Settings {
    /// Whether `model` can take the request in place of `own`, which the request was given.
    pub(super) fn is_usable(&self, request: &Parts, own: &ModelName, model: &ModelName) -> bool {
        let is_free = request.extensions.get::<Bound>().is_none();
        (is_free || self.same_vendor.as_ref().is_some_and(|same| same(own, model)))
            && self.usable.as_ref().is_none_or(|usable| usable(request, model))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            attempts: 4,
            time_limit: Duration::from_secs(30),
            patience: Duration::from_secs(1),
            usable: None,
            same_vendor: None,
            outgrown: None,
            cooldowns: None,
        }
    }
}

//! What a [`FailoverLayer`](super::FailoverLayer) is set to, whose methods say what each setting means.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;

use crate::ModelName;

/// Tells by the head of a request whether a model can take it.
pub(super) type Usable = dyn Fn(&Parts, &ModelName) -> bool + Send + Sync;

/// One copy for all services of a layer.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) attempts: usize,
    pub(super) time_limit: Duration,
    pub(super) patience: Duration,
    pub(super) usable: Option<Arc<Usable>>,
}

impl Settings {
    /// Whether `model` can take the request.
    pub(super) fn is_usable(&self, request: &Parts, model: &ModelName) -> bool {
        self.usable.as_ref().is_none_or(|usable| usable(request, model))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            attempts: 4,
            time_limit: Duration::from_secs(30),
            patience: Duration::from_secs(1),
            usable: None,
        }
    }
}

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use tower_layer::Layer;

use super::service::Failover;
use super::settings::Settings;
use crate::ModelName;

/// Layer that applies the [`Failover`] middleware; it belongs below the affinity layer.
///
/// See the [module docs](super).
#[derive(Clone, Default)]
#[must_use]
pub struct FailoverLayer {
    settings: Settings,
}

impl FailoverLayer {
    /// A layer with the default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// How often a request is tried in all, at least once. Default: 4.
    pub fn attempts(mut self, attempts: usize) -> Self {
        self.settings.attempts = attempts.max(1);
        self
    }

    /// How long after its first failure a request is still tried again. Default: 30 s.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.settings.time_limit = limit;
        self
    }

    /// The longest `Retry-After` that is waited for. Default: 1 s.
    pub fn patience(mut self, longest: Duration) -> Self {
        self.settings.patience = longest;
        self
    }

    /// Which candidates can take a request at all; the others are passed over. Default: all.
    pub fn usable<F>(mut self, usable: F) -> Self
    where
        F: Fn(&Parts, &ModelName) -> bool + Send + Sync + 'static,
    {
        self.settings.usable = Some(Arc::new(usable));
        self
    }
}

impl fmt::Debug for FailoverLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailoverLayer")
            .field("attempts", &self.settings.attempts)
            .field("time_limit", &self.settings.time_limit)
            .field("patience", &self.settings.patience)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for FailoverLayer {
    type Service = Failover<S>;

    fn layer(&self, inner: S) -> Failover<S> {
        Failover::new(inner, Arc::new(self.settings.clone()))
    }
}

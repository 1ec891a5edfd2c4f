//! The limits that an application sets. Together they bound how long a client waits for a failure:
//! `time_limit`, and then the attempt that is under way.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use tower_layer::Layer;

use super::service::Failover;
use super::settings::Settings;
use crate::cooldown::Cooldowns;
use crate::{ModelName, PinnedModel};

/// Layer that applies the [`Failover`] middleware; it belongs below the affinity layer.
///
/// The inner service must be [`Clone`], for each attempt after the first has a clone of its own, and
/// should bound the time of one attempt: this layer never ends one.
///
/// ```
/// use std::time::Duration;
///
/// use affinity_layer::{FailoverLayer, ModelName};
///
/// // Three attempts, and no images for a model that reads only text.
/// let failover = FailoverLayer::new()
///     .attempts(3)
///     .time_limit(Duration::from_secs(10))
///     .usable(|request, model: &ModelName| {
///         !request.headers.contains_key("x-has-images") || !model.as_str().ends_with("-text")
///     });
/// # let _ = failover;
/// ```
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
    ///
    /// The first attempt and a second chance count. With 1 nothing is tried again, but a pin that the
    /// request made and that never served is still released.
    pub fn attempts(mut self, attempts: usize) -> Self {
        self.settings.attempts = attempts.max(1);
        self
    }

    /// How long after its first failure a request is still tried again. Default: 30 s.
    ///
    /// It says when the last attempt may begin, not when it ends. The first attempt is not counted: a
    /// model may take minutes to fail, and the next one is to be tried all the same.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.settings.time_limit = limit;
        self
    }

    /// The longest `Retry-After` that is waited for. Default: 1 s.
    ///
    /// A session is worth a short wait, because the next candidate has nothing of it in its cache. After a
    /// longer `Retry-After` the next candidate is asked. With [cool-downs](Self::cooldowns) a pinned
    /// session also waits this long for a model that cools. Zero still gives a second chance to `Retry-After: 0` and to a
    /// [`SecondChance`](crate::ext::SecondChance).
    pub fn patience(mut self, longest: Duration) -> Self {
        self.settings.patience = longest;
        self
    }

    /// Remembers in `cooldowns` what was learned of candidates that failed, and passes those over. Default:
    /// each request learns by itself.
    ///
    /// See the [module](crate::cooldown). Give the same to
    /// [`AffinityLayer::cooldowns`](crate::AffinityLayer::cooldowns), so that new sessions begin with a
    /// model that serves.
    pub fn cooldowns(mut self, cooldowns: &Cooldowns) -> Self {
        self.settings.cooldowns = Some(cooldowns.clone());
        self
    }

    /// Which candidates can take a request at all; the others are passed over. Default: all.
    ///
    /// The function sees the head and the extensions of the request. It is asked about each candidate
    /// when its turn comes, and never about the model that the request was given.
    pub fn usable<F>(mut self, usable: F) -> Self
    where
        F: Fn(&Parts, &ModelName) -> bool + Send + Sync + 'static,
    {
        self.settings.usable = Some(Arc::new(usable));
        self
    }

    /// Another model for a request that is too much for its own, and will be for every later request of its
    /// session, such as one that is longer than the model's context. Default: none.
    ///
    /// The function sees the head of the request and the model that it was given. What it names is asked
    /// first, and the session moves there when it answers; its own model is not asked. While that one
    /// [cools](crate::cooldown), a candidate for which the function names no other goes before it. A request that is
    /// [`Bound`](crate::ext::Bound) stays. For a request that is the only one of its kind there are
    /// [detours](crate::AffinityLayer::detour).
    pub fn outgrown<F>(mut self, outgrown: F) -> Self
    where
        F: Fn(&Parts, &PinnedModel) -> Option<ModelName> + Send + Sync + 'static,
    {
        self.settings.outgrown = Some(Arc::new(outgrown));
        self
    }

    /// Which models have one vendor, so that what one of them has made or keeps can be read by the other. A
    /// request that is [`Bound`](crate::ext::Bound) is sent again only to a candidate that shares the vendor
    /// of its model. Default: no two models do.
    pub fn same_vendor<F>(mut self, same: F) -> Self
    where
        F: Fn(&ModelName, &ModelName) -> bool + Send + Sync + 'static,
    {
        self.settings.same_vendor = Some(Arc::new(same));
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

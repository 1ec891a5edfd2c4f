//! What an [`AffinityLayer`](super::AffinityLayer) is set to besides the [rules](crate::decide) of its
//! decisions: what names a session, what may be read of a request, and what the application adds.
//!
//! The documentation of each setting is at its setter.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;

use crate::cooldown::Cooldowns;
use crate::headers::HeaderNames;
use crate::key::KeySource;
use crate::mode::Rollout;
use crate::outcome::Control;
use crate::{AffinityKey, ModelName, Selection};

/// Whether a request is routed by its head alone.
pub(super) type ByHead = dyn Fn(&Parts) -> bool + Send + Sync;

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
    pub(super) body_limit: usize,
    pub(super) route_unkeyed: bool,
    pub(super) by_head: Option<Arc<ByHead>>,
    pub(super) detour: Option<Arc<Detour>>,
    pub(super) on_decision: Option<Arc<OnDecision>>,
    pub(super) cooldowns: Option<Cooldowns>,
    /// Which sessions are pinned.
    pub(super) rollout: Rollout,
    pub(super) expose_epoch: bool,
    pub(super) names: HeaderNames,
}

impl Settings {
    /// Whether a request that belongs to no session is let through without a model. One that asks for
    /// `bypass` wants a decision and gets it.
    pub(super) fn passes_unkeyed(&self, control: Control) -> bool {
        !self.route_unkeyed && control != Control::Bypass
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keys: KeySource::default(),
            body_limit: 2 * 1024 * 1024,
            route_unkeyed: true,
            by_head: None,
            detour: None,
            on_decision: None,
            cooldowns: None,
            rollout: Rollout::default(),
            expose_epoch: false,
            names: HeaderNames::default(),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("keys", &self.keys)
            .field("body_limit", &self.body_limit)
            .field("route_unkeyed", &self.route_unkeyed)
            .field("rollout", &self.rollout)
            .field("expose_epoch", &self.expose_epoch)
            .finish_non_exhaustive()
    }
}

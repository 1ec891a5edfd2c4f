//! What an [`AffinityLayer`](super::AffinityLayer) is set to.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Extensions;
use http::request::Parts;
use serde::Deserialize;

use super::escalation::Escalation;
use crate::key::KeySource;
use crate::outcome::Control;
use crate::{
    Expiry, ModelName, Pin, Selection,
    ext::{FallbackModel, MidTurn, RequestedModel},
};

pub(super) type Accepts = dyn Fn(&ModelName) -> bool + Send + Sync;
pub(super) type Detour = dyn Fn(&Parts, &Selection) -> Option<ModelName> + Send + Sync;

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
    /// Turns of a session whose decision does not bind it.
    pub(super) warm_up: u8,
    pub(super) escalation: Escalation,
    pub(super) expose_epoch: bool,
}

impl Settings {
    /// Whether `model` is one that can be served.
    pub(super) fn accepts(&self, model: &ModelName) -> bool {
        self.accepts.as_ref().is_none_or(|accepts| accepts(model))
    }

    /// Whether the request is to use `pin` as it stands.
    pub(super) fn holds(&self, pin: &Pin, request: &Extensions) -> bool {
        self.accepts(pin.selection.model())
            && (pin.selection.warm_up() == 0 || request.get::<MidTurn>().is_some())
    }

    /// Whether a request that belongs to no session is let through without a model.
    pub(super) fn passes_unkeyed(&self, control: Control) -> bool {
        !self.route_unkeyed && control != Control::Bypass
    }

    /// The model that a request asks for, else the default.
    pub(super) fn requested(&self, parts: &Parts, body: &Bytes) -> Option<ModelName> {
        #[derive(Deserialize)]
        struct Body<'a> {
            #[serde(borrow)]
            model: Cow<'a, str>,
        }

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
            warm_up: 0,
            escalation: Escalation::default(),
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

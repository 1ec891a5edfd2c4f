//! A body that was checked, and what is left out of it for its provider.
//!
//! Intake parses one from the bytes of a request. The layers read from it what the client asks for, and the
//! proxy takes from it the [`Slices`] with the provider's name for the model.

use std::ops::Deref;
use std::sync::Arc;

use affinity_layer::body::{BodyError, JsonBody, Slices};
use bytes::Bytes;

use super::heal::{Healing, Upto, heal};
use super::references;

/// A checked body with its healing. It reads as the [`JsonBody`] that it holds.
#[derive(Clone, Debug)]
pub struct Envelope {
    body: JsonBody,
    /// What is left out of it for its provider.
    healing: Option<Arc<Healing>>,
}

impl Deref for Envelope {
    type Target = JsonBody;

    fn deref(&self) -> &JsonBody {
        &self.body
    }
}

impl Envelope {
    /// Checks that `bytes` are one JSON object; see [`JsonBody::parse`].
    ///
    /// # Errors
    ///
    /// [`BodyError`] for anything else, and for what two parsers read differently.
    pub fn parse(bytes: Bytes) -> Result<Self, BodyError> {
        Ok(Self { body: JsonBody::parse(bytes)?, healing: None })
    }

    /// What has to be left out so that another vendor can read the body; `None` if nothing. It takes as long
    /// as reading the body does.
    pub(crate) fn heal(&self, upto: &Upto<'_>) -> Option<Healing> {
        if self.may_be_foreign() { heal(self.bytes(), upto) } else { None }
    }

    /// The ids of the files, containers and conversations that the body names, at most eight. A body that
    /// refers to such things is read for them.
    #[must_use]
    pub fn references(&self) -> Vec<String> {
        if self.refers_to_its_provider() { references::find(self.bytes()) } else { Vec::new() }
    }

    /// The same body for a provider that gets it without what `healing` leaves out.
    pub(crate) fn healed(self, healing: Option<Healing>) -> Self {
        Self { healing: healing.map(Arc::new), ..self }
    }

    /// The same body for a provider that gets it with a cache key; see [`JsonBody::keyed`].
    pub(crate) fn keyed(self, value: &str) -> Self {
        Self { body: self.body.keyed(value), ..self }
    }

    /// The body for a provider: `model` replaced, `routing_preferences` and what was healed cut out.
    /// Nothing is copied but the new name.
    #[must_use]
    pub fn for_model(&self, model: &str) -> Slices {
        match self.healing.as_deref() {
            // A healing cuts the preferences, too.
            Some(Healing { cuts, .. }) => self.body.for_model_without(model, cuts),
            None => self.body.for_model(model),
        }
    }
}

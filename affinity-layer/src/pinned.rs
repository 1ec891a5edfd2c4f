//! What handlers and inner layers see of the decision.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use tokio::time::sleep;

use crate::outcome::{Outcome, Stamp};
use crate::store::{AffinityStore, SharedStore};
use crate::telemetry::{self, Call};
use crate::{AffinityKey, Epoch, Expiry, ModelName, Pin, RouteName, Selection, StoreError};

/// The model that this request is to use, in the extensions of every request that was given one.
///
/// With the feature `axum` it is also an extractor. A handler takes the model from
/// [`model`](Self::model); a layer that fails over moves the pin with [`repin`](Self::repin).
#[derive(Clone)]
pub struct PinnedModel {
    pub(crate) selection: Arc<Selection>,
    pub(crate) outcome: Outcome,
    pub(crate) pinned: bool,
    pub(crate) key: Option<AffinityKey>,
    pub(crate) epoch: Option<Epoch>,
    pub(crate) is_final: bool,
    pub(crate) store: SharedStore,
    pub(crate) expiry: Expiry,
    /// The time that one request may spend waiting for the store.
    pub(crate) store_budget: Duration,
    pub(crate) expose_epoch: bool,
    /// The model is not that of the pin.
    pub(crate) detour: bool,
    /// Whether the response's id is to lead back to the session.
    pub(crate) links: bool,
}

impl PinnedModel {
    /// The model to use.
    #[must_use]
    pub fn model(&self) -> &ModelName {
        self.selection.model()
    }

    /// The route that matched, if one did.
    #[must_use]
    pub fn route(&self) -> Option<&RouteName> {
        self.selection.route()
    }

    /// All candidates as the router ranked them, best first. The model in use is one of them, not
    /// always the first.
    #[must_use]
    pub fn candidates(&self) -> &[ModelName] {
        self.selection.candidates()
    }

    /// Whether the model came from a pin that stood before this request's own routing decision: the
    /// value of `x-plano-pinned`.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.pinned
    }

    /// How the model was found.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The key of the session, if the request named one.
    #[must_use]
    pub fn key(&self) -> Option<&AffinityKey> {
        self.key.as_ref()
    }

    /// The generation of the pin behind this request, `None` when no pin stands behind it.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// Whether the client sent `x-plano-affinity: final`.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.is_final
    }

    /// Moves the whole session to `model`, unless its pin has changed since this request read it:
    /// then the newer pin stands. Returns what stands now, with outcome [`Outcome::Repinned`];
    /// `None` when there is no pin to move, or this is a [detour](Self::detour), which says nothing of
    /// the session's own model.
    ///
    /// Put the returned value into the *response's* extensions, so that the response headers tell
    /// of the move.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store fails; the pin is then as it was, as far as this side knows.
    pub async fn repin(&self, model: ModelName) -> Result<Option<Self>, StoreError> {
        let (Some(key), Some(epoch), false) = (&self.key, self.epoch, self.detour) else {
            return Ok(None);
        };
        let selection = Arc::new(self.selection.with_model(model));
        let call = Call::store("repin");
        let moved = self.store.repin(key, epoch, selection, &self.expiry).await;
        call.answered(&moved, |standing| match standing {
            Some(claim) if claim.won => "won",
            Some(_) => "lost",
            None => "absent",
        });
        let moved = moved?;
        let coherence = self.store.coherence();
        if !coherence.is_zero() {
            // Who is told of it may ask another replica next.
            sleep(coherence).await;
        }
        Ok(moved.map(|claim| {
            if claim.won {
                telemetry::moved("failover");
            }
            let Pin { selection, epoch, .. } = claim.pin;
            let (outcome, epoch) = (Outcome::Repinned, Some(epoch));
            Self { selection, outcome, pinned: false, epoch, ..self.clone() }
        }))
    }

    /// The same with `model` instead, for a request that the pinned model cannot take: the pin
    /// stays, and so does the outcome, but the response says `x-plano-pinned: false`.
    ///
    /// Put the returned value into the *response's* extensions, so that the response headers name
    /// the model that served.
    #[must_use]
    pub fn detour(&self, model: ModelName) -> Self {
        let selection = Arc::new(self.selection.with_model(model));
        // The epoch is that of another model.
        Self { selection, pinned: false, expose_epoch: false, detour: true, ..self.clone() }
    }

    /// Ends the session's pin if it still is the one that this request saw; says whether it did.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store fails; the pin then stands until it expires.
    pub async fn release(&self) -> Result<bool, StoreError> {
        let (Some(key), Some(epoch)) = (&self.key, self.epoch) else {
            return Ok(false);
        };
        let call = Call::store("release");
        let released = self.store.release(key, Some(epoch)).await;
        call.answered(&released, |released| if *released { "won" } else { "absent" });
        if let Ok(true) = released {
            telemetry::released();
        }
        released
    }
}

impl PinnedModel {
    pub(crate) fn stamp(&self) -> Stamp {
        let selection = Some(self.selection.clone());
        let epoch = self.epoch.filter(|_| self.expose_epoch);
        Stamp { selection, outcome: self.outcome, pinned: self.pinned, epoch }
    }
}

impl fmt::Debug for PinnedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedModel")
            .field("model", self.model())
            .field("route", &self.route())
            .field("outcome", &self.outcome())
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// In the extensions of a request that may use a pin and must not make one, such as one that counts
/// tokens: without a pin it goes on with the model that it asks for, and the router is not asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe;

/// In the extensions of a request that opens a new turn of its session: a pin that stands moves to a
/// new decision, as with `x-plano-affinity: refresh`. Requests without it hold the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewTurn;

/// In the extensions of a request that goes on with a turn, such as one that brings the result of a
/// tool: it holds the model, also while its session [warms up](crate::AffinityLayer::warm_up).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MidTurn;

/// In the extensions of a sub-agent's request that shares the pin of its main loop: the pin is not
/// its own to move or to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guest;

impl Guest {
    /// Marks a request as a guest's.
    pub(crate) fn admit(request: &mut Extensions) {
        request.remove::<NewTurn>();
        request.insert(MidTurn);
        request.insert(Self);
    }
}

/// The model a request asks for, for when the router has no answer or no route matches.
///
/// Without this extension the layer reads the top-level `model` of a JSON body. A gateway that
/// resolves aliases sets it, so that the name is the configured one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedModel(pub ModelName);

/// In the extensions of a request that leaves the choice to the router, such as one for a model
/// called `auto`: it belongs to no [model lane](crate::AffinityLayer::model_lanes), and
/// [`RequestedModel`] is only what it falls back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnyModel;

/// In the extensions of a request whose [`RequestedModel`] is not to be given to anybody anew, such as
/// one that is being drained: what the request goes on with in its place when the router has no answer.
/// Its [model lane](crate::AffinityLayer::model_lanes) and its pin are those of the requested model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FallbackModel(pub Option<ModelName>);

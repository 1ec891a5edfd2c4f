//! What handlers and inner layers see of the decision.
//!
//! A [`PinnedModel`] goes down with the request and may come back with the response:
//!
//! 1. The affinity layer puts one into the extensions of every request that has a model.
//! 2. The service that calls the model reads [`model`](PinnedModel::model).
//! 3. A layer that serves the request with another model puts *its* `PinnedModel` into the extensions of the
//!    response: one that [`repin`](PinnedModel::repin) returned, if the session has moved, or a
//!    [`detour`](PinnedModel::detour), if this request alone went elsewhere.
//! 4. The affinity layer makes the response's headers of that one, else of its own.
//!
//! It knows its store, its key and the settings that concern it, so that whoever has it can act on the
//! session without a type parameter. It says what was true when the request was decided: another request
//! may have moved the pin since, which is why every change goes by the epoch.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::cooldown::Question;
use crate::headers::HeaderNames;
use crate::outcome::{Outcome, Stamp};
use crate::state::StateMark;
use crate::store::{AffinityStore, SharedStore};
use crate::telemetry::{self, Call};
use crate::{AffinityKey, Epoch, Expiry, ModelName, Pin, RouteName, Selection, StoreError};

/// The model for this request, in the extensions of every request that has one.
///
/// With the feature `axum` it is also an extractor. A handler takes the model from
/// [`model`](Self::model); a layer that fails over moves the pin with [`repin`](Self::repin).
///
/// ```
/// use affinity_layer::{BoxError, ModelName, PinnedModel};
/// use http::{Request, Response};
///
/// /// A handler that knows better than the router: it moves the session and says so.
/// async fn handle(request: Request<String>) -> Result<Response<String>, BoxError> {
///     let given = request.extensions().get::<PinnedModel>().ok_or("not below the layer")?;
///     let larger = ModelName::new("openai/gpt-4o")?;
///     let mut response = Response::new(format!("an answer of {larger}"));
///     if request.body().len() > 100_000 && *given.model() != larger {
///         // Without a session there is no pin to move, and the request alone goes elsewhere.
///         let moved = given.repin(larger.clone()).await?;
///         response.extensions_mut().insert(moved.unwrap_or_else(|| given.detour(larger)));
///     }
///     Ok(response)
/// }
/// ```
#[derive(Clone)]
pub struct PinnedModel {
    pub(crate) selection: Arc<Selection>,
    pub(crate) outcome: Outcome,
    pub(crate) pinned: bool,
    pub(crate) key: Option<AffinityKey>,
    pub(crate) epoch: Option<Epoch>,
    pub(crate) is_final: bool,
    pub(crate) store: SharedStore,
    /// How long the pin lives, for a move.
    pub(crate) expiry: Expiry,
    /// The time that one request may spend waiting for the store.
    pub(crate) store_budget: Duration,
    /// Whether the response shows the epoch.
    pub(crate) expose_epoch: bool,
    /// The names of the layer's headers.
    pub(crate) names: HeaderNames,
    /// What the session had before this request moved it.
    pub(crate) stood: Option<Arc<Selection>>,
    /// What the session has, where this is a detour from it.
    pub(crate) session: Option<Arc<Selection>>,
    /// Whether the response's id is to lead back to the session.
    pub(crate) links: bool,
    /// What the request asked for, where that was decided now.
    pub(crate) asked: Option<Question>,
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

    /// The last block of the conversation that the vendor of the session's own model cannot read, as
    /// [`state`](crate::state) describes.
    #[must_use]
    pub fn foreign(&self) -> Option<StateMark> {
        self.session.as_ref().unwrap_or(&self.selection).foreign()
    }

    /// The session's own model: [`model`](Self::model), except on a [detour](Self::detour).
    #[must_use]
    pub fn session_model(&self) -> &ModelName {
        self.session.as_ref().unwrap_or(&self.selection).model()
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

    /// The key of the session, if the request named one. Log it by its [kind](AffinityKey::kind) and not by
    /// its id: anyone who reads the id can use the session.
    #[must_use]
    pub fn key(&self) -> Option<&AffinityKey> {
        self.key.as_ref()
    }

    /// The epoch of the pin behind this request; `None` if there is no pin behind it.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// Whether the client sent `x-plano-affinity: final`.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.is_final
    }

    /// Moves the whole session to `model`, unless its pin has changed since this request read it: then
    /// the newer pin stays. Returns the pin that is stored now, with outcome [`Outcome::Repinned`];
    /// `None` if there is no pin to move, or this is a [detour](Self::detour), which says nothing about
    /// the session's own model.
    ///
    /// Put the returned value into the *response's* extensions, so that the response headers report the
    /// move. If it names another model than `model`, another request was first, and the session goes on
    /// with that one.
    ///
    /// It has no time limit of its own, and over near copies it waits until other replicas know of the move
    /// ([`coherence`](AffinityStore::coherence)). Call it when the new model has answered and not before: a
    /// session that moves to a model which then fails as well has moved for nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store fails; the pin is then as it was, as far as this side knows.
    pub async fn repin(&self, model: ModelName) -> Result<Option<Self>, StoreError> {
        self.change(self.selection.with_model(model)).await
    }

    /// Moves the session as [`repin`](Self::repin) does, to a model whose vendor cannot read the conversation
    /// up to the block `foreign`.
    pub(crate) async fn repin_with(
        &self,
        model: ModelName,
        foreign: Option<StateMark>,
    ) -> Result<Option<Self>, StoreError> {
        let foreign = foreign.or_else(|| self.foreign());
        self.change(self.selection.with_model(model).with_foreign(foreign)).await
    }

    /// Stores with the pin that the vendor of its model cannot read the conversation up to the block `last`.
    /// Returns what to put into the response's extensions, the outcome as it was; `None` as
    /// [`repin`](Self::repin), and where another request has changed the pin.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store fails.
    pub async fn note_foreign(&self, last: StateMark) -> Result<Option<Self>, StoreError> {
        let marked = (*self.selection).clone().with_foreign(Some(last));
        let noted = self.change(marked).await?;
        let noted =
            noted.filter(|noted| noted.foreign() == Some(last) && noted.model() == self.model());
        let Self { outcome, pinned, .. } = *self;
        Ok(noted.map(|noted| Self { outcome, pinned, ..noted }))
    }

    /// Replaces the pin by `selection`, unless it has changed since this request read it.
    async fn change(&self, selection: Selection) -> Result<Option<Self>, StoreError> {
        let (Some(key), Some(epoch), None) = (&self.key, self.epoch, &self.session) else {
            return Ok(None);
        };
        let moves = selection.model() != self.model();
        let selection = Arc::new(selection);
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
            // The client that learns of it may ask another replica next.
            sleep(coherence).await;
        }
        Ok(moved.map(|claim| {
            if claim.won && moves {
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
        let session = Some(self.session.as_ref().unwrap_or(&self.selection).clone());
        // The epoch is that of another model.
        Self { selection, pinned: false, expose_epoch: false, session, ..self.clone() }
    }

    /// Ends the session's pin if it still is the one that this request saw; says whether it did. The next
    /// request of the session is routed again.
    ///
    /// Use it when your application knows that a task is done. For the client's own word there is
    /// `x-plano-affinity: final`, for the model's [`AnswerLayer`](crate::AnswerLayer). It has no time limit of
    /// its own; `false` also when there is no pin behind this request.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store fails; the pin then stays until it expires.
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
    /// Moves the session to the model of `serving`, which has served this request, and returns what is to be
    /// reported. A move that is lost or fails takes nothing from the client: the answer is there, and only
    /// what is said of the session differs.
    pub(crate) async fn moved_to(&self, serving: Self, foreign: Option<StateMark>) -> Self {
        let moved = self.repin_with(serving.model().clone(), foreign);
        match timeout(self.store_limit(), moved).await {
            Ok(Ok(Some(moved))) if moved.model() == serving.model() => moved,
            // Another request has moved the session elsewhere; this answer is by our candidate.
            Ok(Ok(Some(_))) => Self { outcome: Outcome::Repinned, ..serving },
            // There is no pin to move.
            Ok(Ok(None)) => serving,
            // Whether the session has moved is unknown.
            Ok(Err(_)) | Err(_) => Self { outcome: Outcome::StoreUnavailable, ..serving },
        }
    }

    /// Withdraws a pin that this request has made or moved, for no model has served it.
    pub(crate) async fn undo(&self) {
        if !self.has_made_pin() {
            return;
        }
        if let Ok(Err(error)) = timeout(self.store_limit(), self.withdraw()).await {
            tracing::debug!(%error, "a pin that never served could not be withdrawn");
        }
    }

    /// Whether this request has made or moved the pin.
    pub(crate) fn has_made_pin(&self) -> bool {
        matches!(self.outcome, Outcome::Claimed | Outcome::Refreshed | Outcome::Repinned)
    }

    /// The longest wait for the store when a session moves or its pin is released: twice the budget, so
    /// that a store whose calls end within the budget can still decide the move.
    fn store_limit(&self) -> Duration {
        self.store_budget.saturating_mul(2)
    }

    /// Undoes what this request did to the pin: the session has again what it had before, else it is
    /// released.
    async fn withdraw(&self) -> Result<bool, StoreError> {
        let (Some(stood), Some(key), Some(epoch)) = (&self.stood, &self.key, self.epoch) else {
            return self.release().await;
        };
        let call = Call::store("repin");
        let moved = self.store.repin(key, epoch, stood.clone(), &self.expiry).await;
        call.answered(&moved, |standing| match standing {
            Some(claim) if claim.won => "won",
            Some(_) => "lost",
            None => "absent",
        });
        Ok(moved?.is_some_and(|claim| claim.won))
    }

    /// The headers of a response that was served by this model.
    pub(crate) fn stamp(&self) -> Stamp {
        let selection = Some(self.selection.clone());
        let epoch = self.epoch.filter(|_| self.expose_epoch);
        let (outcome, pinned, names) = (self.outcome, self.pinned, self.names.clone());
        Stamp { selection, outcome, pinned, epoch, names }
    }
}

/// Why a request went through the layer without a model, in its extensions. Three types and not the variants
/// of one: what has no size is put there without an allocation, and most requests are of these.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotAsked;

#[derive(Clone, Copy, Debug)]
pub(crate) struct NoSession;

#[derive(Clone, Copy, Debug)]
pub(crate) struct NoDecision;

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

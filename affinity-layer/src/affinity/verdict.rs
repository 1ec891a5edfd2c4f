//! What a request is given, and what was agreed on the way to it.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;

use super::core::Core;
use super::settings::Settings;
use crate::outcome::Outcome;
use crate::store::Claim;
use crate::{
    AffinityKey, AffinityStore, Epoch, Pin, PinnedModel, Rejection, RouterService, Selection,
};

/// What a session has before its request is decided.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    Nothing,
    Pin(Pin),
    /// A decision that this replica made while the store failed. It is told as such and not as a pin.
    Decided(Arc<Selection>),
}

impl Standing {
    pub(super) fn pin(self) -> Option<Pin> {
        match self {
            Self::Pin(pin) => Some(pin),
            Self::Nothing | Self::Decided(_) => None,
        }
    }

    pub(super) fn selection(self) -> Option<Arc<Selection>> {
        match self {
            Self::Pin(pin) => Some(pin.selection),
            Self::Decided(selection) => Some(selection),
            Self::Nothing => None,
        }
    }
}

/// What concurrent first requests of a session agree on.
#[derive(Clone, Debug)]
pub(super) enum Settled {
    /// A pin stands; it was won by the request that settled it, or by another replica.
    Pinned(Claim),
    /// A decision that the store did not take.
    Unstored(Arc<Selection>),
    /// The router gave none.
    RouterUnavailable,
}

/// The model of one request, and how it was found.
#[derive(Debug)]
pub(super) struct Verdict {
    selection: Option<Arc<Selection>>,
    epoch: Option<Epoch>,
    pub(super) outcome: Outcome,
    pinned: bool,
}

impl Verdict {
    pub(super) fn hit(pin: Pin) -> Self {
        Self::standing(pin, Outcome::Hit, true)
    }

    pub(super) fn standing(pin: Pin, outcome: Outcome, pinned: bool) -> Self {
        Self { selection: Some(pin.selection), epoch: Some(pin.epoch), outcome, pinned }
    }

    pub(super) fn unpinned(selection: Option<Arc<Selection>>, outcome: Outcome) -> Self {
        Self { selection, epoch: None, outcome, pinned: false }
    }
}

impl<St: AffinityStore, R: RouterService> Core<St, R> {
    /// The verdict for one of the requests that agreed on `settled`; `made` is what it did if it is
    /// the one whose decision that was. Without a new pin the session stays with the `standing` one,
    /// rather than nowhere.
    pub(super) fn verdict(
        &self,
        settled: Settled,
        made: Option<Outcome>,
        standing: Option<Pin>,
        parts: &Parts,
        body: &Bytes,
    ) -> Result<Verdict, Rejection> {
        let standing = standing.filter(|pin| self.settings.accepts(pin.selection.model()));
        Ok(match (settled, standing) {
            (Settled::Pinned(claim), _) => match made.filter(|_| claim.won) {
                Some(made) => Verdict::standing(claim.pin, made, made == Outcome::Hit),
                None => Verdict::standing(claim.pin, Outcome::Joined, true),
            },
            (Settled::Unstored(_), _) if self.settings.require_store => {
                return Err(Rejection::StoreUnavailable);
            }
            (Settled::Unstored(_), Some(pin)) => {
                Verdict::standing(pin, Outcome::StoreUnavailable, true)
            }
            (Settled::Unstored(selection), None) => {
                Verdict::unpinned(Some(selection), Outcome::StoreUnavailable)
            }
            (Settled::RouterUnavailable, Some(pin)) => {
                Verdict::standing(pin, Outcome::RouterUnavailable, true)
            }
            (Settled::RouterUnavailable, None) => {
                let requested = self.settings.requested(parts, body);
                let selection = requested.map(|model| Arc::new(Selection::of(model)));
                Verdict::unpinned(selection, Outcome::RouterUnavailable)
            }
        })
    }

    pub(super) fn pinned_model(
        &self,
        verdict: Verdict,
        key: Option<AffinityKey>,
        is_final: bool,
    ) -> Option<PinnedModel> {
        let Verdict { selection, epoch, outcome, pinned } = verdict;
        let hit = self.hit(selection?, epoch, key);
        Some(PinnedModel { outcome, pinned, is_final, ..hit })
    }

    /// What a request is given whose pin was found.
    pub(super) fn hit(
        &self,
        selection: Arc<Selection>,
        epoch: Option<Epoch>,
        key: Option<AffinityKey>,
    ) -> PinnedModel {
        let Settings { expiry, store_budget, expose_epoch, .. } = self.settings;
        let links = key.as_ref().is_some_and(|key| self.settings.keys.links(key));
        PinnedModel {
            selection,
            outcome: Outcome::Hit,
            pinned: true,
            key,
            epoch,
            is_final: false,
            store: self.shared.clone(),
            expiry,
            store_budget,
            expose_epoch,
            detour: false,
            links,
        }
    }

    /// `model`, or a detour for a request that it cannot take.
    pub(super) fn fitting(&self, model: PinnedModel, request: &Parts) -> PinnedModel {
        let detour = self.settings.detour.as_ref();
        match detour.and_then(|detour| detour(request, &model.selection)) {
            Some(other) if other != *model.model() => model.detour(other),
            _ => model,
        }
    }
}

//! What all services of one layer share: what decides, and what the layer adds to it.

use std::sync::Arc;

use http::request::Parts;
use http::{Extensions, HeaderMap};

use super::settings::Settings;
use crate::conversations::Conversations;
use crate::decide::{Decider, Verdict};
use crate::key::{BodyIds, IdKind, Seen};
use crate::observed::ObservingTasks;
use crate::router::AnyRouter;
use crate::{
    AffinityKey, AffinityStore, Epoch, Expiry, PinnedModel, Rejection, Selection, answer::Link,
};

/// A clone, which a changed setting makes, has the same store, flights and conversations.
pub(super) struct Shared<St> {
    pub(super) decider: Arc<Decider<St, AnyRouter>>,
    pub(super) settings: Settings,
    /// The conversations under way of clients that name no session.
    pub(super) conversations: Conversations,
    /// What is done for observed sessions beside their requests.
    pub(super) observing: ObservingTasks,
}

impl<St> Clone for Shared<St> {
    fn clone(&self) -> Self {
        Self {
            decider: self.decider.clone(),
            settings: self.settings.clone(),
            conversations: self.conversations.clone(),
            observing: self.observing.clone(),
        }
    }
}

impl<St: AffinityStore> Shared<St> {
    /// The session as far as it is known without the body and without waiting: by headers, else by the ids
    /// that a layer outside has read out of the body. A response's id is looked up only among what is at
    /// hand; `None` leaves it to `Arrival`, which may wait.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] for a session id or scope that is present and cannot be used.
    pub(super) fn known_session(
        &self,
        seen: &Seen<'_>,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Option<AffinityKey>, Rejection> {
        let keys = &self.settings.keys;
        if let Some(key) = keys.key(seen, headers, extensions)? {
            return Ok(Some(key));
        }
        let Some(ids) = extensions.get::<BodyIds>().filter(|_| keys.reads_bodies()) else {
            return Ok(None);
        };
        Ok(match keys.named(ids, headers, extensions)? {
            Some(response) if response.kind() == IdKind::Response => {
                let link = self.decider.store.peek(&response, &self.link_lifetime());
                let link = link.and_then(|pin| Link::from_stored(&response, &pin.selection));
                let key = link.map(Link::into_session);
                key.map(|key| keys.with_lane(key, extensions))
            }
            key => key,
        })
    }

    /// How long the link from a response to its session lives.
    pub(super) fn link_lifetime(&self) -> Expiry {
        Link::lifetime(&self.decider.rules.expiry)
    }

    /// What a request gets by its verdict; `None` for a request without a model.
    pub(super) fn given(
        &self,
        verdict: Verdict,
        key: Option<AffinityKey>,
        is_final: bool,
    ) -> Option<PinnedModel> {
        let (links, expose_epoch) = (self.links(key.as_ref()), self.settings.expose_epoch);
        let given = self.decider.given(verdict, key)?;
        let names = self.settings.names.clone();
        Some(PinnedModel { is_final, links, expose_epoch, names, ..given })
    }

    /// What a request gets if its pin was found.
    pub(super) fn hit(
        &self,
        selection: Arc<Selection>,
        epoch: Option<Epoch>,
        key: Option<AffinityKey>,
    ) -> PinnedModel {
        let (links, expose_epoch) = (self.links(key.as_ref()), self.settings.expose_epoch);
        let names = self.settings.names.clone();
        PinnedModel { links, expose_epoch, names, ..self.decider.hit(selection, epoch, key) }
    }

    /// Whether the id of a response is to lead back to the session.
    fn links(&self, key: Option<&AffinityKey>) -> bool {
        key.is_some_and(|key| self.settings.keys.links(key))
    }

    /// `model`, or a detour for a request that it cannot take. A detour to the model in use is none.
    pub(super) fn fitting(&self, model: PinnedModel, request: &Parts) -> PinnedModel {
        let detour = self.settings.detour.as_ref();
        match detour.and_then(|detour| detour(request, &model.selection)) {
            Some(other) if other != *model.model() => model.detour(other),
            _ => model,
        }
    }
}

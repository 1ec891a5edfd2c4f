//! The session of a request that no header names: by its body.
//!
//! The steps come in order of how much they can be wrong:
//!
//! 1. **An id in the body** ([`BodyId`]). The client sent it, and it is used if it can be a key. If it
//!    cannot, the next source is looked at: the members of a body belong to the provider's API, which
//!    judges them, so none of them is an error here.
//! 2. **A response that is followed.** Its id leads to a conversation through a link in the store.
//! 3. **A guess** by the opening of the conversation, if enabled, or together with a client's counter.
//! 4. **A new conversation**, for a request of `/responses` whose answer can be followed later. It gets a
//!    random id that nobody sends; the ids of its responses will lead to it.
//!
//! All of this needs the body, so it is only done where one of these is configured, and never for a
//! request that a header names. `Protocol` in the affinity room takes the steps; here is what each says.

use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderValue};

#[cfg(feature = "fingerprint")]
use super::single;
use super::{AffinityKey, BodyId, BodyIds, IdKind, KeySource};
use crate::Rejection;
#[cfg(feature = "fingerprint")]
use crate::agents::COUNTER_HEADER;

impl KeySource {
    /// Whether a body may name the session that the headers do not.
    pub(crate) fn reads_bodies(&self) -> bool {
        !self.body_ids.is_empty() || self.has_fingerprint()
    }

    /// Whether the body of a request with `headers` may name the session that they do not. If not, a request
    /// without a session that is not to be routed passes with its body unread.
    pub(crate) fn reads_body_of(&self, headers: &HeaderMap) -> bool {
        self.reads_bodies() || self.counter(headers).is_some()
    }

    /// The key by the ids of a body. One of [`IdKind::Response`] leads to the key and is not the key.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] when there is an id and no usable scope, as with an id in a header.
    pub(crate) fn named(
        &self,
        ids: &BodyIds,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Option<AffinityKey>, Rejection> {
        let Some(key) = ids.key(&self.body_ids) else {
            return Ok(None);
        };
        let key = key.with_scope(self.scope(headers, extensions)?);
        Ok(Some(self.with_lane(key, extensions)))
    }

    /// What guesses the session by the opening in a body, `None` when it is not to be guessed. It owns
    /// what it needs, so that a long body can be read on another thread.
    ///
    /// A request that follows a response is not guessed, because its body holds the new turn and not the
    /// opening.
    pub(crate) fn guesser(
        &self,
        ids: &BodyIds,
        parts: &Parts,
    ) -> Option<impl FnOnce(&[u8]) -> Option<AffinityKey> + Send + use<>> {
        let holds_opening = !ids.in_conversation && !ids.follows;
        // Without a scope it would come to nothing.
        let is_wanted = holds_opening && self.scope(&parts.headers, &parts.extensions).is_ok();
        if is_wanted { self.guess(&parts.headers) } else { None }
    }

    /// The key of a conversation that nothing names: the `guess` by its opening, or a new one. `None` also
    /// when the scope that it would need is missing: the request did not ask for a session.
    ///
    /// A request that names a `conversation` we do not read begins none: it continues one, and a session made
    /// now would last for this turn only.
    pub(crate) fn unnamed(
        &self,
        ids: &BodyIds,
        parts: &Parts,
        guess: Option<AffinityKey>,
    ) -> Option<AffinityKey> {
        let scope = self.scope(&parts.headers, &parts.extensions).ok()?;
        if ids.in_conversation {
            return None;
        }
        // The application may serve the API under any prefix.
        let begins =
            self.follows_responses() && ids.is_kept && parts.uri.path().ends_with("/responses");
        let key = guess.or_else(|| begins.then(AffinityKey::begun))?;
        Some(self.with_lane(key.with_scope(scope), &parts.extensions))
    }

    /// The key with the lane of the request at hand, where ids of its kind have lanes.
    pub(crate) fn with_lane(&self, key: AffinityKey, extensions: &Extensions) -> AffinityKey {
        match key.kind() {
            // An agent makes side calls under the id of its main loop, and others may have the same
            // opening for two models. Who names a session by hand means one session.
            IdKind::UserId | IdKind::Fingerprint => self.model_lane(key, extensions),
            _ => key,
        }
    }

    /// Whether responses of the session are to lead back to it: it has no id that a client could
    /// send.
    pub(crate) fn links(&self, key: &AffinityKey) -> bool {
        self.follows_responses() && !key.kind().is_sent()
    }

    /// Whether ids of responses are stored and looked up.
    fn follows_responses(&self) -> bool {
        self.body_ids.contains(&BodyId::PreviousResponseId)
    }

    #[cfg(feature = "fingerprint")]
    fn has_fingerprint(&self) -> bool {
        self.fingerprint.is_some()
    }

    /// What a client of the agents' preset counts its sessions by. It names none alone, so nothing is
    /// wrong with one that cannot be used.
    #[cfg(feature = "fingerprint")]
    fn counter<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let counter = single(headers, &COUNTER_HEADER).ok().flatten();
        counter.filter(|counter| self.reads_agents() && !counter.is_empty())
    }

    /// The key by the opening of the conversation: with the secret of the layer if it has a fingerprint, else
    /// only beside a client's counter, under a key of the hash that is no secret.
    #[cfg(feature = "fingerprint")]
    fn guess(
        &self,
        headers: &HeaderMap,
    ) -> Option<impl FnOnce(&[u8]) -> Option<AffinityKey> + Send + use<>> {
        let counter = self.counter(headers).cloned();
        let fingerprint = match &self.fingerprint {
            Some(fingerprint) => fingerprint.clone(),
            None => counter.as_ref().map(|_| super::Fingerprint::beside_counter())?,
        };
        Some(move |body: &[u8]| fingerprint.key(body, counter.as_ref().map(HeaderValue::as_bytes)))
    }

    #[cfg(not(feature = "fingerprint"))]
    fn has_fingerprint(&self) -> bool {
        false
    }

    #[cfg(not(feature = "fingerprint"))]
    fn counter<'a>(&self, _: &'a HeaderMap) -> Option<&'a HeaderValue> {
        None
    }

    #[cfg(not(feature = "fingerprint"))]
    fn guess(
        &self,
        _: &HeaderMap,
    ) -> Option<impl FnOnce(&[u8]) -> Option<AffinityKey> + Send + use<>> {
        None::<fn(&[u8]) -> Option<AffinityKey>>
    }
}

//! What leads from the id of a response to its conversation.
//!
//! A client of Responses continues a conversation by `previous_response_id` and may send no other id.
//! That id is the provider's and changes with each answer, so each one is stored with the session that
//! it belongs to. The [body](super::body) stores a link before the client can know the id; the affinity
//! layer reads it when a request names no session but a response.
//!
//! A link leads to the session and not to a model. A copy of the pin under each id would have to be
//! found and moved with the session; as it is, a session that moves, moves for all of its responses.

use std::sync::Arc;

use crate::{AffinityKey, Expiry, ModelName, Selection};

/// A session, as the store keeps it under the id of one of its responses.
///
/// In the store a link is a selection whose model spells the session, so that every store of pins
/// keeps links too. No pin of a session is taken for a link: links have keys of their own kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    session: AffinityKey,
}

impl Link {
    /// A link to `session`. What the store keeps of it has no scope: a link is stored and read in the scope
    /// of its conversation, so that no tenant can follow the response of another.
    pub(crate) fn to(session: AffinityKey) -> Self {
        Self { session }
    }

    /// The link that is stored under `response`; it leads to a session of the same scope. `None` for
    /// a selection that is not a link.
    pub(crate) fn from_stored(response: &AffinityKey, stored: &Selection) -> Option<Self> {
        let session = AffinityKey::of_name(stored.model().as_str())?;
        Some(Self::to(session.with_scope_of(response)))
    }

    /// What the store keeps; `None` for a session whose name is too long for the name of a model. Links
    /// are made to conversations and guesses, whose ids are ours and short.
    pub(super) fn to_stored(&self) -> Option<Arc<Selection>> {
        let name = ModelName::new(&self.session.name()).ok()?;
        Some(Arc::new(Selection::of(name)))
    }

    /// The session that it leads to.
    pub(crate) fn into_session(self) -> AffinityKey {
        self.session
    }

    /// How long a link lives: as long as a pin that is always in use. It does not slide, because a use
    /// of the session reads one link, the newest, and an older one may still be branched off from.
    pub(crate) fn lifetime(pins: &Expiry) -> Expiry {
        Expiry::fixed(pins.limits().map_or_else(|| pins.initial(), |(_, max_age)| max_age))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Scope;
    use crate::key::IdKind;

    #[test]
    fn a_link_leads_to_a_session_of_ours_in_its_own_scope() {
        let scope = Some(Scope::new("acme").unwrap());
        let begun = AffinityKey::begun();
        let response = AffinityKey::of_response("resp_1").unwrap().with_scope(scope.clone());
        let stored = Link::to(begun.clone()).to_stored().unwrap();
        let session = Link::from_stored(&response, &stored).unwrap().into_session();
        assert_eq!(session, begun.with_scope(scope));
        assert_eq!(session.kind(), IdKind::Begun);
    }

    #[test]
    fn a_selection_that_is_no_link_leads_nowhere() {
        let response = AffinityKey::of_response("resp_1").unwrap();
        for name in ["openai/gpt-4o", "%conversation=c", "%response=r", "%begun=", "s"] {
            let stored = Selection::of(ModelName::new(name).unwrap());
            assert_eq!(Link::from_stored(&response, &stored), None, "{name}");
        }
    }

    #[test]
    fn a_link_lives_as_long_as_a_pin_may() {
        let (idle, age) = (Duration::from_secs(5), Duration::from_secs(60));
        assert_eq!(Link::lifetime(&Expiry::fixed(idle)), Expiry::fixed(idle));
        assert_eq!(Link::lifetime(&Expiry::sliding(idle, age)), Expiry::fixed(age));
    }
}

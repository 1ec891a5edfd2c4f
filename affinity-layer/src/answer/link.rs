//! What leads to a conversation from an answer in it.
//!
//! A client of Responses continues a conversation by `previous_response_id` and may send no other id.
//! That id is the provider's and changes with each answer, so each one is stored with the session that
//! it belongs to. The [body](super::body) stores a link before the client can know the id; the affinity
//! layer reads it when a request names no session but a response. A client that sends no id at all is
//! followed by links from what [was said](super::continuation).
//!
//! A link leads to the session and not to a model. A copy of the pin under each id would have to be
//! found and moved with the session; as it is, a session that moves, moves for all of its responses.

use std::sync::Arc;

use crate::key::Print;
use crate::{AffinityKey, Expiry, ModelName, Selection};

/// Ends the name of a session in a link that knows more. No id of ours holds one.
const AFTER_SESSION: char = '+';

/// A session, as the store keeps it under the id of one of its responses.
///
/// In the store a link is a selection whose model spells the session, so that every store of pins
/// keeps links too. No pin of a session is taken for a link: links have keys of their own kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    session: AffinityKey,
    /// The request that the session had served last when the link was made; unknown for a response's id.
    served: Option<ServedRequest>,
}

/// A request that a session has served. A link holds while it is the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServedRequest {
    /// How many messages it had.
    pub(crate) messages: usize,
    /// The print of its messages.
    pub(crate) print: Print,
}

impl Link {
    /// A link to `session`. What the store keeps of it has no scope: a link is stored and read in the scope
    /// of its conversation, so that no tenant can follow the response of another.
    pub(crate) fn to(session: AffinityKey) -> Self {
        Self { session, served: None }
    }

    /// The same, as long as the session has served nothing after `request`.
    pub(crate) fn serving(self, request: ServedRequest) -> Self {
        Self { served: Some(request), ..self }
    }

    /// The link that is stored under `response`; it leads to a session of the same scope. `None` for
    /// a selection that is not a link.
    pub(crate) fn from_stored(response: &AffinityKey, stored: &Selection) -> Option<Self> {
        let name = stored.model().as_str();
        let (name, served) = match name.split_once(AFTER_SESSION) {
            Some((name, served)) => (name, Some(ServedRequest::of_name(served)?)),
            None => (name, None),
        };
        let session = AffinityKey::of_name(name)?.with_scope_of(response);
        Some(Self { session, served })
    }

    /// What the store keeps; `None` for a session whose name is too long for the name of a model. Links
    /// are made to conversations and guesses, whose ids are ours and short.
    pub(super) fn to_stored(&self) -> Option<Arc<Selection>> {
        let mut name = self.session.name();
        if let Some(served) = self.served {
            let ServedRequest { messages, print } = served;
            name = format!("{name}{AFTER_SESSION}{messages}{AFTER_SESSION}{}", print.to_hex());
        }
        Some(Arc::new(Selection::of(ModelName::new(&name).ok()?)))
    }

    /// The request that was served last when the link was made.
    pub(crate) fn served(&self) -> Option<ServedRequest> {
        self.served
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

    /// How long a link from what was said lives: it is written anew with each answer of its session, and
    /// expires with the pin.
    pub(crate) fn lifetime_of_said(pins: &Expiry) -> Expiry {
        Expiry::fixed(pins.initial())
    }
}

impl ServedRequest {
    /// What a link names after its session.
    fn of_name(name: &str) -> Option<Self> {
        let (messages, print) = name.split_once(AFTER_SESSION)?;
        Some(Self { messages: messages.parse().ok()?, print: Print::from_hex(print)? })
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
    fn a_link_knows_how_much_was_served() {
        let said = AffinityKey::of_response("any").unwrap();
        let print = Print::from_hex("ff").unwrap();
        let link = Link::to(AffinityKey::drawn()).serving(ServedRequest { messages: 12, print });
        let stored = link.to_stored().unwrap();
        assert_eq!(Link::from_stored(&said, &stored), Some(link));
    }

    #[test]
    fn a_selection_that_is_no_link_leads_nowhere() {
        let response = AffinityKey::of_response("resp_1").unwrap();
        for name in
            ["openai/gpt-4o", "%conversation=c", "%response=r", "%begun=", "s", "%begun=s+1"]
        {
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

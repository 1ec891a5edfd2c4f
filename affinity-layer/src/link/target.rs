//! What stands under a response's id: a selection whose model is the name of a session.
//!
//! In this form any store of pins keeps links as well, one that is not ours included. No pin of a
//! session can be taken for one: it stands under a key of its own kind.

use std::sync::Arc;

use crate::{AffinityKey, Expiry, ModelName, Selection};

/// How long a link lives: as long as a pin may that is used all the time.
pub(crate) fn lifetime(expiry: &Expiry) -> Expiry {
    Expiry::fixed(expiry.limits().map_or_else(|| expiry.initial(), |(_, max_age)| max_age))
}

/// A link to the session of `key`.
pub(super) fn link(key: &AffinityKey) -> Option<Arc<Selection>> {
    ModelName::new(&key.name()).ok().map(|name| Arc::new(Selection::of(name)))
}

/// The session that a link under `response` leads to, in the same scope.
pub(crate) fn target(response: &AffinityKey, link: &Selection) -> Option<AffinityKey> {
    AffinityKey::of_name(link.model().as_str()).map(|key| key.with_scope_of(response))
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
        let found = target(&response, &link(&begun).unwrap()).unwrap();
        assert_eq!(found, begun.with_scope(scope));
        assert_eq!(found.kind(), IdKind::Begun);
    }

    #[test]
    fn what_is_no_link_leads_nowhere() {
        let response = AffinityKey::of_response("resp_1").unwrap();
        for name in ["openai/gpt-4o", "%conversation=c", "%response=r", "%begun=", "s"] {
            let stored = Selection::of(ModelName::new(name).unwrap());
            assert_eq!(target(&response, &stored), None, "{name}");
        }
    }

    #[test]
    fn a_link_lives_as_long_as_a_pin_may() {
        let (idle, age) = (Duration::from_secs(5), Duration::from_secs(60));
        assert_eq!(lifetime(&Expiry::fixed(idle)), Expiry::fixed(idle));
        assert_eq!(lifetime(&Expiry::sliding(idle, age)), Expiry::fixed(age));
    }
}

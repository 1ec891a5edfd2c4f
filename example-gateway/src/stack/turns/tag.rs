//! What a session is called where people read.
//!
//! Ids of sessions are secrets: whoever knows one can use and end the session. Logs, the ledger and the
//! live page need a name all the same, to show which turns belong together.

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::OnceLock;

use serde::{Serialize, Serializer};

/// A short keyed hash of a session with its scope and lane: enough to distinguish sessions, and no way
/// back to an id. The key is drawn at the start of the process, so another replica calls the session
/// otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionTag(u64);

impl SessionTag {
    /// That of a session, or of the name of its pin if it is not known whose pin it is.
    pub(crate) fn of(key: &impl Hash) -> Self {
        static STATE: OnceLock<RandomState> = OnceLock::new();
        // 48 bits: short enough for a log line, and among 10,000 sessions no two are alike.
        Self(STATE.get_or_init(RandomState::new).hash_one(key) >> 16)
    }
}

impl fmt::Display for SessionTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

impl Serialize for SessionTag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use affinity_layer::AffinityKey;

    use super::*;

    #[test]
    fn a_tag_tells_sessions_and_lanes_apart_and_shows_no_id() {
        let key = AffinityKey::new("hush").unwrap();
        let tag = SessionTag::of(&key);
        assert_eq!(tag, SessionTag::of(&AffinityKey::new("hush").unwrap()));
        assert_ne!(tag, SessionTag::of(&AffinityKey::new("hush2").unwrap()));
        assert_ne!(tag, SessionTag::of(&key.with_lane("l").unwrap()));
        let text = tag.to_string();
        assert!(text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit()), "{text}");
    }
}

//! Provider-bound state: what a request holds that only one vendor can read, such as signed thinking.
//!
//! A client sends it back with every request of the conversation. As long as the session stays with the
//! vendor that made it, nobody has to know. When the session moves to another vendor, that part of the
//! conversation is foreign there, and it stays so: the client sends it again beside what the new vendor adds.
//! So the pin remembers how far the foreign part goes, as a [`StateMark`]: a keyed hash of the last
//! foreign block. A service that puts the request together leaves out foreign blocks up to that one, the
//! same in every request, so that the new vendor's prompt cache sees one prefix, and lets all later ones
//! pass.
//!
//! The layer does not read bodies for this. An application that does
//!
//! 1. says by [`AffinityLayer::on_decision`](crate::AffinityLayer::on_decision) what a new decision makes of
//!    a session whose request holds such state,
//! 2. reads [`PinnedModel::foreign`](crate::PinnedModel::foreign) where it calls the model, and
//! 3. puts a [`LeftOut`](crate::ext::LeftOut) into the response's extensions when it left something out. A
//!    [`FailoverLayer`](crate::FailoverLayer) stores its mark when it moves the session.
//!
//! ```
//! use affinity_layer::{AffinityKey, ModelName, Selection, state::StateMark};
//!
//! let key = AffinityKey::new("task-1")?;
//! let mark = StateMark::of(&key, b"EqoBCkgIARAB");
//! let moved = Selection::of(ModelName::new("b/two")?).with_foreign(Some(mark));
//! assert_eq!(moved.foreign(), Some(StateMark::of(&key, b"EqoBCkgIARAB")));
//! assert_ne!(mark, StateMark::of(&AffinityKey::new("task-2")?, b"EqoBCkgIARAB"));
//! # Ok::<(), affinity_layer::BoxError>(())
//! ```

use std::fmt;
use std::hash::Hasher;
use std::num::NonZeroU64;

use siphasher::sip::SipHasher24;

use crate::AffinityKey;

/// A block of a session's conversation, as 64 bits of a hash that is keyed with the session.
///
/// Every replica computes the same mark of the same block, and two sessions with one block have two marks.
/// It displays as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StateMark(NonZeroU64);

impl StateMark {
    /// The mark of `block` in the session of `key`.
    #[must_use]
    pub fn of(key: &AffinityKey, block: &[u8]) -> Self {
        let mut hasher = SipHasher24::new();
        for part in key.parts().into_iter().chain([block]) {
            // The length first, so that the end of one part cannot pass for the beginning of the next.
            hasher.write_u64((part.len() as u64).to_le());
            hasher.write(part);
        }
        Self(NonZeroU64::new(hasher.finish()).unwrap_or(NonZeroU64::MIN))
    }

    /// The mark that displays as `text`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = u64::from_str_radix(text, 16).ok().filter(|_| is_hex);
        bits.and_then(NonZeroU64::new).map(Self)
    }
}

impl fmt::Display for StateMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scope;

    #[test]
    fn a_mark_belongs_to_one_block_of_one_session() {
        let key = |id: &str| AffinityKey::new(id).unwrap();
        let mark = StateMark::of(&key("a"), b"bc");
        assert_eq!(mark, StateMark::of(&key("a"), b"bc"));
        assert_eq!(StateMark::parse(&mark.to_string()), Some(mark));
        let scoped = key("a").with_scope(Some(Scope::new("s").unwrap()));
        let others = [(key("a"), "b"), (key("ab"), "c"), (scoped, "bc"), (key("b"), "bc")];
        for (key, block) in others {
            assert_ne!(mark, StateMark::of(&key, block.as_bytes()), "{}", key.encode(""));
        }
        // What another replica, of another build, has stored is understood.
        assert_eq!(mark.to_string(), "dec889fe076d55a4");
    }

    #[test]
    fn what_is_no_mark_is_none() {
        for text in ["", "0", "0000000000000000", "+000000000000001", "zz", "00000000000000001"] {
            assert_eq!(StateMark::parse(text), None, "{text}");
        }
    }
}

//! The secret by which conversations are known that name no session.
//!
//! Most agent frameworks send no id at all. Their requests do have something in common, though: each holds
//! the conversation so far. [`Transcript`](super::Transcript) says what of it counts, and
//! `affinity/recognise.rs` how the session is found. It is the last source to be looked at, because it is
//! the only one that can be wrong.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use super::print::PrintKey;

/// Finds the sessions of clients that send no id at all, by what was said in them.
///
/// A request is placed in the session of the answer that it goes on from, by the strongest evidence that
/// there is:
///
/// 1. the id of a call in an answer, if the provider drew it at random,
/// 2. the text of an answer, together with the first message of the user,
/// 3. all messages of a request that was served, if this one repeats them: as the same request once more,
///    or as the beginning of a longer one.
///
/// Each answer is gone on from once. Two conversations that part are one session up to there and two
/// from there on, whether a message was edited, an answer regenerated, or two strangers began alike. A
/// first request has no evidence and begins a session; an identical one joins it while the first is
/// under way, and after its answer was lost.
///
/// The hashes are kept in the store as links, a few for each session, which expire with its pin; an
/// [`AnswerLayer`](crate::AnswerLayer) below writes them as an answer passes. Without one, only the
/// messages of requests count. A session that is found so is also found by
/// [`PreviousResponseId`](crate::BodyId::PreviousResponseId).
///
/// It is a guess. A client that rewrites its earlier messages in each step is not known again, and needs
/// a header.
///
/// The hashes are keyed so that nobody who reads the store, and knows how people begin, can tell who has
/// asked what.
///
/// ```
/// use affinity_layer::{
///     AffinityLayer, BoxError, Fingerprint, MemoryStore, RouteDecision, RouteRequest,
/// };
/// use tower::service_fn;
///
/// # fn secret_of_the_fleet() -> String { "at least 128 random bits".into() }
/// # let router = service_fn(|_: RouteRequest| async { Ok::<_, BoxError>(RouteDecision::none()) });
/// let affinity = AffinityLayer::new(MemoryStore::default(), router)
///     .fingerprint(Fingerprint::new(&secret_of_the_fleet()));
/// ```
#[derive(Clone)]
pub struct Fingerprint(PrintKey);

impl Fingerprint {
    /// Derives the key of the hashes from `secret`, which should hold at least 128 random bits. Replicas
    /// over one store need the same secret.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        Self::derived("affinity-layer 2026-11-30 prints of what was said", secret.as_bytes())
    }

    /// Draws the key at random: no other process finds the same sessions, nor does this one once it
    /// was started again. Right for pins in memory, which end with the process as well.
    #[must_use]
    pub fn random() -> Self {
        let half = || RandomState::new().hash_one(()).to_le_bytes();
        Self::derived("affinity-layer 2026-11-30 random prints", &[half(), half()].concat())
    }

    /// For openings that come with a counter of the client, such as goose's date and number, which strangers
    /// send as well. The key is not secret: the id is as hard to guess as both together, and every replica
    /// finds it.
    pub(super) fn beside_counter() -> Self {
        Self::derived("affinity-layer 2026-11-30 openings beside a counter", &[])
    }

    pub(super) fn key(&self) -> PrintKey {
        self.0.clone()
    }

    fn derived(context: &str, secret: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(secret);
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        Self(PrintKey::new(key))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fingerprint").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Transcript;

    #[test]
    fn it_depends_on_the_secret_and_shows_none() {
        let print = |fingerprint: &Fingerprint| {
            Transcript::of(br#"{"input":"hello"}"#, &fingerprint.key()).unwrap().request()
        };
        let one = Fingerprint::new("hunter2");
        assert_eq!(print(&one), print(&Fingerprint::new("hunter2")));
        assert_ne!(print(&one), print(&Fingerprint::new("hunter3")));
        assert_ne!(print(&Fingerprint::random()), print(&Fingerprint::random()));
        assert_eq!(format!("{one:?}"), "Fingerprint { .. }");
    }
}

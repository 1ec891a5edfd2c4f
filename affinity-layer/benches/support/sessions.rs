//! Many sessions: their keys and pins, and which of them comes next.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Waker};

use affinity_layer::{AffinityKey, AffinityStore, Expiry, MemoryStore, ModelName, Selection};

use crate::session;

static SELECTION: LazyLock<Arc<Selection>> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the name is a good one")]
    let model = ModelName::new("openai/gpt-4o").expect("a model");
    Arc::new(Selection::of(model))
});

/// What all sessions are pinned to.
#[must_use]
pub fn selection() -> Arc<Selection> {
    SELECTION.clone()
}

/// The key of session `n`.
#[must_use]
pub fn key(n: u64) -> AffinityKey {
    #[expect(clippy::expect_used, reason = "hexadecimal digits and dashes are good ids")]
    AffinityKey::new(&session(n)).expect("an id")
}

/// Pins a session.
pub fn claim(store: &MemoryStore, key: &AffinityKey, expiry: &Expiry) {
    let claimed = pin!(store.claim(key, selection(), expiry));
    // In memory nothing is waited for.
    drop(claimed.poll(&mut Context::from_waker(Waker::noop())));
}

/// Numbers that look random and are the same in each run (SplitMix64).
#[derive(Debug, Default)]
pub struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `end`, each as likely as the others.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A number below `end`, of which k is about 1/k as likely as the first: Zipf's law.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a rank below some millions"
    )]
    pub fn zipf(&mut self, end: u64) -> u64 {
        let part = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        (end as f64).powf(part) as u64
    }
}

//! What this process remembers of who has served a session.
//!
//! It outlives the pin: when a session is decided again after its pin has expired or was released, what
//! the client sends back may be another vendor's. It is kept in this process only, and lost with it; then
//! the new vendor's refusal tells.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use affinity_layer::state::StateMark;
use affinity_layer::{AffinityKey, ModelName};

use crate::upstream::vendor::Vendor;

/// The sessions that are remembered are at least half as many, and at most so many.
const MOST: usize = 65_536;

/// Locks, so that threads seldom meet at one.
const SHARDS: usize = 16;

/// Who served a session last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Served {
    pub(super) vendor: Vendor,
    pub(super) model: ModelName,
    /// The last block that this vendor cannot read.
    pub(super) foreign: Option<StateMark>,
}

/// The sessions that were served here, each with who served it last.
#[derive(Debug, Default)]
pub(crate) struct LastServed {
    /// Keyed, so that no client can choose what collides.
    state: RandomState,
    shards: [Mutex<Generations>; SHARDS],
}

/// Sessions in two generations: when the younger one is full, the older one is forgotten.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<u64, Served>,
    old: HashMap<u64, Served>,
}

impl LastServed {
    /// Who served the session of `key` last, if that is remembered.
    pub(super) fn get(&self, key: &AffinityKey) -> Option<Served> {
        let hash = self.state.hash_one(key);
        let shard = self.shard(hash)?;
        shard.young.get(&hash).or_else(|| shard.old.get(&hash)).cloned()
    }

    /// Remembers who has just served the session of `key`.
    pub(super) fn note(&self, key: &AffinityKey, served: &Served) {
        let hash = self.state.hash_one(key);
        let Some(mut shard) = self.shard(hash) else { return };
        if shard.young.get(&hash) == Some(served) {
            return;
        }
        shard.old.remove(&hash);
        shard.young.insert(hash, served.clone());
        if shard.young.len() >= MOST / SHARDS / 2 {
            shard.old = mem::take(&mut shard.young);
        }
    }

    fn shard(&self, hash: u64) -> Option<MutexGuard<'_, Generations>> {
        // The low bits choose the place within a map.
        let place = usize::try_from(hash >> 60).unwrap_or_default();
        let shard = self.shards.get(place)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Mode};

    #[test]
    fn sessions_in_use_are_remembered_and_the_memory_is_bounded() {
        let text = "version: v0.4.0\nmodel_providers: [{model: openai/a, access_key: k}]";
        let config = Config::parse(text, "test", &|_| None, Mode::Full).unwrap();
        let provider = &config.providers[0];
        let (vendor, model) = (Vendor::of(provider), provider.model.clone());
        let served = Served { vendor, model, foreign: None };
        let key = |n: usize| AffinityKey::new(&format!("s{n}")).unwrap();
        let last = LastServed::default();
        assert_eq!(last.get(&key(0)), None);
        for n in 0..3 * MOST {
            last.note(&key(n), &served);
            if n % 1000 == 0 {
                last.note(&key(0), &served);
            }
        }
        assert_eq!(last.get(&key(0)), Some(served.clone()));
        assert_eq!(last.get(&key(3 * MOST - 1)), Some(served));
        assert_eq!(last.get(&key(1)), None);
        let counts = last.shards.iter().map(|shard| {
            let shard = shard.lock().unwrap();
            shard.young.len() + shard.old.len()
        });
        let count: usize = counts.sum();
        assert!((MOST / 4..=MOST).contains(&count), "{count}");
    }
}

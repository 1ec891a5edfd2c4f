//! What this process remembers of sessions, for as many as fit.
//!
//! Clients choose how many sessions there are, so the memory is bounded. Sessions are kept in two generations:
//! when the younger one is full, the older one is forgotten. What is changed or written is young again.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use affinity_layer::AffinityKey;

/// The sessions that are remembered are at least half as many, and at most so many.
const MOST: usize = 65_536;

/// Locks, so that threads seldom meet at one.
const SHARDS: usize = 16;

/// A value for each session.
pub(crate) struct SessionTable<V> {
    /// Keyed, so that no client can choose what collides.
    state: RandomState,
    shards: [Mutex<Generations<V>>; SHARDS],
}

struct Generations<V> {
    young: HashMap<u64, V>,
    old: HashMap<u64, V>,
}

impl<V> Default for Generations<V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<V> Default for SessionTable<V> {
    fn default() -> Self {
        Self { state: RandomState::new(), shards: Default::default() }
    }
}

impl<V> fmt::Debug for SessionTable<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionTable").finish_non_exhaustive()
    }
}

impl<V> SessionTable<V> {
    /// What is remembered of the session of `key`.
    pub(crate) fn get(&self, key: &AffinityKey) -> Option<V>
    where
        V: Clone,
    {
        let hash = self.state.hash_one(key);
        let shard = self.shard(hash)?;
        shard.young.get(&hash).or_else(|| shard.old.get(&hash)).cloned()
    }

    /// Remembers `value` of the session of `key`.
    pub(crate) fn note(&self, key: &AffinityKey, value: V) {
        let hash = self.state.hash_one(key);
        if let Some(mut shard) = self.shard(hash) {
            shard.old.remove(&hash);
            shard.insert(hash, value);
        }
    }

    /// Changes what is remembered of the session of `key`; `None` if that is nothing.
    pub(crate) fn change<T>(
        &self,
        key: &AffinityKey,
        change: impl FnOnce(&mut V) -> T,
    ) -> Option<T> {
        let hash = self.state.hash_one(key);
        let mut shard = self.shard(hash)?;
        let mut value = shard.young.remove(&hash).or_else(|| shard.old.remove(&hash))?;
        let changed = change(&mut value);
        shard.insert(hash, value);
        Some(changed)
    }

    /// The same, beginning with the default.
    pub(crate) fn change_or_begin<T>(
        &self,
        key: &AffinityKey,
        change: impl FnOnce(&mut V) -> T,
    ) -> T
    where
        V: Default,
    {
        let hash = self.state.hash_one(key);
        let Some(mut shard) = self.shard(hash) else { return change(&mut V::default()) };
        let known = shard.young.remove(&hash).or_else(|| shard.old.remove(&hash));
        let mut value = known.unwrap_or_default();
        let changed = change(&mut value);
        shard.insert(hash, value);
        changed
    }

    fn shard(&self, hash: u64) -> Option<MutexGuard<'_, Generations<V>>> {
        // The low bits choose the place within a map.
        let place = usize::try_from(hash >> 60).unwrap_or_default();
        let shard = self.shards.get(place)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<V> Generations<V> {
    fn insert(&mut self, hash: u64, value: V) {
        self.young.insert(hash, value);
        if self.young.len() >= MOST / SHARDS / 2 {
            self.old = mem::take(&mut self.young);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_in_use_are_remembered_and_the_memory_is_bounded() {
        let key = |n: usize| AffinityKey::new(&format!("s{n}")).unwrap();
        let table = SessionTable::default();
        assert_eq!(table.get(&key(0)), None);
        assert_eq!(table.change(&key(0), |_| ()), None);
        for n in 0..3 * MOST {
            table.note(&key(n), n);
            if n % 1000 == 0 {
                table.change(&key(0), |value| *value = n);
            }
        }
        assert_eq!(table.get(&key(0)), Some(196_000), "it was changed again and again");
        assert_eq!(table.get(&key(3 * MOST - 1)), Some(3 * MOST - 1));
        assert_eq!(table.get(&key(1)), None);
        let counts = table.shards.iter().map(|shard| {
            let shard = shard.lock().unwrap();
            shard.young.len() + shard.old.len()
        });
        let count: usize = counts.sum();
        assert!((MOST / 4..=MOST).contains(&count), "{count}");
    }
}

//! Where the entries are: several maps, so that their tables are well filled.
//!
//! A hash table doubles when it is seven eighths full, and a concurrent map has a power of two of
//! tables. One map for the whole store would thus hold between 44 % and 88 % of what it has
//! allocated, depending on the capacity that someone configured, and all its tables would double
//! within a short time: a pause, and twice the memory. So a store has one map for each 2,924
//! entries, each with two tables of 2,048 places, which are some 71 % full when the store is.
//!
//! A small store has one map with more tables instead, so that threads do not wait for each other.

use dashmap::DashMap;

use super::digest::{Digest, IdentityState};
use super::slot::Slot;

/// Places of a table of a large store, of which seven eighths can be taken before it doubles.
const TABLE_PLACES: usize = 2048;

/// Entries for which a table is meant: with five sevenths of its places taken, it has room for chance,
/// and for the marks that entries leave behind until it has to be rebuilt.
const TABLE_SIZE: usize = TABLE_PLACES * 5 / 7;

/// Tables in which a small store is kept, so that two threads seldom want the same one.
const MIN_TABLES: usize = 16;

/// Beyond 47 million entries the tables grow.
const MAX_PARTS: usize = 1 << 14;

/// The parts of a store of `capacity`: when it is full, its tables are well filled.
pub(super) fn parts(capacity: usize) -> usize {
    capacity.div_ceil(2 * TABLE_SIZE).clamp(1, MAX_PARTS)
}

/// A concurrent map of one part; its shards are called tables here.
type Map = DashMap<Digest, Slot, IdentityState>;

/// A map for each part. The tables of a map are a power of two, and so are the places of a table:
/// one map for all would leave more than half of them empty at some capacities.
#[derive(Debug)]
pub(super) struct Slots {
    /// All maps but one.
    others: Box<[Map]>,
    /// The last one, apart, so that a lookup always has a map to return and no index can panic.
    last: Map,
    /// Whether the tables are of the size that is meant.
    large: bool,
}

impl Slots {
    /// Maps for so many parts, with no place allocated yet.
    pub(super) fn new(parts: usize) -> Self {
        let tables = MIN_TABLES.div_ceil(parts).next_power_of_two().max(2);
        let map = || DashMap::with_hasher_and_shard_amount(IdentityState, tables);
        let large = tables == 2 && parts < MAX_PARTS;
        Self { others: (1..parts).map(|_| map()).collect(), last: map(), large }
    }

    /// The map that may hold `digest`.
    pub(super) fn of(&self, digest: Digest) -> &Map {
        let part = digest.part(self.others.len() + 1);
        self.others.get(part).unwrap_or(&self.last)
    }

    /// Takes back what the table of `digest` has grown by without need: removed entries leave marks
    /// that only a new table is free of, and one that is more than half full doubles for it.
    pub(super) fn trim(&self, digest: Digest) {
        let map = self.of(digest);
        if self.large && map.capacity() > 2 * TABLE_PLACES && map.len() < 2 * TABLE_PLACES * 3 / 4 {
            map.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::super::clock::Place;
    use super::super::digest::Digester;
    use super::super::slot::Position;
    use super::*;
    use crate::{Epoch, ModelName, Selection};

    #[test]
    fn a_store_has_parts_of_some_thousands() {
        for (capacity, count) in [
            (0, 1),
            (1, 1),
            (2 * TABLE_SIZE, 1),
            (2 * TABLE_SIZE + 1, 2),
            (100_000, 35),
            (1_000_000, 342),
            (10_000_000, 3420),
            (usize::MAX, MAX_PARTS),
        ] {
            assert_eq!(parts(capacity), count, "{capacity}");
        }
    }

    fn maps(slots: &Slots) -> impl Iterator<Item = &Map> {
        slots.others.iter().chain([&slots.last])
    }

    #[test]
    fn a_full_store_fills_its_tables_and_they_stay_as_they_are() {
        let (digester, selection) =
            (Digester::default(), Arc::new(Selection::of(ModelName::new("a/b").unwrap())));
        let digest = |n: usize| digester.digest(|hash| hash(&n.to_le_bytes()));
        for capacity in [40_000, 60_000] {
            let slots = Slots::new(parts(capacity));
            let enter = |n| {
                let slot = Slot {
                    selection: selection.clone(),
                    epoch: Epoch(1),
                    claimed_at: 0,
                    expires_at: AtomicU64::new(0),
                    tag: 0,
                    position: Position::new(Place { index: 0, reused: false }),
                };
                slots.of(digest(n)).insert(digest(n), slot);
                slots.trim(digest(n));
            };
            (0..capacity).for_each(&enter);
            let room = || maps(&slots).map(DashMap::capacity).sum::<usize>();
            let full = room();
            assert!(full * 5 < capacity * 7, "{capacity}: room for {full}");
            // Others in their places, four times over: what they leave marked adds up.
            for n in 0..4 * capacity {
                assert!(slots.of(digest(n)).remove(&digest(n)).is_some());
                enter(n + capacity);
            }
            // A marked place counts as no room.
            assert!(room() <= full, "{capacity}: room for {full} and then for {}", room());
            assert_eq!(maps(&slots).map(DashMap::len).sum::<usize>(), capacity);
        }
    }
}

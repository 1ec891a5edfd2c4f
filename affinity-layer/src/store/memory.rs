//! Pins in this process.

mod clock;
mod digest;
mod interner;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::time::Instant;

use self::clock::{Clocks, Place};
use self::digest::{Digest, Digester, IdentityState};
use self::interner::Interner;
use super::{AffinityStore, Claim};
use crate::{AffinityKey, Epoch, Expiry, Pin, Selection, StoreError};

/// Pins in a bounded, expiring, concurrent map. Cloning shares it.
///
/// - A hit takes a read lock on one of many shards and allocates nothing.
/// - Beyond the capacity, a pin that was not used lately makes room (the CLOCK approximation of
///   least recently used). A new session is always let in: a policy that weighs frequency would
///   refuse it, and its second request would be routed again.
/// - Expired pins are never served. Each claim also looks at a few old entries and drops the
///   expired ones, so memory is given back a little at a time and never in a pause.
/// - A key is kept as a 128-bit hash under keys drawn at start, so the length of an id costs
///   nothing and no raw id rests here.
#[derive(Clone, Debug)]
pub struct MemoryStore(Arc<Pins>);

#[derive(Debug)]
struct Pins {
    slots: DashMap<Digest, Slot, IdentityState>,
    len: AtomicUsize,
    capacity: usize,
    clocks: Clocks,
    digester: Digester,
    selections: Interner,
    last_epoch: AtomicU64,
    born: Instant,
    born_wall: SystemTime,
}

#[derive(Debug)]
struct Slot {
    selection: Arc<Selection>,
    epoch: Epoch,
    /// Milliseconds since the store was made, as are all times here.
    claimed_at: u64,
    expires_at: AtomicU64,
    place: Place,
    /// Set by a use, cleared by the passing hand of the clock.
    used: AtomicBool,
}

impl Slot {
    fn is_live(&self, now: u64) -> bool {
        now < self.expires_at.load(Ordering::Relaxed)
    }
}

impl Default for MemoryStore {
    /// 10,000 pins.
    fn default() -> Self {
        Self::new(10_000)
    }
}

impl MemoryStore {
    /// A store for at most `capacity` pins, at least one. Memory grows with use.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let shards = clock::parts(capacity);
        Self(Arc::new(Pins {
            slots: DashMap::with_hasher_and_shard_amount(IdentityState, shards.max(16)),
            len: AtomicUsize::new(0),
            capacity: capacity.max(1),
            clocks: Clocks::new(shards),
            digester: Digester::default(),
            selections: Interner::default(),
            last_epoch: AtomicU64::new(0),
            born: Instant::now(),
            born_wall: SystemTime::now(),
        }))
    }

    /// How many pins are held, expired ones that are not dropped yet included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len.load(Ordering::Relaxed)
    }

    /// Whether no pin is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Pins {
    fn now(&self) -> u64 {
        millis(self.born.elapsed())
    }

    fn next_epoch(&self) -> Epoch {
        Epoch(self.last_epoch.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn pin(&self, slot: &Slot) -> Pin {
        let age = Duration::from_millis(slot.claimed_at);
        let claimed_at = self.born_wall.checked_add(age).unwrap_or(self.born_wall);
        Pin { selection: slot.selection.clone(), epoch: slot.epoch, claimed_at }
    }

    fn get(&self, key: &AffinityKey, expiry: &Expiry) -> Option<Pin> {
        let slot = self.slots.get(&self.digester.digest(key))?;
        let now = self.now();
        if !slot.is_live(now) {
            return None;
        }
        // A plain store would make every hit write to the entry's cache line.
        if !slot.used.load(Ordering::Relaxed) {
            slot.used.store(true, Ordering::Relaxed);
        }
        let age = Duration::from_millis(now.saturating_sub(slot.claimed_at));
        if let Some(left) = expiry.after_use(age) {
            slot.expires_at.store(now.saturating_add(millis(left)), Ordering::Relaxed);
        }
        Some(self.pin(&slot))
    }

    fn claim(&self, key: &AffinityKey, selection: Arc<Selection>, expiry: &Expiry) -> Claim {
        let digest = self.digester.digest(key);
        let now = self.now();
        if let Some(slot) = self.slots.get(&digest).filter(|slot| slot.is_live(now)) {
            return Claim { pin: self.pin(&slot), won: false };
        }
        self.drop_expired(digest, now);
        // The place is taken before the entry is locked: a clock and a shard are never locked
        // together, so they cannot deadlock.
        let place = self.make_room(digest, now);
        let slot = Slot {
            selection: self.selections.intern(selection),
            epoch: self.next_epoch(),
            claimed_at: now,
            expires_at: AtomicU64::new(now.saturating_add(millis(expiry.initial()))),
            place,
            used: AtomicBool::new(place.reused),
        };
        let pin = self.pin(&slot);
        let (claim, unused) = match self.slots.entry(digest) {
            Entry::Vacant(entry) => {
                entry.insert(slot);
                return Claim { pin, won: true };
            }
            Entry::Occupied(entry) if entry.get().is_live(now) => {
                (Claim { pin: self.pin(entry.get()), won: false }, place)
            }
            Entry::Occupied(mut entry) => {
                let old = std::mem::replace(entry.get_mut(), slot);
                (Claim { pin, won: true }, old.place)
            }
        };
        self.give_back(digest, unused);
        claim
    }

    fn repin(
        &self,
        key: &AffinityKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Option<Claim> {
        let selection = self.selections.intern(selection);
        let now = self.now();
        let mut slot = self.slots.get_mut(&self.digester.digest(key))?;
        if !slot.is_live(now) {
            return None;
        }
        let won = slot.epoch == from;
        if won {
            slot.selection = selection;
            slot.epoch = self.next_epoch();
            let expires_at = now.saturating_add(millis(expiry.initial()));
            slot.expires_at.store(expires_at, Ordering::Relaxed);
        }
        Some(Claim { pin: self.pin(&slot), won })
    }

    fn release(&self, key: &AffinityKey, epoch: Option<Epoch>) -> bool {
        let digest = self.digester.digest(key);
        let now = self.now();
        let mut was_live = false;
        self.remove_if(digest, |slot| {
            was_live = slot.is_live(now);
            epoch.is_none_or(|epoch| epoch == slot.epoch)
        }) && was_live
    }

    fn remove_if(&self, digest: Digest, condition: impl FnOnce(&Slot) -> bool) -> bool {
        let removed = self.slots.remove_if(&digest, |_, slot| condition(slot));
        if let Some((_, slot)) = &removed {
            self.give_back(digest, slot.place);
        }
        removed.is_some()
    }

    /// Looks at the next few entries beside `digest` and drops those that have expired.
    fn drop_expired(&self, digest: Digest, now: u64) {
        for (other, index) in self.clocks.sweep(digest) {
            self.remove_if(other, |slot| slot.place.index == index && !slot.is_live(now));
        }
    }

    /// A place for one more entry, with somebody evicted if the store is full.
    fn make_room(&self, digest: Digest, now: u64) -> Place {
        let grow = |len| (len < self.capacity).then_some(len + 1);
        if self.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow).is_ok() {
            return self.clocks.place(digest);
        }
        let evicted = self.clocks.evict(digest, |other, index, must_go| {
            let goes = |_: &Digest, slot: &Slot| {
                let idle = !slot.used.swap(false, Ordering::Relaxed);
                slot.place.index == index && (must_go || idle || !slot.is_live(now))
            };
            self.slots.remove_if(&other, goes).is_some()
        });
        evicted.unwrap_or_else(|| {
            // Every entry is being made at this moment; the store is over its bound by those.
            self.len.fetch_add(1, Ordering::Relaxed);
            self.clocks.place(digest)
        })
    }

    fn give_back(&self, digest: Digest, place: Place) {
        self.len.fetch_sub(1, Ordering::Relaxed);
        self.clocks.vacate(digest, place);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl AffinityStore for MemoryStore {
    fn peek(&self, key: &AffinityKey, expiry: &Expiry) -> Option<Pin> {
        self.0.get(key, expiry)
    }

    async fn get(&self, key: &AffinityKey, expiry: &Expiry) -> Result<Option<Pin>, StoreError> {
        Ok(self.0.get(key, expiry))
    }

    async fn claim(
        &self,
        key: &AffinityKey,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Claim, StoreError> {
        Ok(self.0.claim(key, selection, expiry))
    }

    async fn repin(
        &self,
        key: &AffinityKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        Ok(self.0.repin(key, from, selection, expiry))
    }

    async fn release(&self, key: &AffinityKey, epoch: Option<Epoch>) -> Result<bool, StoreError> {
        Ok(self.0.release(key, epoch))
    }
}

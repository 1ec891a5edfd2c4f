//! Pins in this process.
//!
//! A map of millions of entries that is bounded, expires, and costs a hit next to nothing. The
//! parts:
//!
//! 1. `digest.rs`: a key becomes 128 bits under secret keys. From here on, nothing knows an id.
//! 2. `slots.rs`: the entries, in many small concurrent maps instead of a large one.
//! 3. `clock.rs`: one ring for each of those maps. It says which entry makes room.
//! 4. `tenants.rs`: how many entries each scope holds, so that a large one pays for its own growth.
//! 5. `interner.rs`: equal selections are one allocation.
//! 6. `pins.rs` puts them together; `slot.rs` is one entry, and `inspect.rs` the listing.
//!
//! `MemoryStore` adds two things to `Pins`: where an epoch comes from (one counter for all keys,
//! which therefore grows across a release) and how a key is hashed. Near copies of Redis use `Pins`
//! too, and hash the name that a pin has in Redis.
//!
//! # Locks
//!
//! A hit takes the read lock of one table. An insert takes the lock of a ring, gives it back, and
//! then takes the write lock of a table; no thread ever holds both. That excludes a deadlock, and
//! it is why an entry carries its place on the ring and a removal compares it: between the two
//! locks another thread may have put a new entry in that place.
//!
//! # Rejected
//!
//! Exact least-recently-used order writes to a list on each hit; admission by frequency refuses new
//! keys, so the second request of each new session would be routed again.
//! `docs/decisions/0002-memory-store-clock.md` has the reasons.

mod clock;
mod digest;
mod inspect;
mod interner;
mod pins;
mod slot;
mod slots;
mod tenants;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) use self::digest::{Digest, Digester};
pub(super) use self::pins::{Held, Pins};
use super::{AffinityStore, AnswerState, Claim, PinRead};
use crate::{AffinityKey, Epoch, Expiry, Pin, Selection, StoreError};

/// Pins in a bounded, expiring, concurrent map. Cloning shares it.
///
/// - A hit takes a read lock on one of many shards and allocates nothing.
/// - Beyond the capacity, a pin that was not used lately makes room (the CLOCK approximation of
///   least recently used). A new session is always let in: a policy that weighs frequency would
///   refuse it, and its second request would be routed again.
/// - It takes the place of a pin of a scope that holds at least as many as its own. A scope with few
///   sessions keeps them, however many another one claims. All sessions without a scope are those of
///   one.
/// - Expired pins are never served. Each claim also checks a few old entries and drops the expired
///   ones, so memory is freed a little at a time and never in a pause.
/// - A key is kept as a 128-bit hash under keys drawn at start, so the length of an id costs
///   nothing and no raw id rests here.
///
/// A session takes some 104 to 150 bytes, whatever the length of its id. Pins end with the process,
/// and another process has pins of its own: use it where a session stays on one process.
///
/// It never fails and never waits: each call answers at once, and no call returns an error.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use affinity_layer::{AffinityKey, AffinityStore, Expiry, MemoryStore, ModelName, Selection};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new(50_000);
/// let (key, expiry) = (AffinityKey::new("task-1")?, Expiry::fixed(Duration::from_secs(600)));
/// let selection = Arc::new(Selection::of(ModelName::new("openai/gpt-4o")?));
/// let claim = store.claim(&key, selection, &expiry).await?;
///
/// // The pin is at hand without waiting, here and in each clone of the store.
/// assert_eq!(store.clone().peek(&key, &expiry), Some(claim.pin));
/// assert_eq!(store.len(), 1);
/// # Ok(())
/// # }
/// ```
///
/// # Caveats
///
/// - The bound is on the number of pins. Selections are shared between pins, so with a router that
///   gives few different ones the bytes follow from it.
/// - When the bound is reached, a session that is still in use may be evicted, and is then routed
///   again: watch the metric of evictions (feature `metrics`), and choose a capacity above the
///   number of sessions within one lifetime.
/// - Links from responses to conversations are kept as entries too and count.
#[derive(Clone, Debug)]
pub struct MemoryStore(Arc<Inner>);

/// What all clones share.
#[derive(Debug)]
struct Inner {
    pins: Pins,
    digester: Digester,
    last_epoch: AtomicU64,
}

impl Default for MemoryStore {
    /// 10,000 pins.
    fn default() -> Self {
        Self::new(10_000)
    }
}

impl MemoryStore {
    /// A store for at most `capacity` pins, at least one. Memory grows with use.
    ///
    /// The scopes' counts take 256 KiB from the start. Beyond the capacity, each new session evicts
    /// one that was not used lately.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(Inner {
            pins: Pins::new(capacity, "memory"),
            digester: Digester::default(),
            last_epoch: AtomicU64::new(0),
        }))
    }

    /// How many pins are held, expired ones that are not dropped yet included.
    ///
    /// Links count as pins here. Read from one counter, in constant time; while claims are under
    /// way, it may be ahead by those.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.pins.len()
    }

    /// Whether no pin is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn digest(&self, key: &AffinityKey) -> Digest {
        self.0.digester.digest_key(key)
    }

    /// One sequence for all keys. A count for each key would have to outlive the key's release, or
    /// the next claim would repeat an epoch.
    fn next_epoch(&self) -> Epoch {
        Epoch(self.0.last_epoch.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl AffinityStore for MemoryStore {
    fn peek(&self, key: &AffinityKey, expiry: &Expiry) -> Option<Pin> {
        self.0.pins.get(self.digest(key), expiry).map(|held| held.pin)
    }

    async fn get(&self, key: &AffinityKey, expiry: &Expiry) -> Result<PinRead, StoreError> {
        Ok(self.peek(key, expiry).into())
    }

    fn renew(&self, key: &AffinityKey, expiry: &Expiry, answer: AnswerState) -> bool {
        self.0.pins.renew(self.digest(key), expiry, answer);
        true
    }

    async fn claim(
        &self,
        key: &AffinityKey,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Claim, StoreError> {
        let claimed_at = self.0.pins.wall();
        let pin = Pin { selection, epoch: self.next_epoch(), claimed_at };
        let standing = self.0.pins.claim(self.digest(key), &pin, expiry.initial());
        Ok(Claim { won: standing.is_none(), pin: standing.unwrap_or(pin) })
    }

    async fn repin(
        &self,
        key: &AffinityKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        let next = || self.next_epoch();
        let moved = self.0.pins.repin(self.digest(key), from, selection, next, expiry);
        Ok(moved.map(|(pin, won)| Claim { pin, won }))
    }

    async fn release(&self, key: &AffinityKey, epoch: Option<Epoch>) -> Result<bool, StoreError> {
        Ok(self.0.pins.release(self.digest(key), epoch))
    }
}

//! Pins in this process.

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
use super::{AffinityStore, Claim, PinRead};
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
#[derive(Clone, Debug)]
pub struct MemoryStore(Arc<Inner>);

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
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(Inner {
            pins: Pins::new(capacity, "memory"),
            digester: Digester::default(),
            last_epoch: AtomicU64::new(0),
        }))
    }

    /// How many pins are held, expired ones that are not dropped yet included.
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

//! Listing of the pins in this process.
//!
//! A stored name is the hexadecimal digest of a key. Digests are keyed anew at each start, so
//! nobody can compute a name from an id outside of this process, and no name holds after a restart.
//! A cursor is `part.place`: a ring and a place on it.
//!
//! Everything here is in memory, so each call is a future that is ready.

use std::future::ready;
use std::sync::Arc;

use super::{Digest, Held, MemoryStore};
use crate::admin::{Inspect, Inspected, PinPage, StoredKey, StoredPin};
use crate::store::Claim;
use crate::store::inspect::{age, is_link};
use crate::{AffinityKey, Epoch, Expiry, Selection, StoreError, StoreErrorKind};

impl Inspect for MemoryStore {
    fn list<'a>(&'a self, cursor: Option<&'a str>, limit: usize) -> Inspected<'a, PinPage> {
        Box::pin(ready(page(self, cursor, limit)))
    }

    fn stored_keys(&self, key: &AffinityKey) -> Vec<StoredKey> {
        vec![StoredKey::new(self.digest(key).to_string())]
    }

    fn find<'a>(&'a self, key: &'a StoredKey) -> Inspected<'a, Option<StoredPin>> {
        let found = digest(key).and_then(|digest| pin(self, digest, self.0.pins.look(digest)?));
        Box::pin(ready(Ok(found)))
    }

    fn repin_stored<'a>(
        &'a self,
        key: &'a StoredKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &'a Expiry,
    ) -> Inspected<'a, Option<Claim>> {
        let next = || self.next_epoch();
        let repin = |digest| self.0.pins.repin(digest, from, selection, next, expiry);
        let moved = digest(key).and_then(repin);
        Box::pin(ready(Ok(moved.map(|(pin, won)| Claim { pin, won }))))
    }

    fn release_stored<'a>(
        &'a self,
        key: &'a StoredKey,
        epoch: Option<Epoch>,
    ) -> Inspected<'a, bool> {
        Box::pin(ready(Ok(digest(key).is_some_and(|digest| self.0.pins.release(digest, epoch)))))
    }
}

/// A page of pins; links are left out after the page was filled, which is why it may hold fewer than
/// `limit`.
fn page(store: &MemoryStore, cursor: Option<&str>, limit: usize) -> Result<PinPage, StoreError> {
    let from = match cursor {
        None => (0, 0),
        Some(cursor) => parse(cursor).ok_or(StoreErrorKind::InvalidCursor)?,
    };
    let (found, next) = store.0.pins.page(from, limit);
    let pins = found.into_iter().filter_map(|(digest, held)| pin(store, digest, held)).collect();
    Ok(PinPage { pins, next: next.map(|(part, place)| format!("{part}.{place}")) })
}

/// Two numbers around a dot. Numbers that are out of range are past the end, not an error.
fn parse(cursor: &str) -> Option<(usize, usize)> {
    let (part, place) = cursor.split_once('.')?;
    Some((part.parse().ok()?, place.parse().ok()?))
}

/// `None` for a text that is no digest: there is no pin under it.
fn digest(key: &StoredKey) -> Option<Digest> {
    Digest::parse(key.as_str())
}

/// An entry as a listing shows it, unless it is a link or an observed claim. Whose pin it is cannot be told
/// from a digest.
fn pin(store: &MemoryStore, digest: Digest, held: Held) -> Option<StoredPin> {
    let Held { pin, left, .. } = held;
    let (key, age) = (StoredKey::new(digest.to_string()), age(pin.claimed_at, store.0.pins.wall()));
    let is_pin = !is_link(&pin.selection) && !digest.is_observed();
    is_pin.then(|| StoredPin::new(key, pin, Some(left)).with_age(age))
}

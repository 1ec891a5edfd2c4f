//! Listing of the pins in this process.

use std::future::ready;
use std::sync::Arc;

use super::{Digest, Held, MemoryStore};
use crate::admin::{Inspect, Inspected, PinPage, StoredKey, StoredPin};
use crate::store::Claim;
use crate::store::inspect::is_link;
use crate::{AffinityKey, Epoch, Expiry, Selection, StoreError, StoreErrorKind};

impl Inspect for MemoryStore {
    fn list<'a>(&'a self, cursor: Option<&'a str>, limit: usize) -> Inspected<'a, PinPage> {
        Box::pin(ready(self.page(cursor, limit)))
    }

    fn stored_keys(&self, key: &AffinityKey) -> Vec<StoredKey> {
        vec![StoredKey::new(self.digest(key).to_string())]
    }

    fn find<'a>(&'a self, key: &'a StoredKey) -> Inspected<'a, Option<StoredPin>> {
        let found = digest(key).and_then(|digest| pin(digest, self.0.pins.look(digest)?));
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

impl MemoryStore {
    fn page(&self, cursor: Option<&str>, limit: usize) -> Result<PinPage, StoreError> {
        let from = match cursor {
            None => (0, 0),
            Some(cursor) => parse(cursor).ok_or(StoreErrorKind::InvalidCursor)?,
        };
        let (found, next) = self.0.pins.page(from, limit);
        let pins = found.into_iter().filter_map(|(digest, held)| pin(digest, held)).collect();
        Ok(PinPage { pins, next: next.map(|(part, place)| format!("{part}.{place}")) })
    }
}

fn parse(cursor: &str) -> Option<(usize, usize)> {
    let (part, place) = cursor.split_once('.')?;
    Some((part.parse().ok()?, place.parse().ok()?))
}

fn digest(key: &StoredKey) -> Option<Digest> {
    Digest::parse(key.as_str())
}

fn pin(digest: Digest, held: Held) -> Option<StoredPin> {
    let Held { pin, left, .. } = held;
    let key = StoredKey::new(digest.to_string());
    (!is_link(&pin.selection)).then_some(StoredPin { key, session: None, pin, left: Some(left) })
}

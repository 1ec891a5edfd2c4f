//! Pins by their names: Redis is asked, and the copies here follow.

use std::sync::Arc;

use super::TieredStore;
use super::settle::Withheld;
use super::tier::Tier;
use crate::admin::{Inspect, Inspected, PinPage, StoredKey, StoredPin};
use crate::store::Claim;
use crate::{AffinityKey, Epoch, Expiry, Selection, StoreError};

impl Tier {
    /// Tells Redis of what was decided here for a name, so that what is found there is all there is.
    async fn settled(&self, key: &StoredKey) -> Result<(), StoreError> {
        let name = self.redis.whole_name(key);
        if self.is_there(&name) { self.settle(&name).await } else { Ok(()) }
    }

    /// Makes a change that the copy must not outlive. If it fails, the copy serves on as long as Redis
    /// is away.
    async fn changed<T>(&self, key: &StoredKey, change: Inspected<'_, T>) -> Result<T, StoreError> {
        let name = self.redis.whole_name(key);
        let held = self.near.get(self.near.spot(&name));
        let mut withheld = Withheld { tier: self, name: &name, held };
        let changing = self.near.change(&name);
        let changed = change.await;
        drop(changing);
        if changed.is_ok() {
            withheld.held = None;
        }
        changed
    }
}

impl Inspect for TieredStore {
    fn list<'a>(&'a self, cursor: Option<&'a str>, limit: usize) -> Inspected<'a, PinPage> {
        self.0.tier.redis.list(cursor, limit)
    }

    fn stored_keys(&self, key: &AffinityKey) -> Vec<StoredKey> {
        self.0.tier.redis.stored_keys(key)
    }

    fn find<'a>(&'a self, key: &'a StoredKey) -> Inspected<'a, Option<StoredPin>> {
        let tier = &self.0.tier;
        Box::pin(async move {
            tier.settled(key).await?;
            tier.redis.find(key).await
        })
    }

    fn repin_stored<'a>(
        &'a self,
        key: &'a StoredKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &'a Expiry,
    ) -> Inspected<'a, Option<Claim>> {
        let tier = &self.0.tier;
        Box::pin(async move {
            tier.settled(key).await?;
            tier.changed(key, tier.redis.repin_stored(key, from, selection, expiry)).await
        })
    }

    fn release_stored<'a>(
        &'a self,
        key: &'a StoredKey,
        epoch: Option<Epoch>,
    ) -> Inspected<'a, bool> {
        let tier = &self.0.tier;
        Box::pin(async move {
            tier.settled(key).await?;
            tier.changed(key, tier.redis.release_stored(key, epoch)).await
        })
    }
}

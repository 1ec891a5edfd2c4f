//! Pins by their names: Redis is asked, and the copies here follow.
//!
//! An administrator wants to see and change what all replicas share. So nothing is answered from a
//! copy, and a decision that Redis has not heard of is told first. The copies of the other replicas
//! are dropped by Redis' report, as after any change.
//!
//! A listing shows what is in Redis: a decision of this replica that is still to be told is not
//! listed.

use std::sync::Arc;

use super::TieredStore;
use super::settle::{Withheld, settle};
use super::shared::Shared;
use crate::admin::{Inspect, Inspected, PinPage, StoredKey, StoredPin};
use crate::store::Claim;
use crate::{AffinityKey, Epoch, Expiry, Selection, StoreError};

/// Tells Redis what was decided here for a name, so that Redis then holds everything.
async fn settled(shared: &Shared, key: &StoredKey) -> Result<(), StoreError> {
    let name = shared.redis.whole_name(key);
    if shared.is_there(&name) { settle(shared, &name).await } else { Ok(()) }
}

/// Makes a change that the copy must not outlive. If it fails, the copy serves on as long as Redis is
/// away.
async fn changed<T>(
    shared: &Shared,
    key: &StoredKey,
    change: Inspected<'_, T>,
) -> Result<T, StoreError> {
    let name = shared.redis.whole_name(key);
    let spot = shared.near.spot(&name);
    let mut withheld = Withheld { shared, spot, held: shared.near.get(spot) };
    let changing = shared.near.change(&name);
    let changed = change.await;
    drop(changing);
    if changed.is_ok() {
        withheld.held = None;
    }
    changed
}

impl Inspect for TieredStore {
    fn list<'a>(&'a self, cursor: Option<&'a str>, limit: usize) -> Inspected<'a, PinPage> {
        self.shared.redis.list(cursor, limit)
    }

    fn stored_keys(&self, key: &AffinityKey) -> Vec<StoredKey> {
        self.shared.redis.stored_keys(key)
    }

    fn find<'a>(&'a self, key: &'a StoredKey) -> Inspected<'a, Option<StoredPin>> {
        let shared = &self.shared;
        Box::pin(async move {
            settled(shared, key).await?;
            shared.redis.find(key).await
        })
    }

    fn repin_stored<'a>(
        &'a self,
        key: &'a StoredKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &'a Expiry,
    ) -> Inspected<'a, Option<Claim>> {
        let shared = &self.shared;
        Box::pin(async move {
            settled(shared, key).await?;
            changed(shared, key, shared.redis.repin_stored(key, from, selection, expiry)).await
        })
    }

    fn release_stored<'a>(
        &'a self,
        key: &'a StoredKey,
        epoch: Option<Epoch>,
    ) -> Inspected<'a, bool> {
        let shared = &self.shared;
        Box::pin(async move {
            settled(shared, key).await?;
            changed(shared, key, shared.redis.release_stored(key, epoch)).await
        })
    }
}

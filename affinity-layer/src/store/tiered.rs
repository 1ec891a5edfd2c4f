//! Pins in Redis, with near copies in this process.

mod follow;
mod inspect;
mod near;
mod pending;
mod pulse;
mod reconcile;
mod settle;
mod tier;

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::timeout;

use self::tier::Tier;
use super::redis::{RedisStore, StoreStats};
use super::{AffinityStore, Claim};
use crate::{AffinityKey, Epoch, Expiry, Pin, Selection, StoreError};

/// How long the invalidation of a change is under way while all is well: 3 ms was the longest seen in
/// some 200,000 turns on a busy machine.
const COHERENCE: Duration = Duration::from_millis(5);

/// Pins in Redis, answered from this process where it is sure of them. Cloning shares it.
///
/// - A pinned turn costs no round trip. Redis itself tells of every change (client tracking, RESP3),
///   and a copy is served only while the connection that brings the news is alive: at most
///   1 s can pass until a change by another replica is seen, and usually less than a millisecond
///   does. A copy never outlives its pin in Redis.
/// - When that connection breaks, no copy is served until Redis has confirmed it.
/// - While Redis is away, what this replica knows keeps serving, and what it decides is kept as its
///   own: the deciding request reports `store-unavailable`, later ones on this replica hit. When
///   Redis is back, those decisions are claimed there, and the winner stands. With
///   [`RedisOptions::replicated`](crate::RedisOptions::replicated) they are never told as pins before
///   that, and no move is made without Redis.
/// - With [`RedisOptions::strict`](crate::RedisOptions::strict) neither is done: while Redis is away,
///   every call fails once the copies are not fresh any more.
/// - When Redis comes back without its data, sessions that are known here are claimed again as they
///   were, by their next request.
/// - In a cluster each node tells of its own pins. While one of them is away, no copy is served before
///   its pin was read.
/// - Without client tracking (an access list that forbids it) every turn reads from Redis, and so does
///   every turn of a pin that stands under the name of a previous secret; copies then only serve while
///   Redis is away.
#[derive(Clone)]
pub struct TieredStore(Arc<Owner>);

struct Owner {
    tier: Arc<Tier>,
    tasks: [AbortHandle; 2],
}

impl Drop for Owner {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl TieredStore {
    /// Near copies of at most `capacity` pins in front of `redis`. It must be made within a tokio
    /// runtime.
    #[must_use]
    pub fn new(redis: RedisStore, capacity: usize) -> Self {
        Self::with(redis, capacity, false)
    }

    /// As [`new`](Self::new), and every turn reads from Redis: a change by another replica is seen at
    /// once, for a round trip. Copies only serve while Redis is away.
    #[must_use]
    pub fn always_read(redis: RedisStore, capacity: usize) -> Self {
        Self::with(redis, capacity, true)
    }

    fn with(redis: RedisStore, capacity: usize, always_read: bool) -> Self {
        let tier = Arc::new(Tier::new(redis, capacity, always_read));
        let followed = tokio::spawn(follow::follow_all(tier.clone()));
        let reconciled = tokio::spawn(reconcile::reconcile(tier.clone()));
        let tasks = [followed.abort_handle(), reconciled.abort_handle()];
        Self(Arc::new(Owner { tier, tasks }))
    }

    /// Whether Redis is there and followed, in a cluster each node.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.tier.is_followed()
    }

    /// The version of a Redis that is too old to be used, if one was found and is not replaced. It
    /// counts as away.
    #[must_use]
    pub fn too_old(&self) -> Option<String> {
        self.0.tier.too_old.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until Redis is there and followed, at most `limit`; says whether it is.
    pub async fn wait_ready(&self, limit: Duration) -> bool {
        let ready = async {
            loop {
                let came_up = self.0.tier.came_up.notified();
                if self.is_ready() {
                    break;
                }
                came_up.await;
            }
        };
        timeout(limit, ready).await.is_ok()
    }

    /// Whether nothing is decided or served without Redis.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.0.tier.redis.is_strict()
    }

    /// What became of the calls to Redis so far; turns that were answered here made none.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        self.0.tier.redis.stats()
    }

    /// The store behind the copies, for what is no pin.
    #[must_use]
    pub fn redis(&self) -> &RedisStore {
        &self.0.tier.redis
    }

    /// How many near copies are held.
    #[must_use]
    pub fn near_len(&self) -> usize {
        self.0.tier.near.len()
    }
}

impl fmt::Debug for TieredStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tier = &self.0.tier;
        f.debug_struct("TieredStore").field("redis", &tier.redis).finish_non_exhaustive()
    }
}

impl AffinityStore for TieredStore {
    fn peek(&self, key: &AffinityKey, expiry: &Expiry) -> Option<Pin> {
        self.0.tier.peek(key, expiry)
    }

    async fn get(&self, key: &AffinityKey, expiry: &Expiry) -> Result<Option<Pin>, StoreError> {
        self.0.tier.get(key, expiry).await
    }

    async fn claim(
        &self,
        key: &AffinityKey,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Claim, StoreError> {
        self.0.tier.claim(key, selection, expiry).await
    }

    async fn repin(
        &self,
        key: &AffinityKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        self.0.tier.repin(key, from, selection, expiry).await
    }

    async fn release(&self, key: &AffinityKey, epoch: Option<Epoch>) -> Result<bool, StoreError> {
        self.0.tier.release(key, epoch).await
    }

    fn coherence(&self) -> Duration {
        // Without fresh copies every replica reads from Redis.
        if self.0.tier.is_fresh() { COHERENCE } else { Duration::ZERO }
    }
}

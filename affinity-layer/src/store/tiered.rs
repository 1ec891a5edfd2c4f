//! Pins in Redis, with near copies in this process.

mod follow;
mod link;
mod near;
mod pending;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use self::link::Link;
use self::near::{Near, Spot};
use self::pending::{Change, Kind, Pending};
use super::redis::{Found, RedisStore};
use super::{AffinityStore, Claim};
use crate::{AffinityKey, Epoch, Expiry, Pin, Selection, StoreError, StoreErrorKind};

/// Pins in Redis, answered from this process where it is sure of them. Cloning shares it.
///
/// - A pinned turn costs no round trip. Redis itself tells of every change (client tracking, RESP3),
///   and a copy is served only while the connection that brings the news is alive: at most
///   1 s can pass until a change by another replica is seen, and usually less than a millisecond
///   does. A copy never outlives its pin in Redis.
/// - When that connection breaks, no copy is served until Redis has confirmed it.
/// - While Redis is away, what this replica knows keeps serving, and what it decides is kept as its
///   own: the deciding request reports `store-unavailable`, later ones on this replica hit. When
///   Redis is back, those decisions are claimed there, and the winner stands.
/// - When Redis comes back without its data, sessions that are known here are claimed again as they
///   were, by their next request.
/// - Without client tracking (an access list that forbids it), and in a cluster, every turn reads from
///   Redis, and so does every turn of a pin that stands under the name of a previous secret; copies
///   then only serve while Redis is away.
#[derive(Clone)]
pub struct TieredStore(Arc<Owner>);

struct Owner {
    tier: Arc<Tier>,
    task: AbortHandle,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Tier {
    redis: RedisStore,
    near: Near,
    link: Link,
    pending: Pending,
}

impl TieredStore {
    /// Near copies of at most `capacity` pins in front of `redis`. It must be made within a tokio
    /// runtime.
    #[must_use]
    pub fn new(redis: RedisStore, capacity: usize) -> Self {
        let client = redis.followed().clone();
        let (near, pending) = (Near::new(capacity), Pending::new(capacity));
        let tier = Arc::new(Tier { redis, near, link: Link::default(), pending });
        let task = tokio::spawn(follow::follow(tier.clone(), client)).abort_handle();
        Self(Arc::new(Owner { tier, task }))
    }

    /// Whether Redis is there and followed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.tier.link.is_followed()
    }

    /// Waits until Redis is there and followed, at most `limit`; says whether it is.
    pub async fn wait_ready(&self, limit: Duration) -> bool {
        let _ = timeout(limit, self.0.tier.link.wait_up()).await;
        self.is_ready()
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

impl Tier {
    fn name(&self, key: &AffinityKey) -> String {
        self.redis.names().current(key)
    }

    fn peek(&self, key: &AffinityKey, expiry: &Expiry) -> Option<Pin> {
        if !self.link.is_fresh() {
            return None;
        }
        let held = self.near.fresh(self.near.spot(&self.name(key)))?;
        // A sliding pin is used up at Redis meanwhile; now and then it must hear of the use.
        let idle = expiry.limits().map_or(Duration::ZERO, |(idle, _)| idle);
        (held.left > idle / 2).then_some(held.pin)
    }

    async fn get(&self, key: &AffinityKey, expiry: &Expiry) -> Result<Option<Pin>, StoreError> {
        let name = self.name(key);
        let (spot, asked) = (self.near.spot(&name), Instant::now());
        let fetched = async {
            if self.link.is_followed() {
                self.settle(&name).await?;
            }
            self.redis.fetch(key, expiry).await
        };
        // Whoever asks may give up before Redis' time is over, and then goes without what is known.
        let patience = match self.near.get(spot) {
            Some(_) => self.redis.command_timeout() / 3,
            None => Duration::MAX,
        };
        let fetched = timeout(patience, fetched).await;
        match fetched.unwrap_or_else(|_| Err(StoreErrorKind::Timeout.into())) {
            Ok(Some(found)) => {
                self.keep_found(spot, &found, asked);
                Ok(Some(found.pin))
            }
            Ok(None) => self.absent(key, &name, spot).await,
            Err(error) => self.near.get(spot).map(|held| Some(held.pin)).ok_or(error),
        }
    }

    /// Redis has no pin. Whether to believe it depends on what it has been through.
    async fn absent(
        &self,
        key: &AffinityKey,
        name: &str,
        spot: Spot,
    ) -> Result<Option<Pin>, StoreError> {
        let Some(held) = self.near.get(spot) else {
            return Ok(None);
        };
        if !self.link.is_followed() {
            return Ok(Some(held.pin));
        }
        // A copy is dropped when its pin is. Where it was not, this may be another Redis.
        let lost = self.near.is_lost(&held) || follow::has_restarted(self).await;
        if !lost {
            self.near.forget(name.as_bytes());
            return Ok(None);
        }
        // A failure leaves the copy as it is, for the next request to try.
        let Ok(claim) = self.redis.claim_pin(key, held.pin.clone(), held.left).await else {
            return Ok(Some(held.pin));
        };
        if claim.won {
            self.keep(spot, &claim.pin, held.left);
        } else {
            self.near.forget(name.as_bytes());
        }
        Ok(Some(claim.pin))
    }

    /// Keeps what Redis had for a question of `asked`. The time left counts from then: a copy never
    /// outlives the pin. News of another name are not news of the copy, so it is not fresh.
    fn keep_found(&self, spot: Spot, found: &Found, asked: Instant) {
        let left = found.left.saturating_sub(asked.elapsed());
        if found.is_current {
            self.keep(spot, &found.pin, left);
        } else {
            self.near.keep_unconfirmed(spot, &found.pin, left);
        }
    }

    /// Keeps what Redis said; without being followed it may have changed at once.
    fn keep(&self, spot: Spot, pin: &Pin, left: Duration) {
        if self.link.is_followed() {
            self.near.keep(spot, pin, left);
        } else {
            self.near.keep_unconfirmed(spot, pin, left);
        }
    }

    async fn claim(
        &self,
        key: &AffinityKey,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Claim, StoreError> {
        let (name, pin) = (self.name(key), self.redis.new_pin(selection));
        let ttl = expiry.initial();
        let (spot, asked) = (self.near.spot(&name), Instant::now());
        let mut unconfirmed = Unconfirmed { tier: self, key, name, spot, pin, ttl, done: false };
        let claim = self.redis.claim_pin(key, unconfirmed.pin.clone(), ttl).await?;
        unconfirmed.done = true;
        if claim.won {
            self.keep(spot, &claim.pin, ttl.saturating_sub(asked.elapsed()));
        }
        Ok(claim)
    }

    async fn repin(
        &self,
        key: &AffinityKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        let (name, ttl) = (self.name(key), expiry.initial());
        let to = self.redis.pin_after(from, selection);
        let (held, asked) = (self.near.get(self.near.spot(&name)), Instant::now());
        let changing = self.near.change(&name);
        let moved = self.redis.move_pin(key, from, &to, expiry).await;
        drop(changing);
        let spot = self.near.spot(&name);
        match (moved, held) {
            // Not fresh, as it may have been moved again before the copy could be told of it. Little
            // is lost: Redis tells of a script's changes to its caller, too.
            (Ok(Some(claim)), _) if claim.won => {
                let left = ttl.saturating_sub(asked.elapsed());
                self.near.keep_unconfirmed(spot, &claim.pin, left);
                Ok(Some(claim))
            }
            (Ok(standing), _) => Ok(standing),
            // The session moves on this replica, and at Redis when it is back.
            (Err(_), Some(held)) if held.pin.epoch == from => {
                let to = Pin { claimed_at: held.pin.claimed_at, ..to };
                self.near.keep_unconfirmed(spot, &to, ttl);
                self.note(name, key, Kind::Move { from, to: to.clone() }, ttl);
                Ok(Some(Claim { pin: to, won: true }))
            }
            (Err(error), held) => {
                if let Some(held) = held {
                    self.near.keep_unconfirmed(spot, &held.pin, held.left);
                }
                Err(error)
            }
        }
    }

    async fn release(&self, key: &AffinityKey, epoch: Option<Epoch>) -> Result<bool, StoreError> {
        let name = self.name(key);
        let held = self.near.get(self.near.spot(&name));
        let changing = self.near.change(&name);
        let released = self.redis.release_pin(key, epoch).await;
        drop(changing);
        match (&released, held) {
            (Err(_), Some(held)) if epoch.is_some_and(|epoch| held.pin.epoch != epoch) => {
                self.near.keep_unconfirmed(self.near.spot(&name), &held.pin, held.left);
            }
            (Err(_), _) => self.note(name, key, Kind::Release(epoch), pending::RELEASE_LIFE),
            (Ok(_), _) => drop(self.pending.take(&name)),
        }
        released
    }

    fn note(&self, name: String, key: &AffinityKey, kind: Kind, ttl: Duration) {
        let now = Instant::now();
        let until = now.checked_add(ttl).unwrap_or(now + pending::RELEASE_LIFE);
        self.pending.note(name, Change { key: key.clone(), kind, until });
    }

    /// Tells Redis of what was decided here, if something was; its winner stands.
    async fn settle(&self, name: &str) -> Result<(), StoreError> {
        let Some(change) = self.pending.take(name) else {
            return Ok(());
        };
        let settled = self.tell(name, &change).await;
        if settled.is_err() {
            self.pending.note(name.to_owned(), change);
        }
        settled
    }

    async fn tell(&self, name: &str, change: &Change) -> Result<(), StoreError> {
        let left = change.until.saturating_duration_since(Instant::now());
        let spot = self.near.spot(name);
        let pin = match &change.kind {
            Kind::Release(epoch) => {
                self.redis.release_pin(&change.key, *epoch).await?;
                return Ok(());
            }
            Kind::Claim(pin) => pin,
            Kind::Move { from, to } => {
                let expiry = Expiry::fixed(left);
                let moved = self.redis.move_pin(&change.key, *from, to, &expiry).await?;
                if let Some(claim) = moved {
                    self.adopt(name, spot, change, &claim, left).await;
                    return Ok(());
                }
                to
            }
        };
        let claim = self.redis.claim_pin(&change.key, pin.clone(), left).await?;
        self.adopt(name, spot, change, &claim, left).await;
        Ok(())
    }

    /// Keeps the pin that stands after all. Any but our own claim is read again, for its time left.
    async fn adopt(&self, name: &str, spot: Spot, change: &Change, claim: &Claim, left: Duration) {
        // A claim that was given up may have reached Redis all the same.
        if matches!(&change.kind, Kind::Claim(pin) if *pin == claim.pin) {
            return self.keep(spot, &claim.pin, left);
        }
        let (spot, asked) = (self.near.spot(name), Instant::now());
        match self.redis.fetch(&change.key, &Expiry::fixed(left)).await {
            Ok(Some(found)) => self.keep_found(spot, &found, asked),
            _ => self.near.forget(name.as_bytes()),
        }
    }
}

/// A claim on its way. When it fails, or its caller gives up, it stays as this replica's own.
struct Unconfirmed<'a> {
    tier: &'a Tier,
    key: &'a AffinityKey,
    name: String,
    spot: Spot,
    pin: Pin,
    ttl: Duration,
    done: bool,
}

impl Drop for Unconfirmed<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.tier.near.keep_unconfirmed(self.spot, &self.pin, self.ttl);
            let name = std::mem::take(&mut self.name);
            self.tier.note(name, self.key, Kind::Claim(self.pin.clone()), self.ttl);
        }
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
}

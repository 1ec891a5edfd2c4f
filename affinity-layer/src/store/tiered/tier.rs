//! The verbs of a store with near copies.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::follow;
use super::near::{Near, Spot};
use super::pending::{Kind, Pending};
use super::settle::{Ending, Unconfirmed, Withheld};
use crate::store::Claim;
use crate::store::redis::{FoundPin, Node, RedisStore, Topology};
use crate::{AffinityKey, Epoch, Expiry, Pin, Selection, StoreError, StoreErrorKind};

/// Redis, the near copies of its pins, and what it has not heard yet.
pub(super) struct Tier {
    pub(super) redis: RedisStore,
    pub(super) near: Near,
    pub(super) pending: Pending,
    /// No copy counts as fresh.
    pub(super) always_read: bool,
    /// The servers of `redis`.
    pub(super) map: watch::Receiver<Topology>,
    /// One of them is followed.
    pub(super) came_up: Notify,
    /// The version of a server that cannot be used.
    pub(super) too_old: Mutex<Option<String>>,
}

impl Tier {
    pub(super) fn new(redis: RedisStore, capacity: usize, always_read: bool) -> Self {
        let map = redis.servers().topology();
        let (near, pending) = (Near::new(capacity), Pending::new(capacity));
        let (came_up, too_old) = (Notify::new(), Mutex::default());
        Self { redis, near, pending, always_read, map, came_up, too_old }
    }

    /// Whether there are servers, and it holds for each of them.
    fn all(&self, holds: impl Fn(&Node) -> bool) -> bool {
        let nodes = &self.map.borrow().nodes;
        !nodes.is_empty() && nodes.iter().all(|node| holds(node))
    }

    /// Whether all servers are there, and tell of changes.
    pub(super) fn is_followed(&self) -> bool {
        self.all(|node| node.freshness.is_followed())
    }

    /// Whether copies count as fresh. All servers count: a slot may have gone from one to another.
    pub(super) fn is_fresh(&self) -> bool {
        self.all(|node| node.freshness.is_fresh())
    }

    /// Whether the server of `name` is there, and what it says about an absent pin can be relied on.
    pub(super) fn is_there(&self, name: &str) -> bool {
        self.redis.servers().node(name).is_some_and(|node| node.freshness.is_followed())
    }

    fn name(&self, key: &AffinityKey) -> String {
        self.redis.names().current(key)
    }

    pub(super) fn peek(&self, key: &AffinityKey, expiry: &Expiry) -> Option<Pin> {
        if !self.is_fresh() {
            return None;
        }
        let names = self.redis.names();
        // A hit needs the name only to find its copy: it is hashed, and never put together.
        let spot = self.near.spot_of(|hash| names.pieces(key, &mut |piece| hash(piece.as_bytes())));
        let held = self.near.fresh(spot)?;
        // A sliding pin is used up at Redis meanwhile; now and then it must hear of the use.
        let idle = expiry.limits().map_or(Duration::ZERO, |(idle, _)| idle);
        (held.left > idle / 2).then_some(held.pin)
    }

    pub(super) async fn get(
        &self,
        key: &AffinityKey,
        expiry: &Expiry,
    ) -> Result<Option<Pin>, StoreError> {
        let name = self.name(key);
        let (spot, asked) = (self.near.spot(&name), Instant::now());
        let fetched = async {
            if self.is_there(&name) {
                self.settle(&name).await?;
            }
            self.redis.read_pin(key, expiry).await
        };
        // Whoever asks may give up before Redis' time is over, and then goes without what is known.
        let fetched = match self.near.get(spot) {
            Some(_) if !self.redis.is_strict() => {
                let fetched = timeout(self.redis.command_timeout() / 3, fetched).await;
                fetched.unwrap_or_else(|_| Err(StoreErrorKind::Timeout.into()))
            }
            _ => fetched.await,
        };
        match fetched {
            Ok(Some(found)) => {
                self.keep_found(spot, &found, asked);
                Ok(Some(found.pin))
            }
            Ok(None) => Box::pin(self.absent(key, &name, spot)).await,
            Err(error) => self.known(spot, error).map(Some),
        }
    }

    /// What serves when Redis does not: nothing where it must. Where pins count only once a replica
    /// of Redis holds them, a decision of this replica is used and not told as a pin.
    fn known(&self, spot: Spot, error: StoreError) -> Result<Pin, StoreError> {
        match self.near.get(spot).filter(|_| !self.redis.is_strict()) {
            Some(held) if self.redis.is_replicated() && Near::is_own(&held) => {
                Err(error.with_decided(held.pin.selection))
            }
            Some(held) => Ok(held.pin),
            None => Err(error),
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
        if !self.is_there(name) {
            return self.known(spot, StoreErrorKind::Unavailable.into()).map(Some);
        }
        // A copy is dropped when its pin is. Where it was not, this may be another Redis.
        let lost = self.near.is_lost(&held) || follow::has_restarted(self, name).await;
        if !lost {
            self.near.forget(name.as_bytes());
            return Ok(None);
        }
        // A failure leaves the copy as it is, for the next request to try.
        let claim = match self.redis.claim_pin(key, held.pin.clone(), held.left).await {
            Ok(claim) => claim,
            Err(error) => return self.known(spot, error).map(Some),
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
    pub(super) fn keep_found(&self, spot: Spot, found: &FoundPin, asked: Instant) {
        let left = found.left.saturating_sub(asked.elapsed());
        if found.is_current {
            self.keep(spot, &found.pin, left);
        } else {
            self.near.keep_known(spot, &found.pin, left);
        }
    }

    /// Keeps what Redis said; without being followed it may have changed at once.
    pub(super) fn keep(&self, spot: Spot, pin: &Pin, left: Duration) {
        if self.is_followed() {
            self.near.keep(spot, pin, left);
        } else {
            self.near.keep_known(spot, pin, left);
        }
    }

    pub(super) async fn claim(
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

    pub(super) async fn repin(
        &self,
        key: &AffinityKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        let (name, ttl) = (self.name(key), expiry.initial());
        let to = self.redis.pin_after(from, selection);
        let (held, asked) = (self.near.get(self.near.spot(&name)), Instant::now());
        let mut withheld = Withheld { tier: self, name: &name, held };
        let changing = self.near.change(&name);
        let moved = self.redis.move_pin(key, from, &to, expiry).await;
        drop(changing);
        let held = withheld.held.take();
        drop(withheld);
        let spot = self.near.spot(&name);
        match (moved, held) {
            // Not fresh, as it may have been moved again before the copy could be told of it. Little
            // is lost: Redis tells of a script's changes to its caller, too.
            (Ok(Some(claim)), _) if claim.won => {
                let left = ttl.saturating_sub(asked.elapsed());
                self.near.keep_known(spot, &claim.pin, left);
                Ok(Some(claim))
            }
            (Ok(standing), _) => Ok(standing),
            // The session moves on this replica, and at Redis when it is back.
            (Err(_), Some(held)) if held.pin.epoch == from && self.moves_alone() => {
                let to = Pin { claimed_at: held.pin.claimed_at, ..to };
                self.near.keep_own(spot, &to, ttl);
                self.note(name, key, Kind::Move { from, to: to.clone() }, ttl);
                Ok(Some(Claim { pin: to, won: true }))
            }
            (Err(error), held) => {
                if let Some(held) = held {
                    self.near.keep_again(spot, &held);
                }
                Err(error)
            }
        }
    }

    pub(super) async fn release(
        &self,
        key: &AffinityKey,
        epoch: Option<Epoch>,
    ) -> Result<bool, StoreError> {
        let name = self.name(key);
        let held = self.near.get(self.near.spot(&name));
        let mut ending = Ending { tier: self, key, name: &name, held, epoch, done: false };
        let changing = self.near.change(&name);
        let released = self.redis.release_pin(key, epoch).await?;
        drop(changing);
        ending.done = true;
        drop(self.pending.take(&name));
        Ok(released)
    }
}

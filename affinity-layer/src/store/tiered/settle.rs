//! What was decided here while Redis was away, and how it gets there.

use std::time::Duration;

use tokio::time::Instant;

use super::near::Spot;
use super::pending::{self, Change, Kind};
use super::tier::Tier;
use crate::store::Claim;
use crate::store::memory::Held;
use crate::{AffinityKey, Epoch, Expiry, Pin, StoreError, StoreErrorKind};

impl Tier {
    /// Whether a session may move without Redis: not where nobody may be told of a pin that could be
    /// lost, or that Redis does not hold.
    pub(super) fn moves_alone(&self) -> bool {
        !self.redis.is_replicated() && !self.redis.is_strict()
    }

    pub(super) fn note(&self, name: String, key: &AffinityKey, kind: Kind, ttl: Duration) {
        let now = Instant::now();
        let until = now.checked_add(ttl).unwrap_or(now + pending::RELEASE_LIFE);
        let change = Change { key: key.detached(), kind, until, refused: None };
        self.pending.note(name, change);
    }

    /// Tells Redis of what was decided here, if something was; its winner stands.
    pub(super) async fn settle(&self, name: &str) -> Result<(), StoreError> {
        let Some(change) = self.pending.take(name) else {
            return Ok(());
        };
        let mut untold = Untold { tier: self, name, change: Some(change.clone()) };
        if change.rests() {
            return Err(StoreErrorKind::Invalid.into());
        }
        // Every read has room for this, and hardly any needs it.
        let told = Box::pin(self.tell(name, &change)).await;
        match told.as_ref().map_err(StoreError::kind) {
            Ok(()) => untold.change = None,
            Err(StoreErrorKind::Invalid) => {
                let refused = Some(Instant::now());
                untold.change = Some(Change { refused, ..change });
            }
            Err(_) => {}
        }
        told
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
        if claim.won && matches!(&change.kind, Kind::Claim(_)) {
            return self.keep(spot, &claim.pin, left);
        }
        let (spot, asked) = (self.near.spot(name), Instant::now());
        match self.redis.read_pin(&change.key, &Expiry::fixed(left)).await {
            Ok(Some(found)) => self.keep_found(spot, &found, asked),
            _ => self.near.forget(name.as_bytes()),
        }
    }
}

/// A change on its way to Redis. When that fails, or whoever waits for it gives up, it is still to be
/// told, unless another one was noted in its place.
struct Untold<'a> {
    tier: &'a Tier,
    name: &'a str,
    change: Option<Change>,
}

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        if let Some(change) = self.change.take() {
            self.tier.pending.note_again(self.name, change);
        }
    }
}

/// A claim on its way. When it fails, or its caller gives up, it stays as this replica's own; where
/// Redis must hold what is told, nothing stays, and the next request asks Redis what became of it.
pub(super) struct Unconfirmed<'a> {
    pub(super) tier: &'a Tier,
    pub(super) key: &'a AffinityKey,
    pub(super) name: String,
    pub(super) spot: Spot,
    pub(super) pin: Pin,
    pub(super) ttl: Duration,
    pub(super) done: bool,
}

impl Drop for Unconfirmed<'_> {
    fn drop(&mut self) {
        if !self.done && !self.tier.redis.is_strict() {
            self.tier.near.keep_own(self.spot, &self.pin, self.ttl);
            let name = std::mem::take(&mut self.name);
            self.tier.note(name, self.key, Kind::Claim(self.pin.clone()), self.ttl);
        }
    }
}

/// A copy that a move has taken away. When whoever waits for the move gives up, it serves again.
pub(super) struct Withheld<'a> {
    pub(super) tier: &'a Tier,
    pub(super) name: &'a str,
    pub(super) held: Option<Held>,
}

impl Drop for Withheld<'_> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.tier.near.keep_again(self.tier.near.spot(self.name), &held);
        }
    }
}

/// A release on its way. When it fails, or its caller gives up, it is told when Redis is back.
pub(super) struct Ending<'a> {
    pub(super) tier: &'a Tier,
    pub(super) key: &'a AffinityKey,
    pub(super) name: &'a str,
    pub(super) held: Option<Held>,
    pub(super) epoch: Option<Epoch>,
    pub(super) done: bool,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let near = &self.tier.near;
        match self.held.take() {
            // It is not for the pin that is known here.
            Some(held) if self.epoch.is_some_and(|epoch| held.pin.epoch != epoch) => {
                near.keep_again(near.spot(self.name), &held);
            }
            _ => {
                let (name, kind) = (self.name.to_owned(), Kind::Release(self.epoch));
                self.tier.note(name, self.key, kind, pending::RELEASE_LIFE);
            }
        }
    }
}

//! What was decided here while Redis was away, and how it gets there.

use std::time::Duration;

use tokio::time::Instant;

use super::near::Spot;
use super::pending::{self, Change, Kind};
use super::tier::Tier;
use crate::store::Claim;
use crate::{AffinityKey, Expiry, Pin, StoreError};

impl Tier {
    pub(super) fn note(&self, name: String, key: &AffinityKey, kind: Kind, ttl: Duration) {
        let now = Instant::now();
        let until = now.checked_add(ttl).unwrap_or(now + pending::RELEASE_LIFE);
        self.pending.note(name, Change { key: key.clone(), kind, until });
    }

    /// Tells Redis of what was decided here, if something was; its winner stands.
    pub(super) async fn settle(&self, name: &str) -> Result<(), StoreError> {
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
        if !self.done {
            self.tier.near.keep_unconfirmed(self.spot, &self.pin, self.ttl);
            let name = std::mem::take(&mut self.name);
            self.tier.note(name, self.key, Kind::Claim(self.pin.clone()), self.ttl);
        }
    }
}

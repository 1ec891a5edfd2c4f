//! What was decided here while Redis was away, and how it gets there.
//!
//! The functions send a noted change and adopt the result: the pin in Redis counts, even if it is
//! another replica's. The guards below note a change in the first place. They act on drop, because
//! a change can end in three ways (an answer, an error, a caller that is gone), and the last one
//! runs no code but a destructor.
//!
//! | guard | if the change is not known to be made |
//! |---|---|
//! | `Unconfirmed` | the claim is kept as own and noted |
//! | `Withheld` | the copy that a move took away serves again, not fresh |
//! | `Ending` | the release is noted; the copy stays away |
//! | `Untold` | a noted change that was taken out is noted again |

use std::time::Duration;

use tokio::time::Instant;

use super::near::Spot;
use super::pending::{self, Change, Kind};
use super::shared::Shared;
use crate::store::Claim;
use crate::store::memory::Held;
use crate::{AffinityKey, Epoch, Expiry, Pin, StoreError, StoreErrorKind};

/// Tells Redis what was decided here, if anything was; the winner in Redis counts.
///
/// # Errors
///
/// As sending it failed; the change stays noted. It is `Invalid` while a value under its name that
/// is no pin is left alone for a second.
pub(super) async fn settle(shared: &Shared, name: &str) -> Result<(), StoreError> {
    let Some(change) = shared.pending.take(name) else {
        return Ok(());
    };
    let mut untold = Untold { shared, name, change: Some(change.clone()) };
    if change.rests() {
        return Err(StoreErrorKind::Invalid.into());
    }
    // Every read has room for this, and hardly any needs it.
    let told = Box::pin(tell(shared, name, &change)).await;
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

/// A move whose pin has gone from Redis becomes a claim: Redis has lost it, or its release came
/// from a replica that could not know of the move.
///
/// A claim that is told late has a new epoch: meanwhile a pin with a later one than that of the decision
/// may have been made, told of, and released. If the claim had been stored before its answer was lost,
/// the late one loses against it.
async fn tell(shared: &Shared, name: &str, change: &Change) -> Result<(), StoreError> {
    let left = change.until.saturating_duration_since(Instant::now());
    let spot = shared.near.spot_for(&change.key, name);
    let pin = match &change.kind {
        Kind::Release(epoch) => {
            shared.redis.release_pin(&change.key, *epoch).await?;
            return Ok(());
        }
        Kind::Claim(pin) => pin,
        Kind::Move { from, to } => {
            let expiry = Expiry::fixed(left);
            let moved = shared.redis.move_pin(&change.key, *from, to, &expiry).await?;
            if let Some(claim) = moved {
                adopt(shared, name, spot, change, &claim, left).await;
                return Ok(());
            }
            to
        }
    };
    let late = Pin { claimed_at: pin.claimed_at, ..shared.redis.new_pin(pin.selection.clone()) };
    let claim = shared.redis.claim_pin(&change.key, late, left).await?;
    adopt(shared, name, spot, change, &claim, left).await;
    Ok(())
}

/// Keeps the pin that Redis holds. Any but our own claim is read again, for its time left.
async fn adopt(
    shared: &Shared,
    name: &str,
    spot: Spot,
    change: &Change,
    claim: &Claim,
    left: Duration,
) {
    if claim.won && matches!(&change.kind, Kind::Claim(_)) {
        return shared.keep(spot, &claim.pin, left);
    }
    let (spot, asked) = (shared.near.spot_for(&change.key, name), Instant::now());
    match shared.redis.read_pin(&change.key, &Expiry::fixed(left)).await {
        Ok(Some(found)) => shared.keep_found(spot, &found, asked),
        _ => drop(shared.near.forget(name.as_bytes())),
    }
}

/// A change on its way to Redis. If it fails, or its caller gives up, it is still to be sent, unless
/// another one was noted instead.
struct Untold<'a> {
    shared: &'a Shared,
    name: &'a str,
    change: Option<Change>,
}

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        if let Some(change) = self.change.take() {
            self.shared.pending.note_again(self.name, change);
        }
    }
}

/// A claim on its way. If it fails, or its caller gives up, it stays as this replica's own; if Redis is
/// required, nothing stays, and the next request asks Redis what it holds.
///
/// That is right for either outcome: if the claim had reached Redis, a later one finds it there.
pub(super) struct Unconfirmed<'a> {
    pub(super) shared: &'a Shared,
    pub(super) key: &'a AffinityKey,
    pub(super) name: String,
    pub(super) spot: Spot,
    pub(super) pin: Pin,
    pub(super) ttl: Duration,
    pub(super) done: bool,
}

impl Drop for Unconfirmed<'_> {
    fn drop(&mut self) {
        if !self.done && !self.shared.redis.is_strict() {
            self.shared.near.keep_own(self.spot, &self.pin, self.ttl);
            let name = std::mem::take(&mut self.name);
            self.shared.note(name, self.key, Kind::Claim(self.pin.clone()), self.ttl);
        }
    }
}

/// A copy that a move has taken away. If the caller of the move gives up, it serves again.
///
/// Declare it before the [`Changing`](super::near::Changing) of the same name: locals are dropped
/// in reverse, and the copy has to come back after everything of that name was dropped for the last
/// time.
pub(super) struct Withheld<'a> {
    pub(super) shared: &'a Shared,
    pub(super) spot: Spot,
    pub(super) held: Option<Held>,
}

impl Drop for Withheld<'_> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.shared.near.keep_again(self.spot, &held);
        }
    }
}

/// A release on its way. If it fails, or its caller gives up, it is sent once Redis is back.
///
/// A release must not be forgotten: the task is over, and its client will not repeat the request.
/// It is the only change that is sent later even where Redis is required, since it tells nobody a
/// model.
pub(super) struct Ending<'a> {
    pub(super) shared: &'a Shared,
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
        let near = &self.shared.near;
        match self.held.take() {
            // It is not for the pin that is known here.
            Some(held) if self.epoch.is_some_and(|epoch| held.pin.epoch != epoch) => {
                near.keep_again(near.spot_for(self.key, self.name), &held);
            }
            _ => {
                let (name, kind) = (self.name.to_owned(), Kind::Release(self.epoch));
                self.shared.note(name, self.key, kind, pending::RELEASE_LIFE);
            }
        }
    }
}

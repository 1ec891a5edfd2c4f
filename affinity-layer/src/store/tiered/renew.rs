//! Keeps pins and their copies alive in the background.
//!
//! A use of a fresh copy costs no round trip, and yet Redis has to hear of it before it lets the pin
//! end; `redis/renewals.rs` says when. Each renewal reads the pin too, and what it finds is kept as the
//! copy: so the copy has the new time left without being away for a moment.
//!
//! Other replicas are told that the pin has changed, because Redis reports a renewal like any change.
//! Their copies go, as they must: it might have been a move. A replica where the copy was in use reads the
//! pin again at once, so that a request seldom has to. It also learns in this way that the pin is renewed,
//! and so one of the replicas of a session renews it for all.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::shared::Shared;
use crate::store::AnswerState;
use crate::store::memory::Digest;
use crate::store::redis::{Cause, Renewal};
use crate::{AffinityKey, Expiry, Pin};

/// A pin that has `left` is used.
pub(super) fn used(shared: &Shared, key: &AffinityKey, expiry: &Expiry, pin: &Pin, left: Duration) {
    let redis = &shared.redis;
    if redis.is_due(expiry, pin, left) {
        let claimed_at = Some(pin.claimed_at);
        shared.renewals.soon(with_copy(shared, key, redis.renewal(key, expiry, claimed_at, None)));
    }
}

/// An answer by a pin runs, or the last one here has ended.
pub(super) fn answers(shared: &Shared, key: &AffinityKey, expiry: &Expiry, answer: AnswerState) {
    let Some((idle, max_age)) = expiry.limits() else { return };
    let redis = &shared.redis;
    let names = redis.names();
    let spot = shared.near.spot_of(|hash| names.pieces(key, &mut |piece| hash(piece.as_bytes())));
    let held = shared.near.get(spot);
    let claimed_at = held.as_ref().map(|held| held.pin.claimed_at);
    let left = held.as_ref().map_or(Duration::ZERO, |held| held.left);
    let renewal = || with_copy(shared, key, redis.renewal(key, expiry, claimed_at, Some(answer)));
    let is_overtime =
        held.is_some_and(|held| redis.until(max_age, &held.pin).is_some_and(|rest| rest < idle));
    match answer {
        AnswerState::Running if left <= idle - idle / 4 => shared.renewals.soon(renewal()),
        AnswerState::Ended if is_overtime => shared.renewals.soon(renewal()),
        AnswerState::Ended if left + idle / 64 < idle => {
            shared.renewals.later(renewal(), idle / 4);
        }
        AnswerState::Running | AnswerState::Ended => {}
    }
}

/// The pin of `name` has changed, and its copy of `digest` was in use here.
pub(super) fn changed(shared: &Shared, name: &str, digest: Digest) {
    let (name, copy) = (name.to_owned(), Some(digest));
    shared.renewals.soon(Renewal { name, previous: None, copy, cause: Cause::Changed });
}

/// What is kept of the answer counts for the tenant of `key`.
fn with_copy(shared: &Shared, key: &AffinityKey, renewal: Renewal) -> Renewal {
    let copy = Some(shared.near.spot_for(key, &renewal.name).digest());
    Renewal { copy, ..renewal }
}

/// Renews or reads a pin, and keeps what Redis says.
pub(super) async fn send(shared: Arc<Shared>, renewal: Renewal) {
    let near = &shared.near;
    let spot = renewal.copy.map_or_else(|| near.spot(&renewal.name), |copy| near.spot_at(copy));
    let (held, asked) = (near.get(spot), Instant::now());
    match shared.redis.renew_pin(&renewal).await {
        Ok(Some(found)) if matches!(renewal.cause, Cause::Changed) => {
            if shared.is_followed() && found.is_current {
                near.keep_unused(spot, &found.pin, found.left.saturating_sub(asked.elapsed()));
            }
        }
        Ok(Some(found)) => shared.keep_found(spot, &found, asked),
        // If it is gone, an invalidation says so, or a read finds out why.
        Ok(None) => {}
        Err(_) => {
            shared.renewals.failed();
            // The report of another replica's change may have been kept from us by our own command.
            if let Some(held) = held.filter(|_| near.fresh(spot).is_some()) {
                near.keep_again(spot, &held);
            }
        }
    }
}

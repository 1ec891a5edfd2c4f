//! One entry of the map.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use super::clock::Place;
use crate::{Epoch, Pin, Selection};

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) selection: Arc<Selection>,
    pub(super) epoch: Epoch,
    /// Milliseconds since 1970.
    pub(super) claimed_at: u64,
    /// Milliseconds since the map was made.
    pub(super) expires_at: AtomicU64,
    pub(super) tag: u32,
    pub(super) place: Place,
    /// Set by a use, cleared by the passing hand of the clock.
    pub(super) used: AtomicBool,
}

impl Slot {
    pub(super) fn is_live(&self, now: u64) -> bool {
        now < self.expires_at.load(Ordering::Relaxed)
    }

    pub(super) fn held(&self, now: u64) -> Held {
        let claimed_at = UNIX_EPOCH.checked_add(Duration::from_millis(self.claimed_at));
        Held {
            pin: Pin {
                selection: self.selection.clone(),
                epoch: self.epoch,
                claimed_at: claimed_at.unwrap_or(UNIX_EPOCH),
            },
            tag: self.tag,
            left: Duration::from_millis(
                self.expires_at.load(Ordering::Relaxed).saturating_sub(now),
            ),
        }
    }
}

/// A pin as it stands in the map.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "for near copies"))]
pub(in crate::store) struct Held {
    pub(in crate::store) pin: Pin,
    /// What the owner of the map noted beside the pin.
    pub(in crate::store) tag: u32,
    /// Time until it expires.
    pub(in crate::store) left: Duration,
}

//! One entry of the map, in 40 bytes.
//!
//! There may be millions, so each field is as small as its use allows: times are milliseconds in a
//! `u64`, and the place on the ring shares 32 bits with the flag of use. What a hit changes,
//! `expires_at` and `position`, is atomic, so that it can be changed under the read lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use super::clock::Place;
use crate::{Epoch, Pin, Selection};

/// A pin, its end, and its place on the ring.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) selection: Arc<Selection>,
    pub(super) epoch: Epoch,
    /// Milliseconds since 1970.
    pub(super) claimed_at: u64,
    /// Milliseconds since the map was made.
    pub(super) expires_at: AtomicU64,
    /// What the owner of the map notes; see `tiered/near.rs`.
    pub(super) tag: u32,
    pub(super) position: Position,
}

/// The place of an entry on its clock, and in the lowest bits whether it was used since the hand of the
/// clock last passed, and whether it was used at all. There are millions of entries: separate flags would
/// cost eight bytes in each.
#[derive(Debug)]
pub(super) struct Position(AtomicU32);

impl Position {
    /// The flag of use, which the hand clears.
    const USED: u32 = 1;

    /// The flag of use, which stays; the index is in the bits above it.
    const SERVED: u32 = 2;

    pub(super) fn new(place: Place) -> Self {
        Self(AtomicU32::new(place.index << 2 | u32::from(place.reused)))
    }

    /// The same for an entry whose first use is the one that made it.
    pub(super) fn served(self) -> Self {
        Self(AtomicU32::new(self.0.into_inner() | Self::SERVED))
    }

    /// The place on the ring.
    pub(super) fn index(&self) -> u32 {
        self.0.load(Ordering::Relaxed) >> 2
    }

    /// Notes a use, until the hand passes.
    pub(super) fn mark_used(&self) {
        // A plain store would make every hit write to the entry's cache line.
        let both = Self::USED | Self::SERVED;
        if self.0.load(Ordering::Relaxed) & both != both {
            self.0.fetch_or(both, Ordering::Relaxed);
        }
    }

    /// Whether it was used since it was made.
    #[cfg(feature = "redis")]
    pub(super) fn was_served(&self) -> bool {
        self.0.load(Ordering::Relaxed) & Self::SERVED != 0
    }

    /// Whether it was not used since this was last asked.
    ///
    /// Asking clears the flag: that is the hand passing.
    pub(super) fn was_idle(&self) -> bool {
        self.0.fetch_and(!Self::USED, Ordering::Relaxed) & Self::USED == 0
    }
}

impl Slot {
    /// An entry lives until its end, exclusively.
    pub(super) fn is_live(&self, now: u64) -> bool {
        now < self.expires_at.load(Ordering::Relaxed)
    }

    /// Defers its end, which a use never brings forward: an answer may run beyond the maximum age.
    pub(super) fn lives_until(&self, end: u64) {
        if self.expires_at.load(Ordering::Relaxed) < end {
            self.expires_at.fetch_max(end, Ordering::Relaxed);
        }
    }

    /// A copy of the entry for the caller; the selection is shared.
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

/// A pin as stored in the map.
#[derive(Clone, Debug)]
pub(in crate::store) struct Held {
    pub(in crate::store) pin: Pin,
    /// What the owner of the map noted about the pin.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "for near copies"))]
    pub(in crate::store) tag: u32,
    /// Time until it expires.
    pub(in crate::store) left: Duration,
}

#[cfg(test)]
mod tests {
    use super::super::digest::Digest;
    use super::*;

    #[test]
    fn an_entry_of_the_map_and_its_place_are_small() {
        assert_eq!(size_of::<Slot>(), 40);
        assert_eq!(size_of::<Option<Digest>>(), size_of::<Digest>());
    }

    #[test]
    fn a_position_keeps_its_index_through_uses() {
        let position = Position::new(Place { index: 7, reused: false });
        assert!(position.was_idle());
        position.mark_used();
        position.mark_used();
        assert_eq!((position.index(), position.was_idle(), position.was_idle()), (7, false, true));
        assert!(!Position::new(Place { index: 7, reused: true }).was_idle());
        assert_eq!(position.index(), 7);
    }
}

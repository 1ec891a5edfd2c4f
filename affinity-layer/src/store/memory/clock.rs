//! Who makes room: the CLOCK algorithm over rings of positions.
//!
//! 1. Each entry has a place on a ring, and a flag that a use sets.
//! 2. To evict, a hand goes round. It clears the flag of each entry that it meets, and takes the
//!    first one whose flag was clear: it was not used for a whole turn.
//! 3. The new entry gets the place of the evicted one, just behind the hand, so it has a whole turn
//!    before it.
//!
//! That approximates least-recently-used order, and a hit only sets a bit in an entry that it reads
//! anyway. An exact order would move the entry to the front of a list on each hit, under a lock.
//!
//! A second pointer, the sweep, goes round by two places with each insert and finds the expired
//! entries; no task has to wake up for that, and no insert pays for more than two.
//!
//! The ring holds digests and knows nothing of the entries. The caller looks them up, and says
//! through closures which one is spared, in use, or gone.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::digest::Digest;

/// How far a hand goes for one eviction. When every entry it meets is in use, the first one goes:
/// the bound keeps an eviction to a fraction of a millisecond.
const MAX_STEPS: usize = 1024;

/// How many entries one claim checks for expiry: more than the one it adds, so that checking keeps
/// pace with growth.
const SWEEP: usize = 2;

/// How many places of a listing are looked at under one lock.
const STRETCH: usize = 64;

/// The place of an entry on the clock of its digest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) index: u32,
    /// A release freed this place, so the hand may come by at any time: the entry starts as used, so
    /// that a new session is not the first to go.
    pub(super) reused: bool,
}

/// Some places of a ring, one after the other.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) entries: Vec<(Digest, u32)>,
    /// The place behind them, unless the ring ends there.
    pub(super) next: Option<usize>,
}

/// The rings, one for each part of the digests.
#[derive(Debug)]
pub(super) struct Clocks(Box<[Mutex<Clock>]>);

/// One ring. `free` lists its empty places, which new entries fill before the ring grows. The hand
/// and the sweep are indices that may have run past the end.
#[derive(Debug, Default)]
struct Clock {
    ring: Vec<Option<Digest>>,
    free: Vec<u32>,
    hand: usize,
    sweep: usize,
}

impl Clock {
    /// A place for a new entry: one that was freed, else one more at the end, which the hand
    /// reaches last.
    fn take_place(&mut self, digest: Digest) -> Place {
        if let Some(index) = self.free.pop() {
            self.set(index, Some(digest));
            return Place { index, reused: true };
        }
        // A ring holds a part of at most 10 million entries, so the index fits.
        let index = u32::try_from(self.ring.len()).unwrap_or(u32::MAX);
        if self.ring.len() == self.ring.capacity() {
            // By a sixteenth at a time, not by doubling: of millions of places half would be empty.
            self.ring.reserve_exact(self.ring.len() / 16 + 4);
        }
        self.ring.push(Some(digest));
        Place { index, reused: false }
    }

    /// A place that does not exist is left alone: nothing here may panic.
    fn set(&mut self, index: u32, digest: Option<Digest>) {
        if let Some(position) = self.ring.get_mut(index as usize) {
            *position = digest;
        }
    }

    /// Empties a place and offers it to the next new entry.
    fn vacate(&mut self, index: u32) {
        self.set(index, None);
        self.free.push(index);
    }

    /// The next entry under the hand that is not `spared`; `None` after one turn.
    fn advance(&mut self, spared: impl Fn(Digest) -> bool) -> Option<(Digest, u32)> {
        for _ in 0..self.ring.len() {
            let at = if self.hand < self.ring.len() { self.hand } else { 0 };
            self.hand = at + 1;
            if let Some(Some(digest)) = self.ring.get(at)
                && !spared(*digest)
            {
                return Some((*digest, u32::try_from(at).ok()?));
            }
        }
        None
    }

    /// The entry at the sweep's position, which then moves on.
    fn sweep(&mut self) -> Option<(Digest, u32)> {
        let at = if self.sweep < self.ring.len() { self.sweep } else { 0 };
        self.sweep = at + 1;
        let digest = self.ring.get(at).copied().flatten()?;
        Some((digest, u32::try_from(at).ok()?))
    }
}

impl Clocks {
    /// `parts` rings.
    pub(super) fn new(parts: usize) -> Self {
        Self((0..parts).map(|_| Mutex::default()).collect())
    }

    /// A ring is consistent between any two calls, so one whose holder panicked is used on.
    fn lock(&self, part: usize) -> Option<MutexGuard<'_, Clock>> {
        Some(self.0.get(part)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn lock_of(&self, digest: Digest) -> Option<MutexGuard<'_, Clock>> {
        self.lock(digest.part(self.parts()))
    }

    /// A place for `digest` on its ring.
    pub(super) fn place(&self, digest: Digest) -> Place {
        let clock = self.lock_of(digest);
        clock.map_or(Place { index: 0, reused: true }, |mut clock| clock.take_place(digest))
    }

    /// Gives the place of a removed entry back.
    pub(super) fn vacate(&self, digest: Digest, index: u32) {
        if let Some(mut clock) = self.lock_of(digest) {
            clock.vacate(index);
        }
    }

    /// A few entries of the ring of `digest`, for a check of their expiry.
    pub(super) fn sweep(&self, digest: Digest) -> impl Iterator<Item = (Digest, u32)> + use<> {
        let mut found = [None; SWEEP];
        if let Some(mut clock) = self.lock_of(digest) {
            found.fill_with(|| clock.sweep());
        }
        found.into_iter().flatten()
    }

    /// How many rings there are.
    pub(super) fn parts(&self) -> usize {
        self.0.len()
    }

    /// The entries at the places of a ring from `from` on; `None` if there is no such ring.
    pub(super) fn stretch(&self, part: usize, from: usize) -> Option<Stretch> {
        let clock = self.lock(part)?;
        let places = (from..clock.ring.len()).take(STRETCH);
        let entry = |at: usize| Some((clock.ring.get(at).copied()??, u32::try_from(at).ok()?));
        let entries = places.filter_map(entry).collect();
        let end = from.saturating_add(STRETCH);
        Some(Stretch { entries, next: (end < clock.ring.len()).then_some(end) })
    }

    /// Finds an entry to evict and gives its place to `digest`; `None` if there is none.
    ///
    /// It begins at the ring of `digest`, where the place can be used again, and goes on to the
    /// others. An entry that is `spared` is passed over, unless its ring holds no other.
    ///
    /// `remove(candidate, index, must_go)` removes a candidate, which it may leave unless
    /// `must_go`, and says whether it did. No ring is locked while it runs.
    pub(super) fn evict(
        &self,
        digest: Digest,
        spared: impl Fn(Digest) -> bool,
        mut remove: impl FnMut(Digest, u32, bool) -> bool,
    ) -> Option<Place> {
        let own = digest.part(self.parts());
        for part in (own..self.parts()).chain(0..own) {
            let Some(index) = self.evict_from(part, &spared, &mut remove) else {
                continue;
            };
            let mut clock = self.lock(part)?;
            if part == own {
                clock.set(index, Some(digest));
                return Some(Place { index, reused: false });
            }
            clock.vacate(index);
            drop(clock);
            return Some(self.place(digest));
        }
        None
    }

    /// Moves the hand of one ring until an entry goes, and gives its place; `None` for an empty
    /// ring, or if the last resort was gone already. The lock is taken anew for each step, so that
    /// other threads get in between.
    fn evict_from(
        &self,
        part: usize,
        spared: &impl Fn(Digest) -> bool,
        remove: &mut impl FnMut(Digest, u32, bool) -> bool,
    ) -> Option<u32> {
        let mut first = None;
        for _ in 0..MAX_STEPS {
            let Some((digest, index)) = self.lock(part)?.advance(spared) else {
                break;
            };
            if remove(digest, index, false) {
                return Some(index);
            }
            first.get_or_insert((digest, index));
        }
        let (digest, index) = match first {
            Some(first) => first,
            None => self.lock(part)?.advance(|_| false)?,
        };
        remove(digest, index, true).then_some(index)
    }
}

#[cfg(test)]
mod tests;

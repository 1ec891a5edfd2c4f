//! A bounded, expiring map from digests to pins: what the memory store and a near copy share.
//!
//! 1. **A hit** looks its entry up under a read lock, marks it as used, defers its end if it
//!    slides, and clones the `Arc` of its selection.
//! 2. **An insert** first checks two entries of its ring for expiry, then finds a place (a free
//!    one, a new one, or that of an entry that it evicts), and only then locks the entry. If
//!    another thread was faster, it gives the place back.
//! 3. **An end** is a time and not an event. An expired entry is absent for everyone from that
//!    moment, and a later insert frees its memory.
//!
//! Every time is in milliseconds since the map was made, on tokio's clock: a jump of the system's
//! time ends no pin, and tests pause it. Atomic operations are `Relaxed`: each value stands for
//! itself, and the entry's lock orders what belongs together.
//!
//! A listing goes over the rings place by place, and not over the map: a place stays the same while
//! entries come and go, so a page can end and go on there. It copies up to 64 places under the lock
//! of a ring, lets go of it, and looks the entries up.
//!
//! The caller supplies the epochs, and with `tag` 32 bits of its own for each entry.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dashmap::mapref::entry::Entry;
use tokio::time::Instant;

use super::clock::{Clocks, Place};
use super::digest::Digest;
use super::interner::Interner;
pub(in crate::store) use super::slot::Held;
use super::slot::{Position, Slot};
use super::slots::{self, Slots};
use super::tenants::Tenants;
use crate::store::AnswerState;
use crate::{Epoch, Expiry, Pin, Selection, telemetry};

/// How many stretches of places one page looks at.
///
/// So a page looks at 4,096 places at most, and a listing of a store that is nearly empty does not
/// hold up its thread.
const MAX_STRETCHES: usize = 64;

/// Whether a pin replaces another, and counts as used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Put {
    IfAbsent,
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "for near copies"))]
    Used,
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "for near copies"))]
    Unused,
}

/// Some pins, and where to continue.
type Page = (Vec<(Digest, Held)>, Option<(usize, usize)>);

/// See the module's documentation for how its parts work together.
#[derive(Debug)]
pub(in crate::store) struct Pins {
    /// What it is called where its evictions are counted.
    name: &'static str,
    /// The entries.
    slots: Slots,
    /// Entries, and places that inserts have taken for entries to come.
    len: AtomicUsize,
    capacity: usize,
    clocks: Clocks,
    tenants: Tenants,
    selections: Interner,
    born: Instant,
    /// The wall clock when the map was made. It is read once: what follows is counted from `born`, a
    /// steady clock.
    born_unix: u64,
}

impl Pins {
    /// A map of at most `capacity` entries, at least one.
    pub(in crate::store) fn new(capacity: usize, name: &'static str) -> Self {
        let parts = slots::parts(capacity);
        Self {
            name,
            slots: Slots::new(parts),
            len: AtomicUsize::new(0),
            capacity: capacity.max(1),
            clocks: Clocks::new(parts),
            tenants: Tenants::default(),
            selections: Interner::default(),
            born: Instant::now(),
            born_unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis),
        }
    }

    /// Entries, expired ones that are not dropped yet included.
    pub(in crate::store) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// The wall clock, to the millisecond.
    pub(in crate::store) fn wall(&self) -> SystemTime {
        let unix = Duration::from_millis(self.born_unix.saturating_add(self.now()));
        UNIX_EPOCH.checked_add(unix).unwrap_or(UNIX_EPOCH)
    }

    /// Milliseconds since the map was made.
    fn now(&self) -> u64 {
        millis(self.born.elapsed())
    }

    /// The time since the claim of the session, which bounds the life of a sliding pin. A pin that
    /// another process claimed with a clock ahead of ours has age 0.
    fn age(&self, slot: &Slot, now: u64) -> Duration {
        Duration::from_millis(self.born_unix.saturating_add(now).saturating_sub(slot.claimed_at))
    }

    /// The pin of `digest`. Counts as a use.
    pub(in crate::store) fn get(&self, digest: Digest, expiry: &Expiry) -> Option<Held> {
        let slot = self.slots.of(digest).get(&digest)?;
        let now = self.now();
        if !slot.is_live(now) {
            return None;
        }
        slot.position.mark_used();
        if let Some(left) = expiry.after_use(self.age(&slot, now)) {
            slot.lives_until(now.saturating_add(millis(left)));
        }
        Some(slot.held(now))
    }

    /// Notes that an answer by the pin runs, or that the last one has ended; see
    /// [`renew`](crate::AffinityStore::renew).
    pub(in crate::store) fn renew(&self, digest: Digest, expiry: &Expiry, answer: AnswerState) {
        let now = self.now();
        let slot = self.slots.of(digest).get(&digest).filter(|slot| slot.is_live(now));
        let (Some(slot), Some((idle, _))) = (slot, expiry.limits()) else { return };
        match (answer, expiry.after_use(self.age(&slot, now))) {
            // Only the end may bring the end of the pin forward, to its maximum age.
            (AnswerState::Ended, Some(left)) => {
                slot.expires_at.store(now.saturating_add(millis(left)), Ordering::Relaxed);
            }
            _ => slot.lives_until(now.saturating_add(millis(idle))),
        }
    }

    /// Puts `pin` in for `ttl` unless there is one; `Some` is the one that was there.
    ///
    /// A lost claim costs a read lock. Only for a missing or expired entry is there an insert,
    /// which checks again.
    pub(in crate::store) fn claim(&self, digest: Digest, pin: &Pin, ttl: Duration) -> Option<Pin> {
        let now = self.now();
        if let Some(slot) = self.slots.of(digest).get(&digest).filter(|slot| slot.is_live(now)) {
            return Some(slot.held(now).pin);
        }
        self.insert(digest, pin, ttl, 0, Put::IfAbsent)
    }

    /// Stores `pin` for `ttl`, replacing any previous one.
    ///
    /// For near copies: what Redis says replaces what was known.
    #[cfg(feature = "redis")]
    pub(in crate::store) fn put(
        &self,
        digest: Digest,
        pin: &Pin,
        ttl: Duration,
        tag: u32,
        is_used: bool,
    ) {
        self.insert(digest, pin, ttl, tag, if is_used { Put::Used } else { Put::Unused });
    }

    /// Removes what is there, and returns its digest if it was live and used since it was put in.
    #[cfg(feature = "redis")]
    pub(in crate::store) fn take(&self, digest: Digest) -> Option<Digest> {
        let now = self.now();
        let mut was_used = false;
        let (taken, _) = self.remove_if(digest, |slot| {
            was_used = slot.is_live(now) && slot.position.was_served();
            true
        })?;
        Some(taken).filter(|_| was_used)
    }

    /// Puts `pin` in, or returns the live one that is there unless that is to be replaced.
    fn insert(&self, digest: Digest, pin: &Pin, ttl: Duration, tag: u32, put: Put) -> Option<Pin> {
        let now = self.now();
        self.drop_expired(digest, now);
        // The place is taken before the entry is locked: a clock and a shard are never locked
        // together, so they cannot deadlock.
        let place = self.make_room(digest, now);
        let slot = Slot {
            selection: self.selections.intern(pin.selection.clone()),
            epoch: pin.epoch,
            claimed_at: pin.claimed_at.duration_since(UNIX_EPOCH).map_or(0, millis),
            expires_at: AtomicU64::new(now.saturating_add(millis(ttl))),
            tag,
            position: match put {
                Put::IfAbsent | Put::Unused => Position::new(place),
                Put::Used => Position::new(place).served(),
            },
        };
        let (standing, unused) = match self.slots.of(digest).entry(digest) {
            Entry::Vacant(entry) => {
                entry.insert(slot);
                self.slots.trim(digest);
                self.tenants.entered(digest);
                return None;
            }
            Entry::Occupied(entry) if put == Put::IfAbsent && entry.get().is_live(now) => {
                (Some(entry.get().held(now).pin), place.index)
            }
            Entry::Occupied(mut entry) => {
                (None, std::mem::replace(entry.get_mut(), slot).position.index())
            }
        };
        self.give_back(digest, unused);
        standing
    }

    /// Moves the pin to `selection` at epoch `next` if its epoch is still `from`. Returns the stored pin,
    /// and whether it was moved.
    ///
    /// `next` runs only if the pin moves, under the entry's lock: moves that lose use up no epoch.
    pub(in crate::store) fn repin(
        &self,
        digest: Digest,
        from: Epoch,
        selection: Arc<Selection>,
        next: impl FnOnce() -> Epoch,
        expiry: &Expiry,
    ) -> Option<(Pin, bool)> {
        let selection = self.selections.intern(selection);
        let now = self.now();
        let mut slot = self.slots.of(digest).get_mut(&digest).filter(|slot| slot.is_live(now))?;
        let moves = slot.epoch == from;
        if moves {
            slot.selection = selection;
            slot.epoch = next();
            let end = |left| now.saturating_add(millis(left));
            match expiry.after_use(self.age(&slot, now)) {
                Some(left) => slot.lives_until(end(left)),
                None => slot.expires_at.store(end(expiry.initial()), Ordering::Relaxed),
            }
        }
        Some((slot.held(now).pin, moves))
    }

    /// Removes the pin; with `epoch`, only that generation. Says whether there was one.
    pub(in crate::store) fn release(&self, digest: Digest, epoch: Option<Epoch>) -> bool {
        let now = self.now();
        let mut was_live = false;
        let removed = self.remove_if(digest, |slot| {
            was_live = slot.is_live(now);
            epoch.is_none_or(|epoch| epoch == slot.epoch)
        });
        removed.is_some() && was_live
    }

    /// Removes the entry if `condition` holds under its lock, and gives back its place and its
    /// tenant's count. The one way out for entries that are not evicted.
    fn remove_if(
        &self,
        digest: Digest,
        condition: impl FnOnce(&Slot) -> bool,
    ) -> Option<(Digest, Slot)> {
        let removed = self.slots.of(digest).remove_if(&digest, |_, slot| condition(slot));
        if let Some((digest, slot)) = &removed {
            self.tenants.left(*digest);
            self.give_back(*digest, slot.position.index());
        }
        removed
    }

    /// Checks the next few entries near `digest` and drops those that have expired.
    fn drop_expired(&self, digest: Digest, now: u64) {
        for (other, index) in self.clocks.sweep(digest) {
            let is_over = |slot: &Slot| slot.position.index() == index && !slot.is_live(now);
            if self.remove_if(other, is_over).is_some() {
                telemetry::expired(self.name);
            }
        }
    }

    /// A place for one more entry; evicts another one if the map is full.
    ///
    /// Under the bound it raises the count; at the bound the count stays, and one entry goes for
    /// one that comes.
    fn make_room(&self, digest: Digest, now: u64) -> Place {
        let grow = |len| (len < self.capacity).then_some(len + 1);
        if self.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow).is_ok() {
            return self.clocks.place(digest);
        }
        let with_this = self.tenants.held(digest).saturating_add(1);
        let spared =
            |other| self.tenants.held(other) < with_this && other.tenant() != digest.tenant();
        let evicted = self.clocks.evict(digest, spared, |other, index, must_go| {
            let goes = |_: &Digest, slot: &Slot| {
                let idle = slot.position.was_idle();
                slot.position.index() == index && (must_go || idle || !slot.is_live(now))
            };
            let Some((other, gone)) = self.slots.of(other).remove_if(&other, goes) else {
                return false;
            };
            self.tenants.left(other);
            match gone.is_live(now) {
                true => telemetry::evicted(self.name),
                false => telemetry::expired(self.name),
            }
            true
        });
        evicted.unwrap_or_else(|| {
            // Every entry is being made at this moment; the map is over its bound by those.
            self.len.fetch_add(1, Ordering::Relaxed);
            self.clocks.place(digest)
        })
    }

    /// Undoes `make_room`, for an entry that is gone or did not come.
    fn give_back(&self, digest: Digest, index: u32) {
        self.len.fetch_sub(1, Ordering::Relaxed);
        self.clocks.vacate(digest, index);
    }

    /// The pin of `digest`. Does not count as a use.
    pub(in crate::store) fn look(&self, digest: Digest) -> Option<Held> {
        let now = self.now();
        self.slots
            .of(digest)
            .get(&digest)
            .filter(|slot| slot.is_live(now))
            .map(|slot| slot.held(now))
    }

    /// About `limit` pins from a place on, and the place at which to continue; `None` at the end. Does
    /// not count as a use.
    pub(in crate::store) fn page(
        &self,
        (mut part, mut from): (usize, usize),
        limit: usize,
    ) -> Page {
        let (now, mut found) = (self.now(), Vec::new());
        for _ in 0..MAX_STRETCHES {
            let Some(stretch) = self.clocks.stretch(part, from) else {
                return (found, None);
            };
            found.extend(stretch.entries.into_iter().filter_map(|(digest, index)| {
                let slot = self.slots.of(digest).get(&digest)?;
                // At its own place only, so that it is listed once.
                let is_here = slot.position.index() == index && slot.is_live(now);
                is_here.then(|| (digest, slot.held(now)))
            }));
            (part, from) = stretch.next.map_or((part + 1, 0), |next| (part, next));
            if found.len() >= limit {
                break;
            }
        }
        let more = part < self.clocks.parts();
        (found, more.then_some((part, from)))
    }
}

/// A span of more than half a billion years becomes the longest that is counted.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

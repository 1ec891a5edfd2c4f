//! The near copies: what this replica knows of the shared pins.
//!
//! A copy is a pin in the map of `memory/pins.rs` with a tag of 32 bits that says what it is worth:
//!
//! | tag | the copy is |
//! |---|---|
//! | the present generation, an even number | fresh |
//! | an older generation | known; invalidations may have been missed since |
//! | an odd number | known, and never fresh: it may have changed since it was read |
//! | 0 | this replica's own decision |
//!
//! 1. **Doubt is one addition.** To put every copy in doubt, the generation grows by two. No copy
//!    is touched, so it takes no longer with a million of them, and what is known stays for an
//!    outage.
//! 2. **A read races with an invalidation.** The value may be on its way while the report of its
//!    change is handled; kept afterwards, it would stay wrong until the next change. So a name is
//!    looked up *before* the read (`Spot`), with the generation and a version that invalidations
//!    count up. The copy is put in, and taken out again if the version has changed. In the other
//!    order an invalidation between the check and the insert would be lost.
//! 3. **A change of our own** is not reported to us. The copy goes before the change is sent, and
//!    what was read meanwhile goes when it ends (`Changing`).
//!
//! There are 1,024 versions, each shared by many names. One for each name would need an entry for
//! every name that was ever invalidated; a false alarm costs a single read.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::store::memory::{Digest, Digester, Held, Pins};
use crate::{AffinityKey, Expiry, Pin};

/// Counters that show whether a name was invalidated while its value was under way. Names share them;
/// a false alarm costs one read.
const VERSIONS: usize = 1024;

/// The tag of what this replica decided alone.
const OWN: u32 = 0;

/// Between two generations. The tag of a fresh copy is its generation; one more, and the copy is what
/// Redis said in that generation, but may have changed since.
const GENERATION: u32 = 2;

/// All operations are lock-free but for the map's own locks. The generation wraps after two billion
/// doubts.
#[derive(Debug)]
pub(super) struct Near {
    pins: Pins,
    digester: Digester,
    versions: Box<[AtomicU32]>,
    /// Copies of an older generation are not fresh: invalidations may have been missed. It is even.
    generation: AtomicU32,
    /// Redis has lost what it held before this generation.
    lost_before: AtomicU32,
}

/// A name's place among the copies, and what was known when it was looked up.
///
/// Take it before asking Redis, and keep the answer by it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    digest: Digest,
    version: u32,
    generation: u32,
}

impl Spot {
    /// Where the copy is, for [`Near::spot_at`].
    pub(super) fn digest(self) -> Digest {
        self.digest
    }
}

impl Near {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            pins: Pins::new(capacity, "near"),
            digester: Digester::default(),
            versions: (0..VERSIONS).map(|_| AtomicU32::new(0)).collect(),
            generation: AtomicU32::new(GENERATION),
            lost_before: AtomicU32::new(0),
        }
    }

    /// Looks a name up. A value that is read after this may be kept by it.
    pub(super) fn spot(&self, name: &str) -> Spot {
        self.spot_of(|hash| hash(name.as_bytes()))
    }

    /// The same for a name whose key is known: what is kept by it counts for the tenant of the key.
    pub(super) fn spot_for(&self, key: &AffinityKey, name: &str) -> Spot {
        let digest = self.digester.digest(|hash| hash(name.as_bytes()));
        self.spot_at(self.digester.of_scope(digest, key))
    }

    /// The same for a name that comes in pieces, to look for a copy.
    ///
    /// So a hit does not have to put the name together, only to hash it.
    pub(super) fn spot_of(&self, name: impl FnOnce(&mut dyn FnMut(&[u8]))) -> Spot {
        self.spot_at(self.digester.digest(name))
    }

    /// The same for a copy whose digest is known.
    pub(super) fn spot_at(&self, digest: Digest) -> Spot {
        let version = self.version(digest).map_or(0, |version| version.load(Ordering::Acquire));
        Spot { digest, version, generation: self.generation.load(Ordering::Acquire) }
    }

    /// The counter that `digest` shares.
    fn version(&self, digest: Digest) -> Option<&AtomicU32> {
        self.versions.get(digest.part(VERSIONS))
    }

    /// The copy, fresh or not.
    ///
    /// Its lifetime is not deferred here, whatever the pin's expiry: only Redis knows how long the
    /// pin lives.
    pub(super) fn get(&self, spot: Spot) -> Option<Held> {
        self.pins.get(spot.digest, &Expiry::fixed(Duration::MAX))
    }

    /// The copy, if no invalidation of it can have been missed.
    pub(super) fn fresh(&self, spot: Spot) -> Option<Held> {
        self.get(spot).filter(|held| held.tag == spot.generation)
    }

    /// Keeps a copy for `ttl`; it is fresh unless it was invalidated since `spot` was looked up.
    pub(super) fn keep(&self, spot: Spot, pin: &Pin, ttl: Duration) {
        self.keep_for(spot, pin, ttl, true);
    }

    /// The same for a copy that no request has asked for.
    pub(super) fn keep_unused(&self, spot: Spot, pin: &Pin, ttl: Duration) {
        self.keep_for(spot, pin, ttl, false);
    }

    fn keep_for(&self, spot: Spot, pin: &Pin, ttl: Duration, is_used: bool) {
        self.pins.put(spot.digest, pin, ttl, spot.generation, is_used);
        // The copy is put in first: an invalidation either finds it there or is seen here.
        let version = self.version(spot.digest).map_or(0, |now| now.load(Ordering::Acquire));
        if version != spot.version {
            self.pins.release(spot.digest, Some(pin.epoch));
        }
    }

    /// Keeps what Redis said, and what may have changed since. It serves while Redis is away.
    pub(super) fn keep_known(&self, spot: Spot, pin: &Pin, ttl: Duration) {
        self.pins.put(spot.digest, pin, ttl, spot.generation | 1, true);
    }

    /// Keeps a copy again that was taken away; it is not fresh any more.
    ///
    /// The change may have been made all the same, so the copy is only known from now on. A
    /// decision of this replica remains its own.
    pub(super) fn keep_again(&self, spot: Spot, held: &Held) {
        let tag = if Self::is_own(held) { OWN } else { held.tag | 1 };
        self.pins.put(spot.digest, &held.pin, held.left, tag, true);
    }

    /// Keeps what this replica decided alone.
    ///
    /// The caller also notes it for Redis; see `pending.rs`.
    pub(super) fn keep_own(&self, spot: Spot, pin: &Pin, ttl: Duration) {
        self.pins.put(spot.digest, pin, ttl, OWN, true);
    }

    /// Whether this is a decision of this replica that Redis has not confirmed.
    pub(super) fn is_own(held: &Held) -> bool {
        held.tag == OWN
    }

    /// The pin of `name` has changed. Returns the digest of its copy, if that was in use here.
    ///
    /// The version goes up before the copy goes: a reader that puts its value in between sees the
    /// new version and takes it out.
    pub(super) fn forget(&self, name: &[u8]) -> Option<Digest> {
        let digest = self.digester.digest(|hash| hash(name));
        if let Some(version) = self.version(digest) {
            version.fetch_add(1, Ordering::AcqRel);
        }
        self.pins.take(digest)
    }

    /// This replica is going to change the pin of `name`.
    ///
    /// Redis reports a change to all connections but the one that made it. So the copy goes before
    /// the change is sent, and so does any that is read meanwhile, however the change ends: its
    /// answer may be lost, and the copy would then stay for good.
    pub(super) fn change<'a>(&'a self, name: &'a str) -> Changing<'a> {
        self.forget(name.as_bytes());
        Changing { near: self, name }
    }

    /// Any pin may have changed. The copies stay, for when Redis is away.
    pub(super) fn doubt_all(&self) {
        self.generation.fetch_add(GENERATION, Ordering::AcqRel);
    }

    /// Redis has lost its data: what is known here may be claimed again.
    ///
    /// Own decisions are not lost: `pending.rs` holds them for Redis.
    pub(super) fn all_lost(&self) {
        self.doubt_all();
        self.lost_before.store(self.generation.load(Ordering::Acquire), Ordering::Release);
    }

    /// Whether Redis held this copy before it lost its data.
    pub(super) fn is_lost(&self, held: &Held) -> bool {
        !Self::is_own(held) && held.tag < self.lost_before.load(Ordering::Acquire)
    }

    /// Copies of every kind.
    pub(super) fn len(&self) -> usize {
        self.pins.len()
    }
}

/// A change on its way; see [`Near::change`].
pub(super) struct Changing<'a> {
    near: &'a Near,
    name: &'a str,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.near.forget(self.name.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Epoch, ModelName, Selection};

    const LONG: Duration = Duration::from_secs(60);

    fn pin(epoch: u64) -> Pin {
        let selection = Arc::new(Selection::of(ModelName::new("a/b").unwrap()));
        Pin { selection, epoch: Epoch(epoch), claimed_at: std::time::UNIX_EPOCH }
    }

    #[test]
    fn an_invalidation_on_the_way_keeps_a_value_from_being_kept() {
        let near = Near::new(10);
        let spot = near.spot("name");
        near.forget(b"name");
        near.keep(spot, &pin(1), LONG);
        assert!(near.get(near.spot("name")).is_none());
        near.keep(near.spot("name"), &pin(2), LONG);
        assert_eq!(near.fresh(near.spot("name")).unwrap().pin, pin(2));
    }

    #[test]
    fn doubt_keeps_the_copies_and_not_their_freshness() {
        let near = Near::new(10);
        near.keep(near.spot("name"), &pin(1), LONG);
        near.doubt_all();
        assert!(near.fresh(near.spot("name")).is_none());
        let held = near.get(near.spot("name")).unwrap();
        assert!(!near.is_lost(&held));
        near.all_lost();
        assert!(near.is_lost(&held));
        near.keep(near.spot("name"), &pin(1), LONG);
        let confirmed = near.fresh(near.spot("name")).unwrap();
        assert!(!near.is_lost(&confirmed));
    }

    #[test]
    fn what_redis_said_is_lost_with_its_data_and_what_was_decided_here_is_not() {
        let near = Near::new(10);
        let held = || near.get(near.spot("name")).unwrap();
        near.keep(near.spot("name"), &pin(1), LONG);
        near.keep_again(near.spot("name"), &held());
        assert!(near.fresh(near.spot("name")).is_none());
        assert!(!near.is_lost(&held()) && !Near::is_own(&held()));
        near.all_lost();
        assert!(near.is_lost(&held()));
        near.keep_again(near.spot("name"), &held());
        assert!(near.is_lost(&held()));
        near.keep_known(near.spot("name"), &pin(2), LONG);
        assert!(near.fresh(near.spot("name")).is_none() && !near.is_lost(&held()));
        near.keep_own(near.spot("name"), &pin(3), LONG);
        near.keep_again(near.spot("name"), &held());
        near.all_lost();
        assert!(Near::is_own(&held()) && !near.is_lost(&held()));
    }

    #[test]
    fn a_value_read_before_the_doubt_is_not_fresh_after_it() {
        let near = Near::new(10);
        let spot = near.spot("name");
        near.doubt_all();
        near.keep(spot, &pin(1), LONG);
        assert!(near.fresh(near.spot("name")).is_none());
    }

    #[test]
    fn what_is_read_during_a_change_is_not_kept() {
        let near = Near::new(10);
        near.keep(near.spot("name"), &pin(1), LONG);
        let changing = near.change("name");
        assert!(near.get(near.spot("name")).is_none());
        let during = near.spot("name");
        near.keep(during, &pin(1), LONG);
        drop(changing);
        assert!(near.get(near.spot("name")).is_none());
        near.keep(during, &pin(1), LONG);
        assert!(near.get(near.spot("name")).is_none());
    }

    #[test]
    fn a_tenant_with_many_copies_takes_none_from_one_with_few() {
        let near = Near::new(200);
        let key = |scope: &str, n: usize| {
            let scope = Some(crate::Scope::new(scope).unwrap());
            let key = AffinityKey::new(&format!("{scope:?}-{n}")).unwrap().with_scope(scope);
            (key.encode("p:"), key)
        };
        let keep = |scope: &str, n| {
            let (name, key) = key(scope, n);
            near.keep(near.spot_for(&key, &name), &pin(1), LONG);
        };
        (0..50).for_each(|n| keep("quiet", n));
        (0..5000).for_each(|n| keep("busy", n));
        let kept = (0..50).filter(|n| near.fresh(near.spot(&key("quiet", *n).0)).is_some()).count();
        assert_eq!(kept, 50, "found by the name alone");
        for n in 0..50 {
            let name = key("quiet", n).0;
            near.forget(name.as_bytes());
            assert!(near.get(near.spot(&name)).is_none());
        }
        assert_eq!(near.len(), 150);
    }

    #[test]
    fn only_a_copy_that_was_used_here_is_worth_another_read() {
        let near = Near::new(10);
        near.keep(near.spot("read"), &pin(1), LONG);
        let digest = near.forget(b"read").expect("a request has read it");
        assert_eq!(near.forget(b"read"), None, "it is gone");
        near.keep_unused(near.spot_at(digest), &pin(2), LONG);
        assert_eq!(near.forget(b"read"), None, "no request has used it since");
        near.keep_unused(near.spot_at(digest), &pin(2), LONG);
        assert!(near.fresh(near.spot("read")).is_some());
        assert_eq!(near.forget(b"read"), Some(digest), "one has");
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_ends_with_the_time_that_the_pin_had_left() {
        let near = Near::new(10);
        near.keep(near.spot("name"), &pin(1), LONG);
        tokio::time::advance(LONG).await;
        assert!(near.get(near.spot("name")).is_none());
    }
}

//! What the store and its background tasks share.
//!
//! The arrows go one way: the store, `follow.rs`, `settle.rs` and `reconcile.rs` use this, and it
//! knows none of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::near::{Near, Spot};
use super::pending::{Change, Kind, Pending, RELEASE_LIFE};
use crate::store::redis::{FoundPin, Node, RedisStore, Renewals, Topology, Unready};
use crate::{AffinityKey, Pin};

/// Redis, the near copies of its pins, and the changes that it has not heard of yet.
pub(super) struct Shared {
    pub(super) redis: RedisStore,
    pub(super) near: Near,
    pub(super) pending: Pending,
    /// Uses that Redis has not heard of yet.
    pub(super) renewals: Arc<Renewals>,
    /// No copy counts as fresh.
    pub(super) always_read: bool,
    /// The servers of `redis`.
    pub(super) topology: watch::Receiver<Topology>,
    /// Notified when one of them is followed.
    pub(super) came_up: Notify,
}

impl Shared {
    /// Copies and noted changes have the same bound.
    pub(super) fn new(
        redis: RedisStore,
        capacity: usize,
        always_read: bool,
        renewals: Arc<Renewals>,
    ) -> Self {
        let topology = redis.servers().topology();
        let (near, pending) = (Near::new(capacity), Pending::new(capacity));
        let came_up = Notify::new();
        Self { redis, near, pending, renewals, always_read, topology, came_up }
    }

    /// Whether there are servers, and it holds for each of them.
    fn all(&self, holds: impl Fn(&Node) -> bool) -> bool {
        let nodes = &self.topology.borrow().nodes;
        !nodes.is_empty() && nodes.iter().all(|node| holds(node))
    }

    /// Whether all servers are there, and report changes.
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

    /// Whether a session may move without Redis: not if a pin may only be reported once it cannot be
    /// lost, or once Redis holds it.
    pub(super) fn moves_alone(&self) -> bool {
        !self.redis.is_replicated() && !self.redis.is_strict()
    }

    /// Why Redis cannot be used as it should, if so; in a cluster the first cause of a node.
    ///
    /// A cause that was found by trying outranks "not followed yet", as it tells an operator what
    /// to do.
    pub(super) fn unready(&self) -> Option<Unready> {
        let nodes = &self.topology.borrow().nodes;
        if nodes.is_empty() {
            return Some(Unready::Unreachable);
        }
        let cause = |node: &Arc<Node>| {
            let away = (!node.freshness.is_followed()).then_some(Unready::Unreachable);
            node.unready().filter(|cause| away.is_none() || !cause.only_degrades()).or(away)
        };
        nodes.iter().find_map(cause)
    }

    /// Keeps what Redis held when it was asked at `asked`. The time left counts from then: a copy never
    /// outlives the pin. Invalidations of another name do not reach the copy, so it is not fresh.
    pub(super) fn keep_found(&self, spot: Spot, found: &FoundPin, asked: Instant) {
        let left = found.left.saturating_sub(asked.elapsed());
        if found.is_current {
            self.keep(spot, &found.pin, left);
        } else {
            self.near.keep_known(spot, &found.pin, left);
        }
    }

    /// Keeps what Redis said. Unless Redis is followed, it may have changed at once.
    pub(super) fn keep(&self, spot: Spot, pin: &Pin, left: Duration) {
        if self.is_followed() {
            self.near.keep(spot, pin, left);
        } else {
            self.near.keep_known(spot, pin, left);
        }
    }

    /// Notes a change that Redis must learn within `ttl`.
    ///
    /// A lifetime that no clock can hold becomes an hour.
    pub(super) fn note(&self, name: String, key: &AffinityKey, kind: Kind, ttl: Duration) {
        let now = Instant::now();
        let until = now.checked_add(ttl).unwrap_or(now + RELEASE_LIFE);
        let change = Change { key: key.detached(), kind, until, refused: None };
        self.pending.note(name, change);
    }
}

//! What this replica decided while Redis was away, and tells it once it is back.
//!
//! For each name only the last change counts: a claim followed by a move is a move, and a release
//! cancels both. Nothing is written to disk. If this process ends first, the change is forgotten,
//! and the session's next request finds what Redis has.
//!
//! Changes are sent by whoever comes first: the session's next read, or the task in `reconcile.rs`.

use std::time::Duration;

use dashmap::DashMap;
use tokio::time::Instant;

use crate::{AffinityKey, Epoch, Pin};

/// How long a release waits for Redis; the pin that it is for may live longer.
pub(super) const RELEASE_LIFE: Duration = Duration::from_secs(3600);

/// The wait before a change is sent again that failed because of the value under its name.
const REST: Duration = Duration::from_secs(1);

/// A change that Redis has not confirmed.
///
/// It holds the key and not only the name, since a release also has to reach the name of an older
/// secret.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) key: AffinityKey,
    pub(super) kind: Kind,
    /// When it is of no use any more.
    pub(super) until: Instant,
    /// When Redis refused it because of the value under its name.
    pub(super) refused: Option<Instant>,
}

impl Change {
    /// Whether it is too early to send it: the value there may belong to another program, and stay.
    pub(super) fn rests(&self) -> bool {
        self.refused.is_some_and(|refused| refused.elapsed() < REST)
    }
}

/// What to tell Redis. A move and most releases name the epoch that they replace, so one that had reached
/// Redis after all, or that comes too late, changes nothing; a claim is made only where there is no pin.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Claim(Pin),
    Move { from: Epoch, to: Pin },
    Release(Option<Epoch>),
}

/// The last unconfirmed change of each name, within a bound.
///
/// At most as many as there may be near copies. A map and not a queue: names settle in any order,
/// and a read takes out its own.
#[derive(Debug)]
pub(super) struct Pending {
    changes: DashMap<String, Change>,
    capacity: usize,
}

impl Pending {
    pub(super) fn new(capacity: usize) -> Self {
        Self { changes: DashMap::new(), capacity }
    }

    /// Notes a change, replacing an older one. Beyond the bound it is not noted: the session is then
    /// claimed again by its next request.
    pub(super) fn note(&self, name: String, change: Change) {
        if self.changes.len() < self.capacity || self.changes.contains_key(&name) {
            self.changes.insert(name, change);
        }
    }

    /// Notes a change that was taken out and could not be sent, unless a newer one was noted.
    pub(super) fn note_again(&self, name: &str, change: Change) {
        self.changes.entry(name.to_owned()).or_insert(change);
    }

    /// Takes the change of `name` out, unless it has come to be of no use. Only one caller gets it,
    /// so it is sent once; `note_again` puts it back if that fails.
    pub(super) fn take(&self, name: &str) -> Option<Change> {
        let (_, change) = self.changes.remove(name)?;
        (change.until > Instant::now()).then_some(change)
    }

    /// Some of the names that are `wanted` and do not rest.
    pub(super) fn some(&self, count: usize, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let changes = self.changes.iter().filter(|change| !change.rests());
        let names = changes.map(|change| change.key().clone());
        names.filter(|name| wanted(name)).take(count).collect()
    }
}

//! Pins as an administrator sees them: all of them, by the names under which they are stored.

use std::fmt;
use std::future::Future;
use std::pin::Pin as StdPin;
use std::sync::Arc;
use std::time::Duration;

use super::Claim;
use crate::{AffinityKey, Epoch, Expiry, Pin, Selection, StoreError};

/// What a call of [`Inspect`] gives.
pub type Inspected<'a, T> = StdPin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The name under which a store keeps a pin. What it looks like is the store's own business.
///
/// It may hold the session id, so its `Debug` form shows nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StoredKey(String);

impl StoredKey {
    /// A name as a store has told it. Any text will do: no pin stands under one that is none.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredKey").finish_non_exhaustive()
    }
}

/// A pin with the name under which it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredPin {
    /// Its name in the store.
    pub key: StoredKey,
    /// Whose pin it is; `None` where names are hashes.
    pub session: Option<AffinityKey>,
    /// The pin.
    pub pin: Pin,
    /// Time until it expires; `None` for one that somebody else wrote without an end.
    pub left: Option<Duration>,
}

impl StoredPin {
    /// A pin under the name of `key` that has `left` to live.
    #[must_use]
    pub fn new(key: StoredKey, pin: Pin, left: Option<Duration>) -> Self {
        Self { key, session: None, pin, left }
    }

    /// Says whose pin it is.
    #[must_use]
    pub fn with_session(self, session: Option<AffinityKey>) -> Self {
        Self { session, ..self }
    }
}

/// A part of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PinPage {
    /// The pins, in no order.
    pub pins: Vec<StoredPin>,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

impl PinPage {
    /// A page, and the cursor at which the listing goes on.
    #[must_use]
    pub fn new(pins: Vec<StoredPin>, next: Option<String>) -> Self {
        Self { pins, next }
    }
}

/// A store whose pins can be listed, and changed by the names under which they are stored.
///
/// It is beside [`AffinityStore`](super::AffinityStore), which a layer needs and this is not: a store
/// of your own may do without.
pub trait Inspect: Send + Sync + 'static {
    /// The next pins after `cursor`, from the beginning without one.
    ///
    /// # Behavior
    ///
    /// - Does not count as a use of a pin.
    /// - `limit` is about how many: a page may hold somewhat more or fewer, even none, and the listing
    ///   goes on while there is a cursor.
    /// - A pin that stands from the first page to the last is told at least once, and exactly once
    ///   while no pin comes or goes. Others may be missing.
    /// - Links, which lead from a response to its conversation, are no pins.
    ///
    /// # Errors
    ///
    /// [`InvalidCursor`](crate::StoreErrorKind::InvalidCursor) for one that no listing has given;
    /// others when the store fails.
    fn list<'a>(&'a self, cursor: Option<&'a str>, limit: usize) -> Inspected<'a, PinPage>;

    /// The names under which the pin of `key` may stand, the likeliest first.
    fn stored_keys(&self, key: &AffinityKey) -> Vec<StoredKey>;

    /// The pin under a name. Does not count as a use.
    fn find<'a>(&'a self, key: &'a StoredKey) -> Inspected<'a, Option<StoredPin>>;

    /// As [`AffinityStore::repin`](super::AffinityStore::repin), by the name.
    ///
    /// # Errors
    ///
    /// When it is not sure to be written: nothing is kept to be told later.
    fn repin_stored<'a>(
        &'a self,
        key: &'a StoredKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &'a Expiry,
    ) -> Inspected<'a, Option<Claim>>;

    /// As [`AffinityStore::release`](super::AffinityStore::release), by the name.
    ///
    /// # Errors
    ///
    /// When it is not sure to be written: nothing is kept to be told later.
    fn release_stored<'a>(
        &'a self,
        key: &'a StoredKey,
        epoch: Option<Epoch>,
    ) -> Inspected<'a, bool>;
}

/// Whether what stands under a name is a link and no pin.
pub(super) fn is_link(selection: &Selection) -> bool {
    AffinityKey::of_name(selection.model().as_str()).is_some()
}

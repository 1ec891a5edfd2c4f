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
    /// A name as a store reported it. Any text is accepted: an unknown name simply has no pin.
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

/// A pin with the name under which it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredPin {
    /// Its name in the store.
    pub key: StoredKey,
    /// Whose pin it is; `None` where names are hashes.
    pub session: Option<AffinityKey>,
    /// The pin.
    pub pin: Pin,
    /// Time until it expires; `None` for one that another program wrote without an expiry.
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
    /// Where to continue; `None` at the end.
    pub next: Option<String>,
}

impl PinPage {
    /// A page, and the cursor at which the listing continues.
    #[must_use]
    pub fn new(pins: Vec<StoredPin>, next: Option<String>) -> Self {
        Self { pins, next }
    }
}

/// A store whose pins can be listed, and changed by the names under which they are stored.
///
/// A layer needs only [`AffinityStore`](super::AffinityStore); your own store may do without this
/// trait.
pub trait Inspect: Send + Sync + 'static {
    /// The next pins after `cursor`, from the beginning without one.
    ///
    /// # Behavior
    ///
    /// - Does not count as a use of a pin.
    /// - `limit` is approximate: a page may hold slightly more or fewer, even none, and the listing
    ///   continues while there is a cursor.
    /// - A pin that exists from the first page to the last is listed at least once, and exactly once
    ///   while no pin comes or goes. Others may be missing.
    /// - Links, which lead from a response to its conversation, are not pins.
    ///
    /// # Errors
    ///
    /// [`InvalidCursor`](crate::StoreErrorKind::InvalidCursor) for a cursor that no listing returned;
    /// other kinds when the store fails.
    fn list<'a>(&'a self, cursor: Option<&'a str>, limit: usize) -> Inspected<'a, PinPage>;

    /// The names under which the pin of `key` may be stored, the likeliest first.
    fn stored_keys(&self, key: &AffinityKey) -> Vec<StoredKey>;

    /// The pin under a name. Does not count as a use.
    fn find<'a>(&'a self, key: &'a StoredKey) -> Inspected<'a, Option<StoredPin>>;

    /// As [`AffinityStore::repin`](super::AffinityStore::repin), by the name.
    ///
    /// # Errors
    ///
    /// If the change may not have been written: nothing is kept to be written later.
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
    /// If the change may not have been written: nothing is kept to be written later.
    fn release_stored<'a>(
        &'a self,
        key: &'a StoredKey,
        epoch: Option<Epoch>,
    ) -> Inspected<'a, bool>;
}

/// Whether the value under a name is a link and not a pin.
pub(super) fn is_link(selection: &Selection) -> bool {
    AffinityKey::of_name(selection.model().as_str()).is_some()
}

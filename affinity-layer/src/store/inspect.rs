//! Pins as an administrator sees them: all of them, by the names under which they are stored.
//!
//! A request knows its key and asks for one pin. An administrator has no key: they see a list, pick
//! a name such as `task-1` or a hash, and move or end the session behind it. The types here are
//! what passes between a store and whatever shows it, such as the gateway's admin API. Applications
//! reach them as [`affinity_layer::admin`](crate::admin).
//!
//! Two differences from [`AffinityStore`](super::AffinityStore) matter:
//!
//! 1. **Looking is not using.** A listing must not keep a million idle sessions alive, nor reorder
//!    what is evicted.
//! 2. **A change is made or it fails.** A request is served through an outage, and its change is
//!    sent later. An administrator who reads "done" must be able to rely on it, so nothing here is
//!    kept to be written later.

use std::fmt;
use std::future::Future;
use std::pin::Pin as StdPin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Claim;
use crate::{AffinityKey, Epoch, Expiry, Pin, Selection, StoreError};

/// What a call of [`Inspect`] gives.
///
/// Boxed, so that [`Inspect`] is object-safe; these calls are rare, and the allocation does not
/// matter.
pub type Inspected<'a, T> = StdPin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The name under which a store keeps a pin. What it looks like is the store's own business.
///
/// It may hold the session id, so its `Debug` form shows nothing.
///
/// - In `MemoryStore`: 32 hexadecimal digits of a hash that is keyed anew in each process. The name
///   is of no use to another process or after a restart.
/// - In Redis: what follows the key prefix, readable (`scope:session:lane`) or, with a name secret,
///   32 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StoredKey(String);

impl StoredKey {
    /// A name as a store reported it. Any text is accepted: an unknown name simply has no pin.
    ///
    /// So a path segment or a form field can be passed on without a check.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    ///
    /// It may hold the session id: show it to administrators, and keep it out of logs.
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
    /// Time since its claim, by the clock that wrote [`Pin::claimed_at`]: that of the store. `None`
    /// where nobody noted when it was claimed.
    pub age: Option<Duration>,
    /// Time until it expires; `None` for one that another program wrote without an expiry.
    pub left: Option<Duration>,
}

impl StoredPin {
    /// A pin under the name of `key` that has `left` to live.
    ///
    /// It says nothing of the session; [`with_session`](Self::with_session) adds that. Its age is by
    /// the clock of this system; a store with another one says so by [`with_age`](Self::with_age).
    #[must_use]
    pub fn new(key: StoredKey, pin: Pin, left: Option<Duration>) -> Self {
        let age = age(pin.claimed_at, SystemTime::now());
        Self { key, session: None, pin, age, left }
    }

    /// Says how old it is by the clock of the store.
    #[must_use]
    pub fn with_age(self, age: Option<Duration>) -> Self {
        Self { age, ..self }
    }

    /// Says whose pin it is.
    ///
    /// For stores whose names can be read back, such as Redis with plain names.
    #[must_use]
    pub fn with_session(self, session: Option<AffinityKey>) -> Self {
        Self { session, ..self }
    }
}

/// The time from `claimed_at` to `now`; `None` where nobody noted when it was claimed.
///
/// Two processes may read one clock a moment apart, so a claim of the future is new.
pub(super) fn age(claimed_at: SystemTime, now: SystemTime) -> Option<Duration> {
    (claimed_at > UNIX_EPOCH).then(|| now.duration_since(claimed_at).unwrap_or_default())
}

/// A part of a listing.
///
/// Stop when `next` is `None`, and not when a page is empty: a scan may pass many names before it
/// meets a pin.
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
    ///
    /// The cursor is any text that the store itself can read back; callers do not look into it.
    /// `None` ends the listing.
    #[must_use]
    pub fn new(pins: Vec<StoredPin>, next: Option<String>) -> Self {
        Self { pins, next }
    }
}

/// A store whose pins can be listed, and changed by the names under which they are stored.
///
/// A layer needs only [`AffinityStore`](super::AffinityStore); your own store may do without this
/// trait.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
///
/// use affinity_layer::admin::Inspect;
/// use affinity_layer::{AffinityKey, AffinityStore, Expiry, MemoryStore, ModelName, Selection};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::default();
/// let selection = Arc::new(Selection::of(ModelName::new("openai/gpt-4o")?));
/// for id in ["task-1", "task-2"] {
///     store.claim(&AffinityKey::new(id)?, selection.clone(), &Expiry::default()).await?;
/// }
///
/// // End every session that is on this model.
/// let (mut cursor, mut ended) = (None, 0);
/// loop {
///     let page = store.list(cursor.as_deref(), 100).await?;
///     for stored in page.pins {
///         if stored.pin.selection.model().as_str() == "openai/gpt-4o" {
///             // By its epoch: a session that has moved meanwhile is left alone.
///             ended += u32::from(store.release_stored(&stored.key, Some(stored.pin.epoch)).await?);
///         }
///     }
///     cursor = page.next;
///     if cursor.is_none() {
///         break;
///     }
/// }
/// assert_eq!(ended, 2);
/// # Ok(())
/// # }
/// ```
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
    /// - Links, which lead from a response to its conversation, are not pins, and neither are observed claims
    ///   (those whose key [is observed](AffinityKey::is_observed)).
    ///
    /// # Errors
    ///
    /// [`InvalidCursor`](crate::StoreErrorKind::InvalidCursor) for a cursor that no listing returned;
    /// other kinds when the store fails.
    fn list<'a>(&'a self, cursor: Option<&'a str>, limit: usize) -> Inspected<'a, PinPage>;

    /// The names under which the pin of `key` may be stored, the likeliest first.
    ///
    /// # Behavior
    ///
    /// - Never empty, and does not ask whether there is a pin.
    /// - More than one only while names change, as from readable to hashed ones: look under each
    ///   until one is found.
    fn stored_keys(&self, key: &AffinityKey) -> Vec<StoredKey>;

    /// The pin under a name. Does not count as a use.
    ///
    /// # Behavior
    ///
    /// - `None` for a name without a pin, a name that this store never gives, a link, and a value
    ///   that cannot be read.
    /// - A pin that is not confirmed yet is not shown; that is an error of kind
    ///   [`Unconfirmed`](crate::StoreErrorKind::Unconfirmed).
    ///
    /// # Errors
    ///
    /// If the store fails.
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

/// Whether the value under a name is a link or a note, and not a pin.
///
/// A link leads from a response's id to the conversation that it belongs to. It is stored like a
/// pin, with the encoded name of a key where a pin has its model. A listing that showed it would
/// show a session twice, and moving it would break the conversation. A note says at which model's
/// provider an object lives: to move it would lose the object.
pub(super) fn is_link(selection: &Selection) -> bool {
    AffinityKey::of_name(selection.model().as_str()).is_some()
        || AffinityKey::of_holder_name(selection.model()).is_some()
}

//! Where pins are kept.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub(crate) mod inspect;
mod memory;
#[cfg(feature = "redis")]
mod redis;
mod shared;
#[cfg(feature = "redis")]
mod tiered;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub use memory::MemoryStore;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use redis::fuzzing;
#[cfg(feature = "redis")]
pub use redis::{NameSecret, RedisConfigError, RedisOptions, RedisStore, StoreStats, Unready};
pub use shared::SharedStore;
#[cfg(feature = "redis")]
pub use tiered::TieredStore;

use crate::{AffinityKey, Epoch, Expiry, Pin, Selection, StoreError, StoreErrorKind};

/// What is stored under a key after an attempt to set or move its pin.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claim {
    /// The pin that is stored now: it serves everyone who asked.
    pub pin: Pin,
    /// Whether this attempt made it.
    pub won: bool,
}

impl Claim {
    /// The `pin` that this attempt has made.
    #[must_use]
    pub fn won(pin: Pin) -> Self {
        Self { pin, won: true }
    }

    /// The `pin` of another attempt, which came first.
    #[must_use]
    pub fn lost(pin: Pin) -> Self {
        Self { pin, won: false }
    }
}

/// What a store knows of the pin of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinRead {
    /// There is no pin.
    Absent,
    /// The stored pin.
    Pinned(Pin),
    /// The store failed, and this is what this process decided for the session meanwhile. It is not a
    /// pin: another replica may decide differently. It keeps the session's model here until the store
    /// says which pin counts.
    Decided {
        /// The decision.
        selection: Arc<Selection>,
        /// Why the store could not be read, or could not promise to keep the decision.
        failure: StoreErrorKind,
    },
}

impl PinRead {
    /// The pin, if there is one.
    #[must_use]
    pub fn pin(self) -> Option<Pin> {
        match self {
            Self::Pinned(pin) => Some(pin),
            Self::Absent | Self::Decided { .. } => None,
        }
    }

    /// The model to use, with its route and candidates: that of a pin or of a decision.
    #[must_use]
    pub fn selection(self) -> Option<Arc<Selection>> {
        match self {
            Self::Pinned(pin) => Some(pin.selection),
            Self::Decided { selection, .. } => Some(selection),
            Self::Absent => None,
        }
    }
}

impl From<Option<Pin>> for PinRead {
    fn from(pin: Option<Pin>) -> Self {
        pin.map_or(Self::Absent, Self::Pinned)
    }
}

/// A store of pins: few verbs, each atomic.
///
/// The stores of this crate pass the suite in `store::conformance` (feature `conformance`), and so
/// should yours. Expiry is the store's own business; the layer never asks how old a pin is.
///
/// A call may take as long as it takes: the layer bounds all calls of one request together. Once a
/// caller has dropped the future, the operation must not be applied much later; a write that is
/// delivered after an outage would bring back a forgotten decision.
pub trait AffinityStore: Send + Sync + 'static {
    /// The pin of `key` if it is at hand without waiting.
    ///
    /// # Behavior
    ///
    /// - `None` means "not known here", not "no pin"; the default knows nothing.
    /// - Counts as a use, as [`get`](Self::get) does.
    fn peek(&self, key: &AffinityKey, expiry: &Expiry) -> Option<Pin> {
        let _ = (key, expiry);
        None
    }

    /// The pin of `key`.
    ///
    /// # Behavior
    ///
    /// - Counts as a use: it defers eviction, and expiry when `expiry` slides.
    /// - An expired pin is absent, and so is a value that cannot be read.
    /// - A store that fails is an error, unless it kept what this process decided while it failed.
    fn get(
        &self,
        key: &AffinityKey,
        expiry: &Expiry,
    ) -> impl Future<Output = Result<PinRead, StoreError>> + Send;

    /// Sets the pin of `key` unless there is one, and returns the stored one.
    ///
    /// # Behavior
    ///
    /// - Of any number of concurrent claims one wins, and all return the winner's pin.
    /// - The pin's epoch is greater than that of every earlier pin of the key.
    fn claim(
        &self,
        key: &AffinityKey,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> impl Future<Output = Result<Claim, StoreError>> + Send;

    /// Moves the pin of `key` to `selection` if its epoch is still `from`, and returns the stored pin;
    /// `None` if there is no pin any more.
    ///
    /// # Behavior
    ///
    /// - Of any number of concurrent moves from one epoch one wins, and all return its pin.
    /// - A move restarts the pin's lifetime, within the maximum age of a sliding one; the time of
    ///   the claim is kept.
    fn repin(
        &self,
        key: &AffinityKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> impl Future<Output = Result<Option<Claim>, StoreError>> + Send;

    /// Removes the pin of `key`; with `epoch`, only that generation. Says whether it did.
    fn release(
        &self,
        key: &AffinityKey,
        epoch: Option<Epoch>,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// How long after a change another replica may still serve the previous pin, while the store works.
    ///
    /// # Behavior
    ///
    /// - A response that reports a change is held until then, so that its client finds the same pin on
    ///   whichever replica it asks next. A model seldom answers sooner.
    /// - Zero, the default, is right for a store that reads each pin where it changes it.
    fn coherence(&self) -> Duration {
        Duration::ZERO
    }
}

//! Where pins are kept.
//!
//! The layer knows no store but the trait [`AffinityStore`]: four atomic verbs, and a `peek` that
//! never waits. Of the stores in this crate, take
//!
//! | store | when | a hit costs |
//! |---|---|---|
//! | [`MemoryStore`] | one process serves all requests, or a load balancer keeps a session on one process | a read lock |
//! | `TieredStore` (feature `redis`) | several processes share their sessions; this is the one for production | a read lock, as long as Redis reports changes |
//! | `RedisStore` (feature `redis`) | the same, where every read must come from Redis | a round trip |
//! | [`SharedStore`] | the program picks its store at run time | that of the store, and an allocation for each call but `peek` |
//!
//! # How a request uses a store
//!
//! 1. `peek`. With a pin at hand the request is a hit: nothing is awaited, and no future is boxed.
//! 2. Otherwise `get`. It has at most half of the request's store budget, so that a decision made
//!    without it can still be stored.
//! 3. Where `get` finds nothing, the router decides and `claim` stores the decision unless another
//!    request was faster. The layer serves the pin that `claim` returns, which may not be the one
//!    it asked for: so all first requests of a session get one model.
//! 4. `repin` moves a session whose model failed or is no longer served, and `release` ends it.
//!
//! All calls of a request share one time limit, which the layer sets. So a store needs no deadline
//! for the layer's sake, and a store that is slow or away delays a request by no more than that
//! limit.
//!
//! # Why epochs
//!
//! Two requests of a session see its model fail, and both want to move the session. The second must
//! not undo the move of the first. So each change names the [`Epoch`] that it replaces, and is
//! refused if the pin has another one by now. Epochs also grow across a release and a new claim: a
//! count that began again from 1 would let a change meant for the released pin hit the new one.
//!
//! # Your own store
//!
//! Implement [`AffinityStore`] and run `store::conformance` (feature `conformance`) against it.
//! `examples/sqlite_store.rs` has one on SQLite, `examples/own_store.rs` one over an asynchronous map. To have
//! the pins listed and changed by an administrator, also implement [`Inspect`](crate::admin::Inspect).

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub(crate) mod inspect;
mod memory;
#[cfg(feature = "redis")]
mod redis;
mod running;
mod shared;
#[cfg(feature = "redis")]
mod tiered;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub use memory::MemoryStore;
#[cfg(feature = "__fuzzing")]
#[doc(hidden)]
pub use redis::fuzzing;
#[cfg(feature = "redis")]
pub use redis::{
    NameSecret, RedisConfigError, RedisOptions, RedisStore, StoreStats, StoredText, Unready,
};
pub(crate) use running::RunningAnswer;
pub use shared::SharedStore;
#[cfg(feature = "redis")]
pub use tiered::TieredStore;

use crate::{AffinityKey, Epoch, Expiry, Pin, Selection, StoreError, StoreErrorKind};

/// What is stored under a key after an attempt to set or move its pin.
///
/// A claim that lost is not an error. Its `pin` is that of the winner and is served in the same
/// way; `won` only decides what the response says (`claimed` or `joined`), and whether there is a
/// change that other replicas have to learn of.
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
    ///
    /// A store returns it only if the pin is written: the layer reports it to the client as the
    /// session's.
    #[must_use]
    pub fn won(pin: Pin) -> Self {
        Self { pin, won: true }
    }

    /// The `pin` of another attempt, which came first.
    ///
    /// A store returns it with the pin that it read in the same atomic step. A separate read could
    /// find a third pin, or none.
    #[must_use]
    pub fn lost(pin: Pin) -> Self {
        Self { pin, won: false }
    }
}

/// How far an answer is that a pin serves; see [`AffinityStore::renew`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerState {
    /// It runs.
    Running,
    /// It has ended, and no other answer of the session runs in this process.
    Ended,
}

/// What a store knows of the pin of a session.
///
/// The result of [`AffinityStore::get`]. A store that cannot decide on its own knows only the first
/// two: `From<Option<Pin>>` makes them.
///
/// ```
/// use affinity_layer::{ModelName, Selection, StoreErrorKind, store::PinRead};
/// use std::sync::Arc;
///
/// let selection = Arc::new(Selection::of(ModelName::new("openai/gpt-4o")?));
/// let read = PinRead::Decided { selection, failure: StoreErrorKind::Unavailable };
/// // The session keeps its model, and nobody is told that it is pinned.
/// assert!(read.clone().selection().is_some());
/// assert!(read.pin().is_none());
/// assert_eq!(PinRead::from(None), PinRead::Absent);
/// # Ok::<(), affinity_layer::name::InvalidName>(())
/// ```
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
    ///
    /// A [`Decided`](Self::Decided) model gives `None`: it has no epoch, so it can be neither moved
    /// nor released by one.
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
///
/// # Example
///
/// ```
/// use std::sync::Arc;
///
/// use affinity_layer::{AffinityKey, AffinityStore, Expiry, MemoryStore, ModelName, Selection};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::default();
/// let (key, expiry) = (AffinityKey::new("task-1")?, Expiry::default());
/// let selection = |name| ModelName::new(name).map(|name| Arc::new(Selection::of(name)));
///
/// // The first claim wins, and a later one gets the winner's pin.
/// let first = store.claim(&key, selection("openai/gpt-4o")?, &expiry).await?;
/// let second = store.claim(&key, selection("openai/gpt-4o-mini")?, &expiry).await?;
/// assert!(first.won && !second.won);
/// assert_eq!(second.pin, first.pin);
///
/// // A move names the epoch that it replaces, so one of several moves from a pin succeeds.
/// let moved = store.repin(&key, first.pin.epoch, selection("anthropic/haiku")?, &expiry).await?;
/// let moved = moved.expect("the key is pinned");
/// assert!(moved.won && moved.pin.epoch > first.pin.epoch);
///
/// // A release meant for the replaced pin leaves the present one alone.
/// assert!(!store.release(&key, Some(first.pin.epoch)).await?);
/// assert!(store.release(&key, Some(moved.pin.epoch)).await?);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a store of pins",
    label = "does not implement `AffinityStore`",
    note = "to keep a store in several places, or to choose it at run time, wrap it in \
            `affinity_layer::SharedStore`, which is cheap to clone; a store in an `Arc` goes into \
            `SharedStore::from_arc`"
)]
pub trait AffinityStore: Send + Sync + 'static {
    /// The pin of `key` if it is at hand without waiting.
    ///
    /// # Behavior
    ///
    /// - `None` means "not known here", not "no pin"; the default knows nothing.
    /// - Counts as a use, as [`get`](Self::get) does.
    /// - Never blocks on I/O: the layer calls it for each request, on the thread that polls.
    /// - Never returns a pin that the store has reason to doubt: that is `None`, and `get` finds
    ///   out.
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
    /// - Its future may be dropped at any time: the time limit is over, or a client hangs up.
    fn get(
        &self,
        key: &AffinityKey,
        expiry: &Expiry,
    ) -> impl Future<Output = Result<PinRead, StoreError>> + Send;

    /// Notes that an answer by the pin of `key` runs, or that the last one here has ended. Says whether
    /// that is noted.
    ///
    /// # Behavior
    ///
    /// - Never waits. A store that has to tell a server does so in the background, and for each pin at
    ///   most once in a quarter of the idle time.
    /// - While an answer runs, the pin lives for its idle time from now, also beyond its maximum age.
    /// - An end is a use: the idle time runs from then. A pin that is beyond its maximum age ends within a
    ///   quarter of the idle time, unless another process has an answer that runs.
    /// - Changes nothing if `expiry` is fixed or there is no pin.
    /// - With `false`, the default, the caller reads the pin by [`get`](Self::get) now and then, which
    ///   counts as a use. The maximum age then counts while an answer runs.
    fn renew(&self, key: &AffinityKey, expiry: &Expiry, answer: AnswerState) -> bool {
        let _ = (key, expiry, answer);
        false
    }

    /// Sets the pin of `key` unless there is one, and returns the stored one.
    ///
    /// # Behavior
    ///
    /// - Of any number of concurrent claims one wins, and all return the winner's pin.
    /// - The pin's epoch is greater than that of every earlier pin of the key.
    /// - One step: between the look and the write nothing else may come. A read followed by a write
    ///   lets two replicas win.
    /// - The pin lives for [`Expiry::initial`] from now. An expired pin is no pin, so its key can
    ///   be claimed again.
    /// - Keeps every part of `selection`: model, route, candidates and warm-up. The layer relies on
    ///   each of them later.
    /// - An error means that the claim may or may not have been stored; a later `get` tells.
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
    /// - A move whose `from` is gone returns the stored pin as [`Claim::lost`] and changes nothing.
    /// - A move never creates a pin: one that was released or has expired stays away, and is
    ///   `None`.
    /// - The new epoch is greater than `from` and than every earlier one of the key.
    fn repin(
        &self,
        key: &AffinityKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> impl Future<Output = Result<Option<Claim>, StoreError>> + Send;

    /// Removes the pin of `key`; with `epoch`, only that generation. Says whether it did.
    ///
    /// # Behavior
    ///
    /// - With `epoch`, a pin of another epoch stays, and the answer is `false`: a task that has
    ///   ended must not end the one that has begun since.
    /// - Without `epoch`, whatever pin there is goes.
    /// - `false` also if there was no pin, or an expired one.
    /// - The next claim of the key starts a new session, with a greater epoch.
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
    /// - Asked anew for each response, so a store may answer differently as its state changes.
    /// - It bounds what is usual and not what is possible: keep it to milliseconds. A bound that
    ///   holds under any failure would delay the answer to every change by as much.
    fn coherence(&self) -> Duration {
        Duration::ZERO
    }
}

//! One store type for many stores.
//!
//! [`AffinityStore`] returns `impl Future`, so it is not object-safe: a layer over a concrete store
//! pays for no box, and there is no `dyn AffinityStore`. This module supplies one, in three steps:
//! `DynStore` has the same verbs with boxed futures, every store implements it by a blanket impl,
//! and [`SharedStore`] wraps an `Arc` of it and is a store again.
//!
//! A gateway uses it because its configuration names the store. The layer uses it inside
//! `PinnedModel`, so that handlers need no type parameter.

use std::fmt;
use std::future::Future;
use std::pin::Pin as StdPin;
use std::sync::Arc;
use std::time::Duration;

use super::running::RunningSessions;
use super::{AffinityStore, AnswerState, Claim, PinRead};
use crate::{AffinityKey, Epoch, Expiry, Pin, Selection, StoreError};

/// A call under way. It borrows its arguments, as the futures of [`AffinityStore`] do.
type BoxFuture<'a, T> = StdPin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The object-safe twin of [`AffinityStore`], with boxed futures.
trait DynStore: Send + Sync {
    fn peek(&self, key: &AffinityKey, expiry: &Expiry) -> Option<Pin>;
    fn get<'a>(&'a self, key: &'a AffinityKey, expiry: &'a Expiry) -> BoxFuture<'a, PinRead>;
    fn renew(&self, key: &AffinityKey, expiry: &Expiry, answer: AnswerState) -> bool;
    fn claim<'a>(
        &'a self,
        key: &'a AffinityKey,
        selection: Arc<Selection>,
        expiry: &'a Expiry,
    ) -> BoxFuture<'a, Claim>;
    fn repin<'a>(
        &'a self,
        key: &'a AffinityKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &'a Expiry,
    ) -> BoxFuture<'a, Option<Claim>>;
    fn release<'a>(&'a self, key: &'a AffinityKey, epoch: Option<Epoch>) -> BoxFuture<'a, bool>;
    fn coherence(&self) -> Duration;
}

impl<St: AffinityStore> DynStore for St {
    fn peek(&self, key: &AffinityKey, expiry: &Expiry) -> Option<Pin> {
        AffinityStore::peek(self, key, expiry)
    }

    fn get<'a>(&'a self, key: &'a AffinityKey, expiry: &'a Expiry) -> BoxFuture<'a, PinRead> {
        Box::pin(AffinityStore::get(self, key, expiry))
    }

    fn renew(&self, key: &AffinityKey, expiry: &Expiry, answer: AnswerState) -> bool {
        AffinityStore::renew(self, key, expiry, answer)
    }

    fn claim<'a>(
        &'a self,
        key: &'a AffinityKey,
        selection: Arc<Selection>,
        expiry: &'a Expiry,
    ) -> BoxFuture<'a, Claim> {
        Box::pin(AffinityStore::claim(self, key, selection, expiry))
    }

    fn repin<'a>(
        &'a self,
        key: &'a AffinityKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &'a Expiry,
    ) -> BoxFuture<'a, Option<Claim>> {
        Box::pin(AffinityStore::repin(self, key, from, selection, expiry))
    }

    fn release<'a>(&'a self, key: &'a AffinityKey, epoch: Option<Epoch>) -> BoxFuture<'a, bool> {
        Box::pin(AffinityStore::release(self, key, epoch))
    }

    fn coherence(&self) -> Duration {
        AffinityStore::coherence(self)
    }
}

/// Any store behind one type, for a program that picks its store at run time. Cloning shares it.
///
/// Each call but [`peek`](AffinityStore::peek) allocates its future.
///
/// So a hit, which only peeks, stays free of allocations. Everything else passes through unchanged:
/// errors, [`coherence`](AffinityStore::coherence), and what the store does when a future is
/// dropped. Where the store's type is known at compile time, use that type.
///
/// ```
/// use affinity_layer::{AffinityKey, AffinityStore, Expiry, MemoryStore, SharedStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let is_large = std::env::args().count() > 1;
/// let store = if is_large {
///     SharedStore::new(MemoryStore::new(1_000_000))
/// } else {
///     SharedStore::new(MemoryStore::default())
/// };
/// let found = store.get(&AffinityKey::new("task-1")?, &Expiry::default()).await?;
/// assert!(found.pin().is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SharedStore(Arc<Shared>);

/// What all clones share.
struct Shared {
    running: RunningSessions,
    store: Arc<dyn DynStore>,
}

impl SharedStore {
    /// Shares `store`.
    ///
    /// Do not wrap a `SharedStore` again: it works, and each call then allocates twice.
    pub fn new(store: impl AffinityStore) -> Self {
        Self::from_arc(Arc::new(store))
    }

    /// Shares a store that is in an `Arc` already, without a second one around it.
    pub fn from_arc<St: AffinityStore>(store: Arc<St>) -> Self {
        Self(Arc::new(Shared { running: RunningSessions::default(), store }))
    }

    /// The sessions whose answers run in this process.
    pub(crate) fn running(&self) -> &RunningSessions {
        &self.0.running
    }
}

impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedStore").finish_non_exhaustive()
    }
}

impl AffinityStore for SharedStore {
    fn peek(&self, key: &AffinityKey, expiry: &Expiry) -> Option<Pin> {
        self.0.store.peek(key, expiry)
    }

    async fn get(&self, key: &AffinityKey, expiry: &Expiry) -> Result<PinRead, StoreError> {
        self.0.store.get(key, expiry).await
    }

    fn renew(&self, key: &AffinityKey, expiry: &Expiry, answer: AnswerState) -> bool {
        self.0.store.renew(key, expiry, answer)
    }

    async fn claim(
        &self,
        key: &AffinityKey,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Claim, StoreError> {
        self.0.store.claim(key, selection, expiry).await
    }

    async fn repin(
        &self,
        key: &AffinityKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        self.0.store.repin(key, from, selection, expiry).await
    }

    async fn release(&self, key: &AffinityKey, epoch: Option<Epoch>) -> Result<bool, StoreError> {
        self.0.store.release(key, epoch).await
    }

    fn coherence(&self) -> Duration {
        self.0.store.coherence()
    }
}

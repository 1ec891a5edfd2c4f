//! One store type for many stores.

use std::fmt;
use std::future::Future;
use std::pin::Pin as StdPin;
use std::sync::Arc;
use std::time::Duration;

use super::{AffinityStore, Claim, PinRead};
use crate::{AffinityKey, Epoch, Expiry, Pin, Selection, StoreError};

type BoxFuture<'a, T> = StdPin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The object-safe twin of [`AffinityStore`], with boxed futures.
trait DynStore: Send + Sync {
    fn peek(&self, key: &AffinityKey, expiry: &Expiry) -> Option<Pin>;
    fn get<'a>(&'a self, key: &'a AffinityKey, expiry: &'a Expiry) -> BoxFuture<'a, PinRead>;
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
#[derive(Clone)]
pub struct SharedStore(Arc<dyn DynStore>);

impl SharedStore {
    /// Shares `store`.
    pub fn new(store: impl AffinityStore) -> Self {
        Self(Arc::new(store))
    }

    pub(crate) fn from_arc<St: AffinityStore>(store: Arc<St>) -> Self {
        Self(store)
    }
}

impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedStore").finish_non_exhaustive()
    }
}

impl AffinityStore for SharedStore {
    fn peek(&self, key: &AffinityKey, expiry: &Expiry) -> Option<Pin> {
        self.0.peek(key, expiry)
    }

    async fn get(&self, key: &AffinityKey, expiry: &Expiry) -> Result<PinRead, StoreError> {
        self.0.get(key, expiry).await
    }

    async fn claim(
        &self,
        key: &AffinityKey,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Claim, StoreError> {
        self.0.claim(key, selection, expiry).await
    }

    async fn repin(
        &self,
        key: &AffinityKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        self.0.repin(key, from, selection, expiry).await
    }

    async fn release(&self, key: &AffinityKey, epoch: Option<Epoch>) -> Result<bool, StoreError> {
        self.0.release(key, epoch).await
    }

    fn coherence(&self) -> Duration {
        self.0.coherence()
    }
}

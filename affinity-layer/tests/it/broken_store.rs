//! A store that never works.

use std::future::pending;
use std::sync::Arc;

use affinity_layer::{
    AffinityKey, AffinityStore, Claim, Epoch, Expiry, PinRead, Selection, StoreError,
    StoreErrorKind,
};

/// Stalls for ever, or fails at once.
#[derive(Clone)]
pub(crate) struct Broken {
    pub(crate) stalls: bool,
}

impl Broken {
    async fn answer<T>(&self) -> Result<T, StoreError> {
        if self.stalls {
            pending::<()>().await;
        }
        Err(StoreError::new(StoreErrorKind::Unavailable, "refused"))
    }
}

impl AffinityStore for Broken {
    async fn get(&self, _: &AffinityKey, _: &Expiry) -> Result<PinRead, StoreError> {
        self.answer().await
    }

    async fn claim(
        &self,
        _: &AffinityKey,
        _: Arc<Selection>,
        _: &Expiry,
    ) -> Result<Claim, StoreError> {
        self.answer().await
    }

    async fn repin(
        &self,
        _: &AffinityKey,
        _: Epoch,
        _: Arc<Selection>,
        _: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        self.answer().await
    }

    async fn release(&self, _: &AffinityKey, _: Option<Epoch>) -> Result<bool, StoreError> {
        self.answer().await
    }
}

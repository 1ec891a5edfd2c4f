//! The time that one request may spend waiting for the store.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::error::{StoreError, StoreErrorKind};

/// What is left of it. The time between store calls, such as the router's, is not charged.
#[derive(Debug)]
pub(super) struct Budget(Duration);

impl Budget {
    pub(super) fn new(total: Duration) -> Self {
        Self(total)
    }

    /// Waits for a read, at most half of the time that is left, so that what is decided without it can
    /// still be stored.
    pub(super) async fn read<T>(
        &mut self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.spend(self.0 / 2, call).await
    }

    /// Waits for a write, as long as time is left.
    pub(super) async fn write<T>(
        &mut self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.spend(self.0, call).await
    }

    async fn spend<T>(
        &mut self,
        limit: Duration,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        // A call that cannot be waited for must not be begun: it might be applied all the same.
        if limit.is_zero() {
            return Err(StoreErrorKind::Timeout.into());
        }
        let started = Instant::now();
        let result = timeout(limit, call).await;
        self.0 = self.0.saturating_sub(started.elapsed());
        result.unwrap_or_else(|_| Err(StoreErrorKind::Timeout.into()))
    }
}

//! The time that one request may spend waiting for the store.
//!
//! A limit for each call would not do: a request that reads, claims and claims again would wait three
//! times as long as the operator allowed, just when Redis is slow. So one [`Budget`] goes with a request
//! through all of its calls, and each takes from what the others left.
//!
//! The time is measured around the calls. The router may take seconds in between and costs nothing here,
//! else a slow router would leave no time to store what it decided.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::error::{StoreError, StoreErrorKind};

/// What is left of the time. The time between store calls, such as the router's, is not charged.
#[derive(Debug)]
pub(crate) struct Budget(Duration);

impl Budget {
    pub(crate) fn new(total: Duration) -> Self {
        Self(total)
    }

    /// Waits for a read, at most half of the time that is left, so that what is decided without it can
    /// still be stored.
    pub(crate) async fn read<T>(
        &mut self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.spend(self.0 / 2, call).await
    }

    /// Waits for a write, as long as time is left.
    pub(crate) async fn write<T>(
        &mut self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.spend(self.0, call).await
    }

    /// Runs `call` for `limit` at most and charges the time that it took. A call that is out of time is
    /// dropped, and counts as a failure of the store ([`StoreErrorKind::Timeout`]).
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

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

    /// Waits for one store call at most as long as time is left.
    pub(super) async fn spend<T>(
        &mut self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let result = timeout(self.0, call).await;
        self.0 = self.0.saturating_sub(started.elapsed());
        result.unwrap_or_else(|_| Err(StoreErrorKind::Timeout.into()))
    }
}

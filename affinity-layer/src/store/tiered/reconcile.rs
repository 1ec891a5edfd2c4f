//! Tells Redis what was decided here while it was away.
//!
//! Without this task a change would wait for the session's next request, which may come to another
//! replica, and a release would perhaps never be told. It goes in small batches and stops at the
//! first failure, so that a Redis that has just come back is not flooded.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::settle::settle;
use super::shared::Shared;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// After a failure.
const RETRY: Duration = Duration::from_millis(50);

/// How many names are sent at once.
const BATCH: usize = 64;

/// Runs for as long as the store lives.
///
/// Names whose server is still away are passed over, and so are those that were refused within the
/// last second.
pub(super) async fn reconcile(shared: Arc<Shared>) {
    loop {
        let names = shared.pending.some(BATCH, |name| shared.is_there(name));
        if names.is_empty() {
            sleep(PAUSE).await;
            continue;
        }
        for name in names {
            if settle(&shared, &name).await.is_err() {
                sleep(RETRY).await;
                break;
            }
        }
    }
}

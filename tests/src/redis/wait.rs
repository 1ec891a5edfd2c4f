//! Waiting for another process: bounded, and with a name for what was waited for.

use std::time::Duration;

use tokio::time::{Instant, sleep};

const STEP: Duration = Duration::from_millis(10);

/// Asks `check` again and again until it says yes.
///
/// # Panics
/// When `limit` has passed, with `what` in the message.
pub(crate) async fn until<F>(what: &str, limit: Duration, mut check: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    assert!(holds_within(limit, &mut check).await, "waited {limit:?} in vain until {what}");
}

/// As [`until`], but says whether it came about.
pub(crate) async fn holds_within<F>(limit: Duration, mut check: impl FnMut() -> F) -> bool
where
    F: Future<Output = bool>,
{
    let end = Instant::now() + limit;
    loop {
        if check().await {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        sleep(STEP).await;
    }
}

//! What is known of whether a server can be used, and that it is told once.
//!
//! A condition is what the last probe found. It is kept apart from the breaker, which counts
//! failures and forgets them: an operator needs to read once that Redis is read-only, and not at
//! each refused claim.
//!
//! The arrows: the guard reports refusals here, the follower of near copies or `probing.rs` probes for
//! them, and `/readyz` reads the result.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::unready::Unready;

/// Between two replacements of the connections to a server that is read-only.
const LEAVE_EVERY: Duration = Duration::from_secs(2);

/// One for each server. `left` is when its connections were last replaced because it was read-only.
#[derive(Debug, Default)]
pub(crate) struct Condition {
    unready: Mutex<Option<Unready>>,
    /// Whether something was found at all.
    tried: AtomicBool,
    refused: Notify,
    left: Mutex<Option<Instant>>,
}

impl Condition {
    /// Why the server cannot be used as it should, if it was found so.
    pub(crate) fn unready(&self) -> Option<Unready> {
        self.unready.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the server was ever tried.
    pub(crate) fn is_tried(&self) -> bool {
        self.tried.load(Ordering::Acquire)
    }

    /// Notes what was found, and logs it if it is another cause than before.
    pub(crate) fn note(&self, found: Option<Unready>) {
        let mut noted = self.unready.lock().unwrap_or_else(PoisonError::into_inner);
        self.tried.store(true, Ordering::Release);
        if *noted == found {
            return;
        }
        match &found {
            Some(cause) => tracing::warn!(%cause, "the shared session store is not ready"),
            None => tracing::info!("the shared session store is ready"),
        }
        *noted = found;
    }

    /// The server has refused a call.
    ///
    /// Whoever waits in [`refuses`](Self::refuses) wakes once, however many calls were refused.
    pub(crate) fn has_refused(&self) {
        self.refused.notify_one();
    }

    /// Waits until it refuses a call.
    pub(crate) async fn refuses(&self) {
        self.refused.notified().await;
    }

    /// Whether it has refused a call since this was asked, or waited for, the last time.
    pub(super) fn take_refusal(&self) -> bool {
        pin!(self.refused.notified()).enable()
    }

    /// Whether it is time to leave a read-only server for the one that the address names now.
    pub(crate) fn leaves(&self) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let due = left.is_none_or(|left| left.elapsed() >= LEAVE_EVERY);
        if due {
            *left = Some(Instant::now());
        }
        due
    }
}

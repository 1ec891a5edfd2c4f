//! One log line when the store or the router fails, and one when it is back; not one a request.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{BoxError, StoreError};

#[derive(Debug, Default)]
pub(super) struct Health {
    store_is_down: AtomicBool,
    router_is_down: AtomicBool,
}

impl Health {
    pub(super) fn store_answered(&self) {
        if changed(&self.store_is_down, false) {
            tracing::info!("the session store answers again");
        }
    }

    pub(super) fn store_failed(&self, error: &StoreError) {
        if changed(&self.store_is_down, true) {
            tracing::warn!(%error, "sessions are not pinned for now");
        } else {
            tracing::debug!(%error, "store call failed");
        }
    }

    pub(super) fn router_answered(&self) {
        if changed(&self.router_is_down, false) {
            tracing::info!("the router answers again");
        }
    }

    pub(super) fn router_failed(&self, error: &BoxError) {
        if changed(&self.router_is_down, true) {
            tracing::warn!(%error, "the router failed; requests keep the model they ask for");
        } else {
            tracing::debug!(%error, "router call failed");
        }
    }
}

/// Sets the flag and says whether that changed it. The load keeps the common case from writing.
fn changed(flag: &AtomicBool, value: bool) -> bool {
    flag.load(Ordering::Relaxed) != value && flag.swap(value, Ordering::Relaxed) != value
}

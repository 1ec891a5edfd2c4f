//! One log line when the store or the router fails, and one when it is back; not one a request.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{BoxError, StoreError};

#[derive(Debug, Default)]
pub(super) struct Health {
    /// A full or demoted Redis answers reads and refuses writes.
    reads_fail: AtomicBool,
    writes_fail: AtomicBool,
    router_is_down: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Read,
    Write,
}

impl Health {
    pub(super) fn store_answered(&self, call: Call) {
        if changed(self.failing(call), false) {
            tracing::info!(?call, "the session store answers again");
        }
    }

    pub(super) fn store_failed(&self, call: Call, error: &StoreError) {
        if changed(self.failing(call), true) {
            tracing::warn!(?call, %error, "the session store fails; new sessions are not pinned");
        } else {
            tracing::debug!(?call, %error, "store call failed");
        }
    }

    fn failing(&self, call: Call) -> &AtomicBool {
        match call {
            Call::Read => &self.reads_fail,
            Call::Write => &self.writes_fail,
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

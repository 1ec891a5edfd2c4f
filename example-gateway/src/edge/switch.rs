//! The server of a listener, which a reload replaces.
//!
//! A connection keeps the limits with which it was accepted; each of its requests takes the server that is
//! current when it comes in, and holds it to its end. So a reload loses nothing: what runs goes on as it
//! began, and the former server is gone with its last request.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// Holds the current server.
#[derive(Debug)]
pub(crate) struct Switch<S>(ArcSwap<S>);

impl<S> Switch<S> {
    pub(crate) fn new(server: S) -> Self {
        Self(ArcSwap::from_pointee(server))
    }

    /// The server for what begins now.
    pub(crate) fn current(&self) -> Arc<S> {
        self.0.load_full()
    }

    /// Whatever begins from now on gets `server`.
    pub(crate) fn replace(&self, server: S) {
        self.0.store(Arc::new(server));
    }
}

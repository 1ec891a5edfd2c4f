//! How long the router took for a request, told across the layer that asks it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Extensions, Request};
use tokio::time::Instant;

/// In the extensions of a request whose turn is recorded. Clones are of the same request: the one
/// that the router is asked with has the time for the one that goes on to the provider.
#[derive(Clone, Debug, Default)]
pub(crate) struct RouterClock(Arc<OnceLock<Duration>>);

impl RouterClock {
    /// Gives a request a clock.
    pub(crate) fn attach<B>(mut request: Request<B>) -> Request<B> {
        request.extensions_mut().insert(Self::default());
        request
    }

    /// What the router took; `None` when it was not asked.
    pub(crate) fn read(&self) -> Option<Duration> {
        self.0.get().copied()
    }

    /// Runs until what is returned is dropped. Without a clock nothing is measured.
    pub(crate) fn start(request: &Extensions) -> impl Drop + Send + use<> {
        Running(request.get::<Self>().cloned().map(|clock| (clock, Instant::now())))
    }
}

struct Running(Option<(RouterClock, Instant)>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some((clock, began)) = self.0.take() {
            // A request asks once.
            let _ = clock.0.set(began.elapsed());
        }
    }
}

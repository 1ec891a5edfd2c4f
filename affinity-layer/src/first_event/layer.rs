//! The one setting: how long a head may be held.

use std::time::Duration;

use tower_layer::Layer;

use super::service::FirstEvent;

/// Layer that applies the [`FirstEvent`] middleware; it belongs below the failover layer.
///
/// See the [module docs](super).
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct FirstEventLayer {
    limit: Duration,
}

impl FirstEventLayer {
    /// A layer with the default limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// The longest that a head is held; zero holds none. Default: 2 s.
    ///
    /// It counts from the head and not from the request. A model that reasons for longer than that before
    /// its first event is not failed over: its head goes out, and what follows is the client's to judge.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }
}

impl Default for FirstEventLayer {
    fn default() -> Self {
        Self { limit: Duration::from_secs(2) }
    }
}

impl<S> Layer<S> for FirstEventLayer {
    type Service = FirstEvent<S>;

    fn layer(&self, inner: S) -> FirstEvent<S> {
        FirstEvent::new(inner, self.limit)
    }
}

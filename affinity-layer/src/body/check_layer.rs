//! The layer above the affinity layer, with its settings.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use tower_layer::Layer;

use super::check_service::CheckBody;
use crate::rejection::OpenAiErrors;

/// Whether a request is checked.
pub(super) type Checks = dyn Fn(&Parts) -> bool + Send + Sync;

/// Layer that reads and checks the bodies of requests, before they are routed.
///
/// See the [module docs](super).
#[derive(Clone)]
#[must_use]
pub struct CheckBodyLayer<Rej = OpenAiErrors> {
    pub(super) limit: usize,
    pub(super) checks: Option<Arc<Checks>>,
    pub(super) refuse: Rej,
}

impl CheckBodyLayer {
    /// Checks the body of each `POST`, of 2 MiB at most.
    pub fn new() -> Self {
        Self { limit: 2 * 1024 * 1024, checks: None, refuse: OpenAiErrors::default() }
    }
}

impl<Rej> CheckBodyLayer<Rej> {
    /// The largest body in bytes; a larger one is refused with 413, before it is read where its length is
    /// declared. Default: 2 MiB.
    ///
    /// Each request under way may hold as much. The
    /// [`body_limit`](crate::AffinityLayer::body_limit) of the affinity layer holds as well.
    pub fn limit(self, bytes: usize) -> Self {
        Self { limit: bytes, ..self }
    }

    /// Which requests are checked; all others stream through unread. Default: each `POST`.
    pub fn checks<F: Fn(&Parts) -> bool + Send + Sync + 'static>(self, checks: F) -> Self {
        Self { checks: Some(Arc::new(checks)), ..self }
    }

    /// Makes the responses to refused requests, instead of [`OpenAiErrors`]: a closure
    /// `Fn(&BodyRefusal, &Parts) -> Response<B>`. The [`BodyRefusal`](super::BodyRefusal) is added to the extensions of what it
    /// returns.
    pub fn with_refusal_response<T>(self, refuse: T) -> CheckBodyLayer<T> {
        CheckBodyLayer { limit: self.limit, checks: self.checks, refuse }
    }
}

impl Default for CheckBodyLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<Rej> fmt::Debug for CheckBodyLayer<Rej> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckBodyLayer").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl<S, Rej: Clone> Layer<S> for CheckBodyLayer<Rej> {
    type Service = CheckBody<S, Rej>;

    fn layer(&self, inner: S) -> CheckBody<S, Rej> {
        CheckBody { inner, settings: self.clone() }
    }
}

//! The settings that an application makes. Most of what the layer does needs none: it follows from the
//! [`PinnedModel`](crate::PinnedModel) in the extensions of each request.

use std::fmt;
use std::sync::Arc;

use http::Extensions;
use tower_layer::Layer;

use super::holders::Holders;
use super::observer::AnswerObserver;
use super::service::Answer;
use super::settings::Settings;

/// Layer that applies the [`Answer`] middleware; it belongs below the affinity layer.
///
/// It also belongs above a [`FailoverLayer`](crate::FailoverLayer): only the answer of the candidate
/// that served is the answer of the session, and the pin to release is the one that failover moved.
///
/// See the [module docs](super).
#[derive(Clone, Default)]
#[must_use]
pub struct AnswerLayer {
    settings: Settings,
}

impl AnswerLayer {
    /// A layer that ends the pins of final requests with their answers, keeps sliding pins in use while
    /// answers run, and follows the ids of responses where the affinity layer asks for it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the pin of any request also ends when the model says that it is done. Default: no.
    ///
    /// Use it for clients that run one task in a session and never send `final`. Leave it off for
    /// conversations: there the model is done at the end of every turn, and the next one would be routed
    /// anew. See rule 3 of the [module docs](super).
    pub fn final_answer(mut self, release: bool) -> Self {
        self.settings.final_answer = release;
        self
    }

    /// Notes in `holders` which model made each response of `/responses`, and each container and file that an
    /// answer of `/responses` or `/messages` names. Default: nobody is told.
    ///
    /// The piece of the answer that holds such an id waits until it is noted, for 50 ms at most, because the
    /// client may ask for it at once. A request whose [`BodyIds`](crate::key::BodyIds) say that its response
    /// is not stored leaves no note of it.
    pub fn holders(mut self, holders: Holders) -> Self {
        self.settings.holders = Some(holders);
        self
    }

    /// Tells an observer of each answer. Default: none. A second call replaces the first.
    ///
    /// `begin` is called with the extensions of each request, before it goes to the inner service.
    /// It returns `None` for a request that should not be observed. Each request has an observer of its
    /// own, so an observer may hold the state of one answer without a lock.
    pub fn observe<F>(mut self, begin: F) -> Self
    where
        F: Fn(&Extensions) -> Option<Box<dyn AnswerObserver>> + Send + Sync + 'static,
    {
        self.settings.observe = Some(Arc::new(begin));
        self
    }
}

impl fmt::Debug for AnswerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerLayer")
            .field("final_answer", &self.settings.final_answer)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for AnswerLayer {
    type Service = Answer<S>;

    fn layer(&self, inner: S) -> Answer<S> {
        Answer::new(inner, Arc::new(self.settings.clone()))
    }
}

use std::fmt;
use std::sync::Arc;

use http::Extensions;
use tower_layer::Layer;

use super::observer::AnswerObserver;
use super::service::Answer;
use super::settings::Settings;

/// Layer that applies the [`Answer`] middleware; it belongs below the affinity layer.
///
/// See the [module docs](super).
#[derive(Clone, Default)]
#[must_use]
pub struct AnswerLayer {
    settings: Settings,
}

impl AnswerLayer {
    /// A layer that ends the pins of final requests with their answers, and follows the ids of
    /// responses where the affinity layer asks for it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the pin of any request also ends when the model says that it is done. Default: no.
    ///
    /// See rule 3 of the [module docs](super).
    pub fn final_answer(mut self, release: bool) -> Self {
        self.settings.final_answer = release;
        self
    }

    /// Tells an observer of each answer. Default: none.
    ///
    /// `begin` is called with the extensions of each request, before it goes to the inner service.
    /// It returns `None` for a request that should not be observed.
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

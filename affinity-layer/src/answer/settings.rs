//! What an [`AnswerLayer`](super::AnswerLayer) is set to. The services of a layer share one copy.

use std::sync::Arc;

use http::Extensions;

use super::holders::Holders;
use super::observer::AnswerObserver;

/// Begins the observer of a request, if it is to be observed.
type Observe = dyn Fn(&Extensions) -> Option<Box<dyn AnswerObserver>> + Send + Sync;

#[derive(Clone, Default)]
pub(super) struct Settings {
    pub(super) final_answer: bool,
    pub(super) observe: Option<Arc<Observe>>,
    pub(super) holders: Option<Holders>,
}

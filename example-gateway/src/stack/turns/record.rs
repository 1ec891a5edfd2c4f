//! Records turns where the answer layer reads their answers.

use std::sync::Arc;

use affinity_layer::answer::AnswerObserver;
use http::Extensions;

use super::draft::Draft;
use super::observer::TurnObserver;
use crate::stack::sessions::Sessions;

/// Begins a record of each turn.
#[derive(Clone, Debug)]
pub(crate) struct TurnRecorder {
    observer: Arc<dyn TurnObserver>,
    sessions: Sessions,
}

impl TurnRecorder {
    /// Tells `observer` of each turn; `sessions` knows under which names pins are stored.
    pub(crate) fn new(observer: Arc<dyn TurnObserver>, sessions: Sessions) -> Self {
        Self { observer, sessions }
    }

    /// The record of a request that goes to a model to be answered.
    pub(crate) fn begin(&self, request: &Extensions) -> Option<Box<dyn AnswerObserver>> {
        let draft = Draft::begin(request, &self.observer, &self.sessions)?;
        Some(Box::new(draft))
    }
}

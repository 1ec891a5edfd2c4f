//! Records turns where the answer layer reads their answers.

use std::sync::Arc;

use affinity_layer::PinnedModel;
use affinity_layer::answer::{AnswerObserver, Usage};
use affinity_layer::ext::ObservedPin;
use http::Extensions;
use http::response::Parts;

use super::draft::Draft;
use super::observer::TurnObserver;
use super::tag::SessionTag;
use crate::stack::sessions::Sessions;
use crate::telemetry::access::AccessNote;

/// Begins a record of each turn, and notes for the access log what its answer tells.
#[derive(Clone, Debug)]
pub(crate) struct TurnRecorder {
    observer: Option<Arc<dyn TurnObserver>>,
    sessions: Sessions,
}

impl TurnRecorder {
    /// Tells `observer`, if there is one, of each turn; `sessions` knows under which names pins are
    /// stored.
    pub(crate) fn new(observer: Option<Arc<dyn TurnObserver>>, sessions: Sessions) -> Self {
        Self { observer, sessions }
    }

    /// The record of a request that goes to a model to be answered.
    pub(crate) fn begin(&self, request: &Extensions) -> Option<Box<dyn AnswerObserver>> {
        let observer = self.observer.as_ref();
        let draft = observer.and_then(|observer| Draft::begin(request, observer, &self.sessions));
        match (note_session(request).cloned(), draft) {
            (Some(note), draft) => Some(Box::new(NotedAnswer { note, draft: draft.map(Box::new) })),
            (None, Some(draft)) => Some(Box::new(draft)),
            (None, None) => None,
        }
    }
}

/// Notes whose session a request is of, if it has a line in the access log.
pub(crate) fn note_session(request: &Extensions) -> Option<&AccessNote> {
    let note = request.get::<AccessNote>()?;
    let observed = request.get().map(ObservedPin::session);
    if let Some(key) = observed.or(request.get::<PinnedModel>().and_then(PinnedModel::key)) {
        note.session(SessionTag::of(key));
    }
    Some(note)
}

/// An answer that has a line in the access log, and that of a turn perhaps.
struct NotedAnswer {
    note: AccessNote,
    draft: Option<Box<Draft>>,
}

impl AnswerObserver for NotedAnswer {
    fn on_head(&mut self, head: &Parts) {
        if let Some(draft) = &mut self.draft {
            draft.on_head(head);
        }
    }

    fn on_data(&mut self, usage: Usage) {
        self.note.usage(usage);
        if let Some(draft) = &mut self.draft {
            draft.on_data(usage);
        }
    }

    fn on_end(self: Box<Self>) {
        if let Some(draft) = self.draft {
            draft.on_end();
        }
    }
}

//! What others learn of an answer that passes.

use http::response::Parts;

use super::usage::Usage;

/// Observes how one answer passes.
///
/// An observer begins with its request. If it is dropped without [`on_end`](Self::on_end), there was
/// no answer, the answer broke off, or the client abandoned it.
pub trait AnswerObserver: Send {
    /// The head of the answer is there.
    fn on_head(&mut self, head: &Parts) {
        let _ = head;
    }

    /// A piece of data is passed on. `usage` holds the tokens counted so far; an answer that cannot be
    /// read counts none.
    fn on_data(&mut self, usage: Usage) {
        let _ = usage;
    }

    /// The answer has ended, because it says so or with its body. Nothing after that is reported.
    fn on_end(self: Box<Self>) {}
}

/// In the extensions of a response whose body releases the pin, for the affinity layer to see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReleasedAtEnd;

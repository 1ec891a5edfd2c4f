//! What others learn of an answer that passes.
//!
//! The [layer](super::AnswerLayer) has one pass over each answer already, so an application that counts
//! tokens or measures streams does not need a body of its own around it.

use http::response::Parts;

use super::usage::Usage;

/// Observes how one answer passes.
///
/// An observer begins with its request. If it is dropped without [`on_end`](Self::on_end), there was
/// no answer, the answer broke off, or the client abandoned it; an observer that must report in any case
/// does so in its `Drop`.
///
/// # Behavior
///
/// - The calls are `on_head` once, `on_data` for each piece, `on_end` once, in this order.
/// - They are made in the task that serves the client. An observer must not block: the answer, and all
///   else that this thread serves, would wait for it.
/// - What an observer does changes neither the answer nor the pin.
///
/// ```
/// use std::sync::mpsc::Sender;
///
/// use affinity_layer::answer::{AnswerObserver, Usage};
///
/// /// Reports the tokens of an answer, whether it ends or breaks off.
/// struct Report {
///     usage: Usage,
///     has_ended: bool,
///     to: Sender<(Usage, bool)>,
/// }
///
/// impl AnswerObserver for Report {
///     fn on_data(&mut self, usage: Usage) {
///         self.usage = usage;
///     }
///
///     fn on_end(mut self: Box<Self>) {
///         self.has_ended = true;
///     }
/// }
///
/// impl Drop for Report {
///     fn drop(&mut self) {
///         // Nobody may be left who listens.
///         let _ = self.to.send((self.usage, self.has_ended));
///     }
/// }
/// # let (to, reports) = std::sync::mpsc::channel();
/// # let report = Report { usage: Usage::default(), has_ended: false, to };
/// # Box::new(report).on_end();
/// # assert_eq!(reports.recv(), Ok((Usage::default(), true)));
/// ```
pub trait AnswerObserver: Send {
    /// The head of the answer is there.
    ///
    /// # Behavior
    ///
    /// - Called for every status. It is not called when the inner service returns an error.
    /// - The extensions are those that inner layers have left: with failover below, they hold the
    ///   [`PinnedModel`](crate::PinnedModel) that the answer is from, unless the request's own model has
    ///   served.
    fn on_head(&mut self, head: &Parts) {
        let _ = head;
    }

    /// A piece of data is passed on. `usage` holds the tokens counted so far; an answer that cannot be
    /// read counts none.
    ///
    /// # Behavior
    ///
    /// - Called when the piece goes to the client and not when it is read: a piece that waits for the
    ///   store has not been reported yet. So the first call marks the first byte that the client can get.
    /// - Trailers are not data.
    /// - Protocols report tokens at their end, some at their beginning too, so only the last `usage` is
    ///   complete.
    fn on_data(&mut self, usage: Usage) {
        let _ = usage;
    }

    /// The answer has ended, because it says so or with its body. Nothing after that is reported.
    ///
    /// # Behavior
    ///
    /// - Called after the `on_data` of the last piece, as that piece is passed on.
    /// - An answer with an error status ends too; look at the head to tell it apart.
    fn on_end(self: Box<Self>) {}
}

/// In the extensions of a response whose body releases the pin, for the affinity layer to see: without
/// the mark it releases the pin of a final request as soon as the head is there, which for a stream is
/// in the middle of its task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReleasedAtEnd;

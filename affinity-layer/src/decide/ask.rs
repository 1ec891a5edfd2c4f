//! One request as the protocol sees it.
//!
//! The protocol decides which pin a request uses. What a request is made of, and what the router is asked
//! about it, an [`Ask`] says: for an HTTP request that is its head, its extensions and its body, for a job
//! the [`Turn`](super::Turn) and the question that the caller hands over. So one protocol serves both.

use std::sync::Arc;

use super::refusal::Refusal;
use super::rules::Rules;
use crate::cooldown::Question;
use crate::outcome::Control;
use crate::{AffinityKey, ModelName, Selection};

/// What the protocol asks of a request.
pub(crate) trait Ask: Send {
    /// What the router is asked.
    type Question: Send;
    /// Why a request is refused.
    type Error: From<Refusal> + Send;

    /// What the client asks for.
    fn control(&self) -> Control;

    /// Whether the request may use a pin and must not make one.
    fn is_probe(&self) -> bool;

    /// Whether it begins a turn, for which an existing pin moves to a new decision.
    fn begins_turn(&self) -> bool;

    /// Whether it continues a turn, for which a pin holds also while its session warms up.
    fn continues_turn(&self) -> bool;

    /// Waits for the rest of the request, such as its body. The methods below need it, and a request whose
    /// pin holds does not. A later call finds it there.
    fn read(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The question to the router.
    fn question(&self, key: Option<&AffinityKey>) -> Self::Question;

    /// The model that the request asks for, else the default of `rules`.
    fn requested(&self, rules: &Rules) -> Option<ModelName>;

    /// What is made of a decision before it is kept, for a session that has the `current` selection.
    fn adopted(
        &self,
        key: &AffinityKey,
        current: Option<&Selection>,
        decided: Arc<Selection>,
    ) -> Arc<Selection> {
        let _ = (key, current);
        decided
    }

    /// Moves candidates that are to be left alone for a while behind the others.
    fn rank(&self, candidates: &mut [ModelName]) {
        let _ = candidates;
    }

    /// The last decision for the session, if no candidate has served it and this request repeats that one.
    fn repeated(&self, key: &AffinityKey, rules: &Rules) -> Option<Arc<Selection>> {
        let _ = (key, rules);
        None
    }

    /// By what a repetition of this request is recognised.
    fn asked(&self, rules: &Rules) -> Option<Question> {
        let _ = rules;
        None
    }
}

//! How each turn ended, reported to the one [`TurnObserver`](observer::TurnObserver).
//!
//! - A **turn** is a request that got a model and was sent to its provider. Decisions without an answer
//!   (`/routing/v1`), refused requests and counted tokens are not turns.
//! - It is reported when its answer has ended or broken off.
//! - Turns are recorded only if they can be asked for; without an observer, nothing here is in the
//!   stack.

mod draft;
pub(crate) mod observer;
pub(crate) mod record;
pub(crate) mod switch;
pub(crate) mod tag;
pub(crate) mod turn;

#[cfg(test)]
mod tests;

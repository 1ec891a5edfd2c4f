//! What became of each turn, told to the one [`TurnObserver`].
//!
//! - A **turn** is a request that was given a model and sent to its provider. Decisions without an
//!   answer (`/routing/v1`), requests that were refused, and counted tokens are none.
//! - It is told when its answer has ended, or broken off.
//! - Turns are recorded only where somebody can ask for them; without an observer, nothing here is in
//!   the stack.

mod draft;
pub(crate) mod observer;
pub(crate) mod record;
pub(crate) mod tag;
pub(crate) mod turn;

#[cfg(test)]
mod tests;

//! What pins save and what turns cost: in total, by model, by route and by session.
//!
//! - Sums are exact, in whole numbers. Nothing is divided before somebody asks.
//! - Models are those of the configuration. Routes may be named by clients, and sessions are: of the
//!   first a bounded number is told apart, of the second the newest are kept.
//! - It is what this process has seen since it was started.

pub(crate) mod books;
pub(crate) mod pins;
mod regret;
pub(crate) mod rows;
mod sums;

#[cfg(test)]
mod tests;

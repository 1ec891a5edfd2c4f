//! What pins save and what turns cost: in total, by model, by route and by session.
//!
//! - Sums are exact, in whole numbers. Shares are computed only when they are asked for.
//! - Models are those of the configuration. Clients may name routes, and name sessions: a bounded
//!   number of routes is distinguished, and the newest sessions are kept.
//! - It covers what this process has seen since its start.

pub(crate) mod books;
pub(crate) mod observed;
pub(crate) mod pins;
mod regret;
pub(crate) mod rows;
mod sums;
pub(crate) mod switches;

#[cfg(test)]
mod tests;

//! Soak: one gateway of the real binary under mixed load for a long time, while Redis, the router, the
//! provider and clients fail in turn.
//!
//! Each request carries a number of its own that the provider counts, so that a lost and a doubled one
//! are seen; each session notes its models by epoch, so that a split is.

mod client;
mod load;
mod report;
mod run;
mod stubs;
mod tally;

pub use report::Report;
pub use run::{Plan, run};
